#include "xtgrad/optim/optimizers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/kernels/table.hpp"
#include "xtgrad/parallel.hpp"

namespace xtgrad {
namespace {

template <class Options>
concept AdamLike = std::is_same_v<Options, AdamOptions> || std::is_same_v<Options, AdamWOptions>;

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

void check_option(const char* who, const char* name, double value, double limit = kNoLimit) {
  check(value >= 0 && value < limit, "{}: {} is {}, expected a number from 0 up, below {}", who, name, value, limit);
}

void check_options(const SGDOptions& o) {
  check_option(o.name, "momentum", o.momentum);
  check_option(o.name, "dampening", o.dampening);
  check_option(o.name, "weight_decay", o.weight_decay);
  check(!o.nesterov || (o.momentum > 0 && o.dampening == 0),
        "SGD: nesterov needs a momentum above 0 and no dampening, got {} and {}", o.momentum, o.dampening);
}
template <AdamLike Options> void check_options(const Options& o) {
  check_option(o.name, "beta1", o.beta1, 1);
  check_option(o.name, "beta2", o.beta2, 1);
  check_option(o.name, "eps", o.eps);
  check_option(o.name, "weight_decay", o.weight_decay);
}
void check_options(const RMSpropOptions& o) {
  check_option(o.name, "alpha", o.alpha, 1);
  check_option(o.name, "eps", o.eps);
  check_option(o.name, "momentum", o.momentum);
  check_option(o.name, "weight_decay", o.weight_decay);
}

// The updates: the formulas of the header, in one loop each. Elements do not depend on each other, so threads may take blocks.

template <class T, class Loop> void for_blocks(OptimizerSlot<T>& slot, const Loop& loop) {
  constexpr long kBlock = 1 << 15;
  T* const values = slot.parameter.mutable_value().data();
  const T* const gradient = slot.parameter.grad().data();
  T* state[2] = {};
  for (std::size_t i = 0; i < slot.arrays.size(); ++i) state[i] = slot.arrays[i].mutable_value().data();
  parallel_for(static_cast<long>(slot.parameter.size()), kBlock, [&](long first, long last) {
    const auto from = [first](T* array) { return array == nullptr ? nullptr : array + first; };
    loop(last - first, values + first, gradient + first, from(state[0]), from(state[1]));
  });
}

template <class T> void update(OptimizerSlot<T>& slot, const SGDOptions& o) {
  const kernels::SgdStep step{.lr = o.lr,
                              .momentum = o.momentum,
                              .intake = slot.step == 1 ? 1 : 1 - o.dampening,
                              .weight_decay = o.weight_decay,
                              .nesterov = o.nesterov};
  for_blocks(slot, [&](long n, T* w, const T* g, T* velocity, T*) {
    kernels::table<T>().sgd(n, w, g, o.momentum == 0 ? nullptr : velocity, step);
  });
}

template <class T, AdamLike Options> void update(OptimizerSlot<T>& slot, const Options& o) {
  constexpr bool decoupled = std::is_same_v<Options, AdamWOptions>;
  const double t = static_cast<double>(slot.step);
  const kernels::AdamStep step{.lr = o.lr,
                               .beta1 = o.beta1,
                               .beta2 = o.beta2,
                               .eps = o.eps,
                               .penalty = decoupled ? 0 : o.weight_decay,
                               .decay = decoupled ? o.lr * o.weight_decay : 0,
                               .correction1 = 1 - std::pow(o.beta1, t),
                               .correction2 = 1 - std::pow(o.beta2, t)};
  for_blocks(slot, [&](long n, T* w, const T* g, T* m, T* v) { kernels::table<T>().adam(n, w, g, m, v, step); });
}

template <class T> void update(OptimizerSlot<T>& slot, const RMSpropOptions& o) {
  const kernels::RmspropStep step{
      .lr = o.lr, .alpha = o.alpha, .eps = o.eps, .momentum = o.momentum, .weight_decay = o.weight_decay};
  for_blocks(slot, [&](long n, T* w, const T* g, T* s, T* v) { kernels::table<T>().rmsprop(n, w, g, s, v, step); });
}

}  // namespace

template <class T, class Options>
GroupedOptimizer<T, Options>::GroupedOptimizer(std::vector<ParameterGroup<T, Options>> groups) {
  std::set<const void*> seen;
  for (ParameterGroup<T, Options>& group : groups) {
    check_option(Options::name, "lr", group.options.lr);
    check_options(group.options);
    for (Tensor<T>& p : group.parameters) {
      check(p.requires_grad() && p.is_leaf(), "{}: a parameter of shape {} is no leaf, or does not require grad",
            Options::name, p.shape());
      check(seen.insert(&p.node()).second, "{}: a parameter of shape {} is there twice", Options::name, p.shape());
      std::vector<Tensor<T>> arrays;
      for (std::size_t i = 0; i < Options::arrays.size(); ++i) arrays.push_back(Tensor<T>::zeros(p.shape()));
      slots_.push_back({std::move(p), options_.size(), std::move(arrays)});
    }
    options_.push_back(group.options);
  }
  check(!slots_.empty(), "{}: the list of parameters is empty", Options::name);
}

template <class T, class Options> void GroupedOptimizer<T, Options>::step() {
  for (const auto& [w, group, arrays, age] : slots_)
    check(!w.grad().defined() || (w.grad().shape() == w.shape() && arrays[0].shape() == w.shape()),
          "{}: a parameter of shape {} was of shape {} before, or has a gradient of another; make the optimizer anew",
          Options::name, w.shape(), arrays[0].shape());
  for (OptimizerSlot<T>& slot : slots_)
    if (slot.parameter.grad().defined()) {
      ++slot.step;
      update(slot, options_[slot.group]);
    }
}

template <class T, class Options> void GroupedOptimizer<T, Options>::zero_grad() {
  for (OptimizerSlot<T>& slot : slots_) slot.parameter.zero_grad();
}

template <class T, class Options> void GroupedOptimizer<T, Options>::set_lr(double lr, std::size_t group) {
  check_option("set_lr", "lr", lr);
  options_.at(group).lr = lr;
}

template <class T, class Options> double GroupedOptimizer<T, Options>::weight_decay(const Tensor<T>& parameter) const {
  for (const OptimizerSlot<T>& slot : slots_)
    if (&slot.parameter.node() == &parameter.node()) return options_[slot.group].weight_decay;
  return 0;
}

template <class T, class Options> std::vector<StateEntry<T>> GroupedOptimizer<T, Options>::state() {
  std::vector<StateEntry<T>> entries;
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    entries.push_back({fmt::format("{}.step", i), &slots_[i].step});
    for (std::size_t k = 0; k < Options::arrays.size(); ++k)
      entries.push_back({fmt::format("{}.{}", i, Options::arrays[k]), &slots_[i].arrays[k]});
  }
  for (std::size_t g = 0; g < options_.size(); ++g)
    entries.push_back({fmt::format("group.{}.lr", g), &options_[g].lr, StateRule::rate});
  return entries;
}

