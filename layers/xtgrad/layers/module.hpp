// Module<T>: a layer, or a network of layers.
//
// A module lists its members once, in visit(): parameters, buffers, counts and children. Everything else
// follows from that list: parameters(), state_dict(), train() and eval(), clone(), the count, the labels and the
// summary. Modules can be moved, not copied. Forward passes in eval mode change nothing, so several threads may run
// them on one network.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "xtgrad/hooks.hpp"
#include "xtgrad/random.hpp"
#include "xtgrad/state/state_dict.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

template <class T> class Module;

/// Is shown the members of a module.
template <class T> class Visitor {
 public:
  virtual ~Visitor() = default;
  /// A trained tensor; passed over if it is undefined (an optional bias, say).
  virtual void parameter(const std::string& name, Tensor<T>& t) = 0;
  /// A tensor that is state but is not trained; passed over if it is undefined.
  virtual void buffer(const std::string& name, Tensor<T>& t, StateRule rule = StateRule::any) = 0;
  /// An integer that is state.
  virtual void count(const std::string& name, std::int64_t& value) = 0;
  /// A module inside; its members are named "name.member".
  virtual void child(const std::string& name, Module<T>& module) = 0;
};

/// Is called after a module's forward(x) = y, and may replace y. For gradients, hang a hook on y.
template <class T> using ForwardHook = std::function<void(Module<T>& module, const Tensor<T>& x, Tensor<T>& y)>;

namespace detail {
template <class T, class U> void copy_members(Module<T>& from, Module<U>& to);
}

/// A function of one tensor with state.
template <class T = float> class Module {
 public:
  using value_type = T;

  Module() = default;
  // A module that moves may get another place in a network, and with it another label.
  Module(Module&& other) noexcept : hooks_(std::move(other.hooks_)), training_(other.training_) {}
  Module& operator=(Module&& other) noexcept {
    hooks_ = std::move(other.hooks_);
    training_ = other.training_;
    label_ = nullptr;
    return *this;
  }
  virtual ~Module() = default;

  /// The function itself, without hooks and labels; callers use operator().
  virtual Tensor<T> forward(const Tensor<T>& x) = 0;
  /// forward(x) and then the hooks. The ops inside carry the module's place and name as their label, and the parameters
  /// theirs: "1 BatchNorm1d(64)", "1.weight". A module finds out when it first runs.
  Tensor<T> operator()(const Tensor<T>& x);

  /// Shows every member to the visitor, in a fixed order.
  virtual void visit(Visitor<T>&) {}
  /// The layer with its sizes, as summary() prints it: "Linear(64, 10)".
  virtual std::string name() const = 0;
  /// A new module with the same sizes, options and switches, whatever its values; Layer implements both. Throws in a
  /// module that does not say how.
  virtual std::unique_ptr<Module<float>> rebuild(float) const;
  virtual std::unique_ptr<Module<double>> rebuild(double) const;

  /// All parameters, children included, each once.
  std::vector<Tensor<T>> parameters();
  /// The same with their names: "0.weight", "0.bias", ...
  std::vector<std::pair<std::string, Tensor<T>>> named_parameters();
  /// This module ("") and all below it, with their names: "0", "1.fc", ...
  std::vector<std::pair<std::string, Module*>> named_modules();
  /// How many numbers are trained.
  std::size_t parameter_count();

  /// Copies of all parameters, buffers and counts.
  StateDict<T> state_dict() { return copy_state(state()); }
  /// Takes over all values of `state`. Throws std::invalid_argument, with nothing changed, unless names and
  /// shapes are exactly those of state_dict(); the message lists what is missing, unexpected and mismatched.
  void load_state_dict(const StateDict<T>& values) { load_state("load_state_dict", state(), values); }
  /// The same values where they are.
  std::vector<StateEntry<T>> state();

  /// Training mode for this module and its children; BatchNorm1d and Dropout say what it means there.
  void train(bool on = true);
  /// Evaluation mode.
  void eval() { train(false); }
  /// What train() or eval() said last; true at first.
  bool training() const noexcept { return training_; }

  /// Calls the hook after every operator(). Returns what remove_hook() wants. Throws if the hook is empty.
  std::size_t add_hook(ForwardHook<T> hook) { return hooks_.add(std::move(hook)); }
  /// Throws if there is no such hook.
  void remove_hook(std::size_t id) { hooks_.remove(id); }

 protected:
  /// To be called where children are added: their labels are found anew.
  void unlabel() noexcept { label_ = nullptr; }

 private:
  template <class A, class B> friend void detail::copy_members(Module<A>&, Module<B>&);
  /// Called when train() or eval() is.
  virtual void mode_changed(bool /*training*/) {}
  void label_all();

  HookList<ForwardHook<T>> hooks_;
  std::atomic<const std::string*> label_ = nullptr;
  bool training_ = true;
};

/// Hooks on modules for as long as this lives.
template <class T> class ScopedHooks {
 public:
  ScopedHooks() = default;
  ScopedHooks(const ScopedHooks&) = delete;
  ScopedHooks& operator=(const ScopedHooks&) = delete;
  ~ScopedHooks() {
    for (const auto& [module, id] : hooks_) module->remove_hook(id);
  }
  void add(Module<T>& module, ForwardHook<T> hook) { hooks_.emplace_back(&module, module.add_hook(std::move(hook))); }

 private:
  std::vector<std::pair<Module<T>*, std::size_t>> hooks_;
};

/// The base of modules that can be cloned and converted: classes that are templates of the precision, and say
///
///   template <class U>
///   MyLayer<U> rebuilt() const;    a new layer with the same sizes, options and switches, whatever its values
template <class Self, class T> class Layer : public Module<T> {
 public:
  /// A deep copy: values, switches and modes; what was tied is tied. Hooks stay behind, and no random number is drawn.
  /// Throws if a module inside does not say how it is rebuilt, or rebuilds itself with other members.
  Self clone() { return to<T>(); }
  /// The same in another precision; see convert().
  template <class U> auto to() {
    auto copy = anew<U>();
    detail::copy_members(*this, copy);
    return copy;
  }
  std::unique_ptr<Module<float>> rebuild(float) const override { return owned(anew<float>()); }
  std::unique_ptr<Module<double>> rebuild(double) const override { return owned(anew<double>()); }

 private:
  template <class U> auto anew() const {
    const KeepGenerator keep;  // initial values that nobody will see
    return static_cast<const Self&>(*this).template rebuilt<U>();
  }
  template <class L> static std::unique_ptr<Module<typename L::value_type>> owned(L&& layer) {
    return std::make_unique<L>(std::move(layer));
  }
};

/// A deep copy of any module that says how it is rebuilt; what Layer::clone() does, without the type.
template <class T> std::unique_ptr<Module<T>> clone(Module<T>& module);

/// The network in another precision: convert<double>(net).
template <class U, class L> auto convert(L& net) { return net.template to<U>(); }

/// A table of the layers: name, output shape and parameters of each, and their total. `row` is the shape of
/// one row of the input, without the batch axis. No state changes. Throws what a forward pass of such rows throws.
template <class T> std::string summary(Module<T>& net, const Shape& row);

}  // namespace xtgrad
