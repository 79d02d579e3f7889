// Schedules of the learning rate.
#pragma once

#include <functional>

#include "xtgrad/optim/optimizers.hpp"

namespace xtgrad {

/// A factor on the learning rate at t = 0, 1, 2, ... (epochs or steps: whatever the Scheduler counts).
using Schedule = std::function<double(std::int64_t t)>;

/// factor^floor(t / every). Throws unless every is positive and the factor in [0, 1].
Schedule step_decay(std::int64_t every, double factor = 0.1);
/// (1 + cos(pi t / length)) / 2, scaled to end at `floor` and staying there (Loshchilov and Hutter 2017, equation 5).
/// Throws unless the length is positive and the floor in [0, 1].
Schedule cosine(std::int64_t length, double floor = 0);
/// (t + 1) / length while t < length (Goyal et al. 2017, section 2.2), then `then`, counted from its 0; without `then`
/// 1. Throws unless the length is positive.
Schedule warm_up(std::int64_t length, Schedule then = nullptr);

/// Sets each group's learning rate to what it was at construction times the schedule's factor.
template <class T = float> class Scheduler {
 public:
  /// Sets the rates for t = 0. The optimizer must outlive the scheduler. Throws if the schedule is empty.
  Scheduler(Optimizer<T>& optimizer, Schedule schedule);

  /// t = t + 1: after each epoch, or each step, as the schedule counts. Throws, with nothing changed, if the schedule
  /// gives a rate that no optimizer takes.
  void step();
  std::int64_t t() const noexcept { return t_; }

  /// t and the base rates, by name.
  StateDict<T> state_dict() { return copy_state(state()); }
  /// Takes over t and the base rates, and sets the rates. Throws, with nothing changed, unless the names fit.
  void load_state_dict(const StateDict<T>& values);
  /// The same values where they are. The rates are part of the optimizer's.
  std::vector<StateEntry<T>> state();

 private:
  void apply(std::int64_t t);

  Optimizer<T>* optimizer_;
  Schedule schedule_;
  std::vector<double> base_;
  std::int64_t t_ = 0;
};

/// Options of Plateau.
struct PlateauOptions {
  double factor = 0.1;         ///< on the learning rates when there is no progress, between 0 and 1
  std::int64_t patience = 10;  ///< steps without progress that are let pass
  double threshold = 1e-4;     ///< progress is a metric below (1 - threshold) times the best so far
  double min_lr = 0;           ///< no rate falls below this
};

/// Lowers the learning rates when a metric, smaller being better and none negative, stops falling: PyTorch's
/// ReduceLROnPlateau. A metric that is NaN is no progress.
template <class T = float> class Plateau {
 public:
  /// Throws if an option is out of range. The optimizer must outlive it.
  explicit Plateau(Optimizer<T>& optimizer, PlateauOptions options = {});

  /// Takes the metric of the last epoch, or of whatever is counted, and lowers the rates after more than `patience`
  /// steps without progress.
  void step(double metric);

  /// The best metric and the steps since, by name.
  StateDict<T> state_dict() { return copy_state(state()); }
  /// Takes them over. Throws, with nothing changed, unless the names fit.
  void load_state_dict(const StateDict<T>& values) { load_state("load_state_dict", state(), values); }
  /// The same values where they are.
  std::vector<StateEntry<T>> state() { return {{"best", &best_}, {"without_progress", &without_progress_}}; }

 private:
  Optimizer<T>* optimizer_;
  PlateauOptions options_;
  double best_;
  std::int64_t without_progress_ = 0;
};

}  // namespace xtgrad
