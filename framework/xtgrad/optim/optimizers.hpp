// Optimizers: an update formula over groups of parameters, with the state that it needs.
#pragma once

#include <array>
#include <vector>

#include "xtgrad/state/state_dict.hpp"

namespace xtgrad {

/// What all optimizers share. Parameters without a gradient are passed over by step(), and do not age. An optimizer can be
/// moved but not copied: two would move the same parameters.
template <class T> class Optimizer {
 public:
  Optimizer() = default;
  Optimizer(Optimizer&&) = default;
  virtual ~Optimizer() = default;

  /// One update from the gradients that backward() accumulated.
  virtual void step() = 0;
  /// Drops the gradients of all parameters.
  virtual void zero_grad() = 0;
  /// The number of parameter groups.
  virtual std::size_t groups() const = 0;
  /// The learning rate of a group. Throws std::out_of_range if there is no such group.
  virtual double lr(std::size_t group = 0) const = 0;
  /// Sets the learning rate of one group, or of all. Throws unless it is finite and not negative.
  virtual void set_lr(double lr, std::size_t group) = 0;
  void set_lr(double lr) {
    for (std::size_t g = 0; g < groups(); ++g) set_lr(lr, g);
  }

  /// "SGD", "Adam", ...
  virtual const char* name() const = 0;
  /// The weight decay of a parameter; 0 if it is not here.
  virtual double weight_decay(const Tensor<T>& parameter) const = 0;

  /// What a run needs to go on exactly: for each parameter its age and its arrays under PyTorch's names ("0.step",
  /// "0.exp_avg"), and the learning rates. The other options are those of the constructor.
  StateDict<T> state_dict() { return copy_state(state()); }
  /// Takes it over. Throws, with nothing changed, unless names and shapes fit; see load_state().
  void load_state_dict(const StateDict<T>& values) { load_state("load_state_dict", state(), values); }
  /// The same values where they are.
  virtual std::vector<StateEntry<T>> state() = 0;
};

/// Parameters that share their options.
template <class T, class Options> struct ParameterGroup {
  std::vector<Tensor<T>> parameters;
  Options options = {};
};

/// A parameter and what its optimizer remembers of it.
template <class T> struct OptimizerSlot {
  Tensor<T> parameter;
  std::size_t group;
  std::vector<Tensor<T>> arrays;  ///< zeros at first, in the parameter's shape
  std::int64_t step = 0;          ///< steps so far
};

/// An optimizer of parameters in groups; Options name it and its arrays.
template <class T, class Options> class GroupedOptimizer : public Optimizer<T> {
 public:
  /// Throws if there is no parameter, if one is no leaf that requires grad or is there twice, or if an option is out of range.
  explicit GroupedOptimizer(std::vector<ParameterGroup<T, Options>> groups);
  explicit GroupedOptimizer(std::vector<Tensor<T>> parameters, Options options = {})
      : GroupedOptimizer(std::vector<ParameterGroup<T, Options>>{{std::move(parameters), options}}) {}

  /// Throws, with nothing changed, if a parameter has another shape than it had, or than its gradient.
  void step() override;
  void zero_grad() override;
  const char* name() const override { return Options::name; }
  std::size_t groups() const override { return options_.size(); }
  double lr(std::size_t group = 0) const override { return options_.at(group).lr; }
  using Optimizer<T>::set_lr;
  void set_lr(double lr, std::size_t group) override;
  double weight_decay(const Tensor<T>& parameter) const override;
  std::vector<StateEntry<T>> state() override;

 private:
  std::vector<Options> options_;
  std::vector<OptimizerSlot<T>> slots_;
};

/// Options of SGD.
struct SGDOptions {
  static constexpr const char* name = "SGD";
  static constexpr std::array arrays = {"momentum_buffer"};
  double lr = 1e-3;         ///< learning rate
  double momentum = 0;      ///< share of the last velocity that is kept
  double dampening = 0;     ///< share of the gradient that does not enter the velocity
  double weight_decay = 0;  ///< L2 penalty: this times w is added to the gradient
  bool nesterov = false;    ///< look ahead along the velocity; needs a momentum, and no dampening
};

/// Stochastic gradient descent with momentum (Polyak 1964; Sutskever et al. 2013), in PyTorch's form:
///   g = g + weight_decay * w      v = momentum * v + (1 - dampening) * g, at first v = g
///   w = w - lr * v, or with Nesterov w = w - lr * (g + momentum * v)
template <class T = float> class SGD final : public GroupedOptimizer<T, SGDOptions> {
  using GroupedOptimizer<T, SGDOptions>::GroupedOptimizer;
};
template <class T> SGD(std::vector<Tensor<T>>, SGDOptions = {}) -> SGD<T>;
template <class T> SGD(std::vector<ParameterGroup<T, SGDOptions>>) -> SGD<T>;

/// Options of Adam.
struct AdamOptions {
  static constexpr const char* name = "Adam";
  static constexpr std::array arrays = {"exp_avg", "exp_avg_sq"};
  double lr = 1e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the first moment
  double beta2 = 0.999;     ///< decay of the second moment
  double eps = 1e-8;        ///< added to the root of the second moment
  double weight_decay = 0;  ///< L2 penalty: this times w is added to the gradient
};

/// Adam (Kingma and Ba 2015, Algorithm 1), t counting from 1:
///   g = g + weight_decay * w        m = beta1 * m + (1 - beta1) * g        v = beta2 * v + (1 - beta2) * g^2
///   w = w - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
template <class T = float> class Adam final : public GroupedOptimizer<T, AdamOptions> {
  using GroupedOptimizer<T, AdamOptions>::GroupedOptimizer;
};
template <class T> Adam(std::vector<Tensor<T>>, AdamOptions = {}) -> Adam<T>;
template <class T> Adam(std::vector<ParameterGroup<T, AdamOptions>>) -> Adam<T>;

/// Options of AdamW: those of Adam, but the decay is not part of the gradient.
struct AdamWOptions {
  static constexpr const char* name = "AdamW";
  static constexpr std::array arrays = {"exp_avg", "exp_avg_sq"};
  double lr = 1e-3;            ///< learning rate
  double beta1 = 0.9;          ///< decay of the first moment
  double beta2 = 0.999;        ///< decay of the second moment
  double eps = 1e-8;           ///< added to the root of the second moment
  double weight_decay = 1e-2;  ///< each step takes lr * weight_decay * w off w
};

/// Adam with decoupled weight decay (Loshchilov and Hutter 2019, Algorithm 2):
///   w = w - lr * weight_decay * w, then Adam's step without a penalty
template <class T = float> class AdamW final : public GroupedOptimizer<T, AdamWOptions> {
  using GroupedOptimizer<T, AdamWOptions>::GroupedOptimizer;
};
template <class T> AdamW(std::vector<Tensor<T>>, AdamWOptions = {}) -> AdamW<T>;
template <class T> AdamW(std::vector<ParameterGroup<T, AdamWOptions>>) -> AdamW<T>;

/// Options of RMSprop.
struct RMSpropOptions {
  static constexpr const char* name = "RMSprop";
  static constexpr std::array arrays = {"square_avg", "momentum_buffer"};
  double lr = 1e-2;         ///< learning rate
  double alpha = 0.99;      ///< decay of the mean square
  double eps = 1e-8;        ///< added to its root
  double momentum = 0;      ///< share of the last velocity that is kept
  double weight_decay = 0;  ///< L2 penalty: this times w is added to the gradient
};

/// RMSprop (Tieleman and Hinton 2012), in PyTorch's form:
///   g = g + weight_decay * w     s = alpha * s + (1 - alpha) * g^2     v = momentum * v + g / (sqrt(s) + eps)
///   w = w - lr * v
template <class T = float> class RMSprop final : public GroupedOptimizer<T, RMSpropOptions> {
  using GroupedOptimizer<T, RMSpropOptions>::GroupedOptimizer;
};
template <class T> RMSprop(std::vector<Tensor<T>>, RMSpropOptions = {}) -> RMSprop<T>;
template <class T> RMSprop(std::vector<ParameterGroup<T, RMSpropOptions>>) -> RMSprop<T>;

/// Scales all gradients by one factor so that their norm together is at most `largest`, and returns the norm before.
/// A norm that is not finite changes nothing. Throws unless `largest` is positive. (Pascanu, Mikolov and Bengio 2013.)
template <class T> double clip_grad_norm(const std::vector<Tensor<T>>& parameters, double largest);

/// Limits every element of the gradients to [-largest, largest]. Throws unless `largest` is positive.
template <class T> void clip_grad_value(const std::vector<Tensor<T>>& parameters, double largest);

}  // namespace xtgrad