template <class T> double clip_grad_norm(const std::vector<Tensor<T>>& parameters, double largest) {
  check(largest > 0, "clip_grad_norm: the largest norm is {}, expected a positive number", largest);
  double squares = 0;
  for (const Tensor<T>& p : parameters)
    if (p.grad().defined())
      for (const T g : p.grad().value().storage()) squares += static_cast<double>(g) * static_cast<double>(g);
  const double norm = std::sqrt(squares);
  if (std::isfinite(norm) && norm > largest)
    for (const Tensor<T>& p : parameters)
      if (Tensor<T> grad = p.grad(); grad.defined())
        for (T& g : grad.mutable_value().storage()) g = static_cast<T>(static_cast<double>(g) * (largest / norm));
  return norm;
}

template <class T> void clip_grad_value(const std::vector<Tensor<T>>& parameters, double largest) {
  check(largest > 0, "clip_grad_value: the largest value is {}, expected a positive number", largest);
  const T limit = static_cast<T>(largest);
  for (const Tensor<T>& p : parameters)
    if (Tensor<T> grad = p.grad(); grad.defined())
      for (T& g : grad.mutable_value().storage()) g = std::clamp(g, -limit, limit);
}

#define XTGRAD_INSTANTIATE(T)                                            \
  template class GroupedOptimizer<T, SGDOptions>;                        \
  template class GroupedOptimizer<T, AdamOptions>;                       \
  template class GroupedOptimizer<T, AdamWOptions>;                      \
  template class GroupedOptimizer<T, RMSpropOptions>;                    \
  template double clip_grad_norm(const std::vector<Tensor<T>>&, double); \
  template void clip_grad_value(const std::vector<Tensor<T>>&, double);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
