// Module<T>: a layer, or a network of layers.
//
// A module lists its members once, in visit(): parameters, buffers, counts and children. Everything else
// follows from that list: parameters(), state_dict(), train() and eval(), the count and the summary. Modules
// can be moved, not copied. Forward passes in eval mode change nothing, so several threads may run them on
// one network.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "xtgrad/state/state_dict.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

template <class T>
class Module;

/// What a buffer may hold: checked when values are loaded.
enum class BufferRule { any, not_negative };

/// Is shown the members of a module.
template <class T>
class Visitor {
 public:
  virtual ~Visitor() = default;
  /// A trained tensor; passed over if it is undefined (an optional bias, say).
  virtual void parameter(const std::string& name, Tensor<T>& t) = 0;
  /// A tensor that is state but is not trained; passed over if it is undefined.
  virtual void buffer(const std::string& name, Tensor<T>& t, BufferRule rule = BufferRule::any) = 0;
  /// An integer that is state, shape (); passed over if it is empty.
  virtual void count(const std::string& name, Labels& value) = 0;
  virtual void child(const std::string& name, Module<T>& module) = 0;
};

/// A function of one tensor with state.
template <class T = float>
class Module {
 public:
  using value_type = T;

  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;
  virtual ~Module() = default;

  virtual Tensor<T> forward(const Tensor<T>& x) = 0;
  Tensor<T> operator()(const Tensor<T>& x);

  /// Shows every member to the visitor, in a fixed order.
  virtual void visit(Visitor<T>&) {}
  /// The layer with its sizes, as summary() prints it: "Linear(64, 10)".
  virtual std::string name() const = 0;

  /// All parameters, children included, each once.
  std::vector<Tensor<T>> parameters();
  /// The same with their names: "0.weight", "0.bias", ...
  std::vector<std::pair<std::string, Tensor<T>>> named_parameters();
  /// How many numbers are trained.
  std::size_t parameter_count();

  /// Copies of all parameters, buffers and counts.
  StateDict<T> state_dict();
  /// Takes over all values of `state`. Throws std::invalid_argument, with nothing changed, unless names and
  /// shapes are exactly those of state_dict(); the message lists what is missing, unexpected and mismatched.
  void load_state_dict(const StateDict<T>& state);

  /// Training mode for this module and its children; BatchNorm1d says what it means there.
  void train(bool on = true);
  /// Evaluation mode.
  void eval() { train(false); }
  bool training() const noexcept { return training_; }

 private:
  /// Called when train() or eval() is.
  virtual void mode_changed(bool /*training*/) {}

  bool training_ = true;
};

/// A table of the layers: name, output shape and parameters of each, and their total. `row` is the shape of
/// one row of the input, without the batch axis. No state changes.
template <class T>
std::string summary(Module<T>& net, const Shape& row);

}  // namespace xtgrad
