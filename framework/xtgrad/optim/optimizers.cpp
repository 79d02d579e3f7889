#include "xtgrad/optim/optimizers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/kernels/table.hpp"

namespace xtgrad {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

void check_option(const char* who, const char* name, double value, double limit = kNoLimit) {
  check(value >= 0 && value < limit, "{}: {} is {}, expected a number from 0 up, below {}", who, name, value, limit);
}

void check_options(const SGDOptions& o) {
  check_option(o.name, "momentum", o.momentum);
  check_option(o.name, "weight_decay", o.weight_decay);
  check(!o.nesterov || (o.momentum > 0 && o.dampening == 0),
        "SGD: nesterov needs a momentum above 0 and no dampening, got {} and {}", o.momentum, o.dampening);
}
template <class Options>
void check_adam_options(const Options& o) {
  check_option(o.name, "beta1", o.beta1, 1);
  check_option(o.name, "beta2", o.beta2, 1);
  check_option(o.name, "eps", o.eps);
  check_option(o.name, "weight_decay", o.weight_decay);
}
void check_options(const AdamOptions& o) { check_adam_options(o); }
void check_options(const AdamWOptions& o) { check_adam_options(o); }
void check_options(const RMSpropOptions& o) {
  check_option(o.name, "alpha", o.alpha, 1);
  check_option(o.name, "eps", o.eps);
  check_option(o.name, "momentum", o.momentum);
  check_option(o.name, "weight_decay", o.weight_decay);
}

template <class T>
long length(const Tensor<T>& t) {
  return static_cast<long>(t.size());
}

}  // namespace

template <class T, class Options>
GroupedOptimizer<T, Options>::GroupedOptimizer(std::vector<ParameterGroup<T, Options>> groups, std::size_t arrays) {
  std::set<const void*> seen;
  for (ParameterGroup<T, Options>& group : groups) {
    check_option(group.options.name, "lr", group.options.lr);
    check_options(group.options);
    for (Tensor<T>& p : group.parameters) {
      check(p.requires_grad(), "optimizer: a parameter of shape {} does not require grad", p.shape());
      check(seen.insert(&p.value()).second, "optimizer: a parameter of shape {} is there twice", p.shape());
      std::vector<Array<T>> state(arrays, full_array<T>(p.shape(), T(0)));
      slots_.push_back({std::move(p), options_.size(), std::move(state)});
    }
    options_.push_back(group.options);
  }
  check(!slots_.empty(), "optimizer: the list of parameters is empty");
}

template <class T, class Options>
void GroupedOptimizer<T, Options>::step() {
  for (Slot& slot : slots_)
    if (slot.parameter.grad().defined()) {
      ++slot.t;
      update(slot, options_[slot.group]);
    }
}

template <class T, class Options>
void GroupedOptimizer<T, Options>::zero_grad() {
  for (Slot& slot : slots_) slot.parameter.zero_grad();
}

template <class T, class Options>
void GroupedOptimizer<T, Options>::set_lr(double lr, std::size_t group) {
  check_option("set_lr", "lr", lr);
  options_.at(group).lr = lr;
}

template <class T>
SGD<T>::SGD(std::vector<ParameterGroup<T, SGDOptions>> groups) : Base(std::move(groups), 1) {}

template <class T>
void SGD<T>::update(typename Base::Slot& slot, const SGDOptions& o) {
  Tensor<T>& w = slot.parameter;
  kernels::table<T>().sgd(length(w), w.mutable_value().data(), w.grad().data(),
                          o.momentum == 0 ? nullptr : slot.state[0].data(),
                          {.lr = o.lr,
                           .momentum = o.momentum,
                           .intake = slot.t == 1 ? 1 : 1 - o.dampening,
                           .weight_decay = o.weight_decay,
                           .nesterov = o.nesterov});
}

namespace {

template <class T, class Options>
kernels::AdamStep adam_step(const Options& o, std::int64_t t_, double penalty, double decay) {
  const double t = static_cast<double>(t_);
  return {.lr = o.lr,
          .beta1 = o.beta1,
          .beta2 = o.beta2,
          .eps = o.eps,
          .penalty = penalty,
          .decay = decay,
          .correction1 = 1 - std::pow(o.beta1, t),
          .correction2 = 1 - std::pow(o.beta2, t)};
}

}  // namespace

template <class T>
Adam<T>::Adam(std::vector<ParameterGroup<T, AdamOptions>> groups) : Base(std::move(groups), 2) {}

template <class T>
void Adam<T>::update(typename Base::Slot& slot, const AdamOptions& o) {
  Tensor<T>& w = slot.parameter;
  kernels::table<T>().adam(length(w), w.mutable_value().data(), w.grad().data(), slot.state[0].data(),
                           slot.state[1].data(), adam_step<T>(o, slot.t, o.weight_decay, 0));
}

template <class T>
AdamW<T>::AdamW(std::vector<ParameterGroup<T, AdamWOptions>> groups) : Base(std::move(groups), 2) {}

template <class T>
void AdamW<T>::update(typename Base::Slot& slot, const AdamWOptions& o) {
  Tensor<T>& w = slot.parameter;
  kernels::table<T>().adam(length(w), w.mutable_value().data(), w.grad().data(), slot.state[0].data(),
                           slot.state[1].data(), adam_step<T>(o, slot.t, 0, o.lr * o.weight_decay));
}

template <class T>
RMSprop<T>::RMSprop(std::vector<ParameterGroup<T, RMSpropOptions>> groups) : Base(std::move(groups), 2) {}

template <class T>
void RMSprop<T>::update(typename Base::Slot& slot, const RMSpropOptions& o) {
  Tensor<T>& w = slot.parameter;
  kernels::table<T>().rmsprop(
      length(w), w.mutable_value().data(), w.grad().data(), slot.state[0].data(), slot.state[1].data(),
      {.lr = o.lr, .alpha = o.alpha, .eps = o.eps, .momentum = o.momentum, .weight_decay = o.weight_decay});
}

template <class T>
double clip_grad_norm(const std::vector<Tensor<T>>& parameters, double largest) {
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

template <class T>
void clip_grad_value(const std::vector<Tensor<T>>& parameters, double largest) {
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
  template class SGD<T>;                                                 \
  template class Adam<T>;                                                \
  template class AdamW<T>;                                               \
  template class RMSprop<T>;                                             \
  template double clip_grad_norm(const std::vector<Tensor<T>>&, double); \
  template void clip_grad_value(const std::vector<Tensor<T>>&, double);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
