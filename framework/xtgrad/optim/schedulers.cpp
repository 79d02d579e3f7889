#include "xtgrad/optim/schedulers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

void check_length(const char* who, std::int64_t length) {
  check(length > 0, "{}: a length of {}, expected 1 or more", who, length);
}
void check_factor(const char* who, double factor) {
  check(factor >= 0 && factor <= 1, "{}: a factor of {}, expected 0 to 1", who, factor);
}

}  // namespace

Schedule step_decay(std::int64_t every, double factor) {
  check_length("step_decay", every);
  check_factor("step_decay", factor);
  return [=](std::int64_t t) { return std::pow(factor, static_cast<double>(t / every)); };
}

Schedule cosine(std::int64_t length, double floor) {
  check_length("cosine", length);
  check_factor("cosine", floor);
  return [=](std::int64_t t) {
    const double done = static_cast<double>(std::min(t, length)) / static_cast<double>(length);
    return floor + (1 - floor) * (1 + std::cos(std::numbers::pi * done)) / 2;
  };
}

Schedule warm_up(std::int64_t length, Schedule then) {
  check_length("warm_up", length);
  return [=](std::int64_t t) {
    if (t < length) return static_cast<double>(t + 1) / static_cast<double>(length);
    return then ? then(t - length) : 1;
  };
}

template <class T>
Scheduler<T>::Scheduler(Optimizer<T>& optimizer, Schedule schedule)
    : optimizer_(&optimizer), schedule_(std::move(schedule)) {
  check(static_cast<bool>(schedule_), "Scheduler: the schedule is empty");
  for (std::size_t g = 0; g < optimizer.groups(); ++g) base_.push_back(optimizer.lr(g));
  apply(0);
}

template <class T> void Scheduler<T>::apply(std::int64_t t) {
  const double factor = schedule_(t);
  for (std::size_t g = 0; g < base_.size(); ++g) optimizer_->set_lr(base_[g] * factor, g);
  t_ = t;
}

template <class T> void Scheduler<T>::step() { apply(t_ + 1); }

template <class T> void Scheduler<T>::load_state_dict(const StateDict<T>& values) {
  load_state("load_state_dict", state(), values);
  apply(t_);
}

template <class T> std::vector<StateEntry<T>> Scheduler<T>::state() {
  std::vector<StateEntry<T>> entries{{"t", &t_}};
  for (std::size_t g = 0; g < base_.size(); ++g)
    entries.push_back({fmt::format("group.{}.base_lr", g), &base_[g], StateRule::rate});
  return entries;
}

template <class T>
Plateau<T>::Plateau(Optimizer<T>& optimizer, PlateauOptions options)
    : optimizer_(&optimizer), options_(options), best_(std::numeric_limits<double>::infinity()) {
  check_factor("Plateau", options.factor);
  check(options.patience >= 0 && options.threshold >= 0 && options.threshold < 1 && options.min_lr >= 0,
        "Plateau: patience is {}, threshold {}, min_lr {}, expected none below 0 and a threshold below 1",
        options.patience, options.threshold, options.min_lr);
}

template <class T> void Plateau<T>::step(double metric) {
  if (metric < best_ * (1 - options_.threshold)) {
    best_ = metric;
    without_progress_ = 0;
  } else if (++without_progress_ > options_.patience) {
    without_progress_ = 0;
    for (std::size_t g = 0; g < optimizer_->groups(); ++g)
      optimizer_->set_lr(std::min(optimizer_->lr(g), std::max(optimizer_->lr(g) * options_.factor, options_.min_lr)),
                         g);
  }
}

template class Scheduler<float>;
template class Scheduler<double>;
template class Plateau<float>;
template class Plateau<double>;

}  // namespace xtgrad
