// Optimizers: an update formula over a list of parameters, with the state that it needs.
#pragma once

#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// What all optimizers share. Parameters without a gradient are passed over by step().
template <class T>
class Optimizer {
 public:
  /// Throws if there is no parameter, or one that does not require grad.
  Optimizer(std::vector<Tensor<T>> parameters, double lr);
  virtual ~Optimizer() = default;

  /// One update from the gradients that backward() accumulated.
  virtual void step() = 0;
  /// Drops the gradients of all parameters.
  void zero_grad();

  double lr() const noexcept { return lr_; }
  /// Throws unless `lr` is finite and not negative.
  void set_lr(double lr);

 protected:
  std::vector<Tensor<T>> parameters_;

 private:
  double lr_;
};

/// Options of SGD.
struct SGDOptions {
  double lr = 1e-3;         ///< learning rate
  double momentum = 0;      ///< share of the last velocity that is kept
  double weight_decay = 0;  ///< L2 penalty: this times w is added to the gradient
};

/// Stochastic gradient descent with momentum (Polyak 1964, in PyTorch's form):
///   v = momentum * v + g + weight_decay * w        w = w - lr * v
template <class T = float>
class SGD final : public Optimizer<T> {
 public:
  /// Throws if an option is negative or not finite.
  explicit SGD(std::vector<Tensor<T>> parameters, SGDOptions options = {});
  void step() override;

 private:
  SGDOptions options_;
  std::vector<Array<T>> velocity_;
};

/// Options of Adam.
struct AdamOptions {
  double lr = 1e-3;         ///< learning rate
  double beta1 = 0.9;       ///< decay of the first moment
  double beta2 = 0.999;     ///< decay of the second moment
  double eps = 1e-8;        ///< added to the root of the second moment
  double weight_decay = 0;  ///< L2 penalty: this times w is added to the gradient
};

/// Adam (Kingma and Ba 2015, Algorithm 1), t counting from 1:
///   g = g + weight_decay * w        m = beta1 * m + (1 - beta1) * g        v = beta2 * v + (1 - beta2) * g^2
///   w = w - lr * m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps)
template <class T = float>
class Adam final : public Optimizer<T> {
 public:
  /// Throws if an option is negative or not finite, or a beta is not below 1.
  explicit Adam(std::vector<Tensor<T>> parameters, AdamOptions options = {});
  void step() override;

 private:
  AdamOptions options_;
  std::vector<Array<T>> first_, second_;
  // t of each parameter: one without a gradient does not age
  std::vector<std::int64_t> steps_;
};

}  // namespace xtgrad
