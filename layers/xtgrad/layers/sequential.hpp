// Sequential: modules one after the other.
#pragma once

#include <concepts>
#include <memory>

#include "xtgrad/layers/module.hpp"

namespace xtgrad {

/// A module that can be put into a network of T.
template <class M, class T>
concept ModuleOf = std::derived_from<M, Module<T>>;

/// Runs its modules in order; their names are 0, 1, 2, ...
///
///   Sequential net{Linear(64, 32), Relu(), Linear(32, 10)};
///
/// Depth only tells a Sequential from one that holds nothing but it: Sequential{Sequential{...}} is a network
/// with one child, not a copy.
template <class T = float, int Depth = 0> class Sequential final : public Layer<Sequential<T, Depth>, T> {
 public:
  /// No module: the identity, until some are added.
  Sequential() = default;
  /// Takes over the modules.
  template <class... M>
  requires(sizeof...(M) > 0 && (ModuleOf<M, T> && ...) &&
           !(sizeof...(M) == 1 && (std::same_as<M, Sequential> && ...))) explicit Sequential(M&&... modules) {
    (add(std::move(modules)), ...);
  }

  /// Appends a module. Throws if there is none.
  template <ModuleOf<T> M> void add(M&& module) { add(std::make_unique<M>(std::move(module))); }
  void add(std::unique_ptr<Module<T>> module) {
    check(module != nullptr, "Sequential: there is no module to add");
    modules_.push_back(std::move(module));
    this->unlabel();
  }

  std::size_t size() const noexcept { return modules_.size(); }
  /// Module i. Throws std::out_of_range if there is none.
  Module<T>& operator[](std::size_t i) { return *modules_.at(i); }
  /// Module i as an M. Throws std::out_of_range or std::bad_cast.
  template <class M> M& get(std::size_t i) { return dynamic_cast<M&>(*modules_.at(i)); }

  /// The output of the last module. Throws what any of them throws.
  Tensor<T> forward(const Tensor<T>& x) override {
    Tensor<T> y = x;
    for (const auto& module : modules_) y = (*module)(y);
    return y;
  }
  void visit(Visitor<T>& v) override {
    for (std::size_t i = 0; i < modules_.size(); ++i) v.child(std::to_string(i), *modules_[i]);
  }
  std::string name() const override { return "Sequential"; }
  template <class U> Sequential<U, Depth> rebuilt() const {
    Sequential<U, Depth> copy;
    for (const auto& module : modules_) copy.modules_.push_back(module->rebuild(U()));
    return copy;
  }

 private:
  template <class U, int D> friend class Sequential;
  std::vector<std::unique_ptr<Module<T>>> modules_;
};

template <class M, class... More> Sequential(M&&, More&&...) -> Sequential<typename M::value_type>;
// Explicit, so that `Sequential net = make_net();` is the network that make_net returned.
template <class T, int Depth> explicit Sequential(Sequential<T, Depth>&&) -> Sequential<T, Depth + 1>;

}  // namespace xtgrad
