// BatchNorm1d: batch normalisation with running statistics (Ioffe and Szegedy 2015, Algorithms 1 and 2).
#pragma once

#include <optional>

#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/batch_norm.hpp"

namespace xtgrad {

/// Which statistics normalise.
enum class Statistics {
  batch,   ///< mean and biased variance of the batch at hand
  running  ///< the running estimates; the layer is then an affine map
};

/// What happens to the running statistics when a batch holds NaN or inf.
enum class NonFinite {
  skip,      ///< nothing of that batch is committed, and skipped_batches() counts it
  propagate  ///< they become NaN for good, as in PyTorch
};

/// Options of BatchNorm1d; they never change after construction.
struct BatchNorm1dOptions {
  double eps = 1e-5;                     ///< added to the variance, inside the root
  std::optional<double> momentum = 0.1;  ///< weight of the new value; nullopt: cumulative average, 1 / batches so far
  bool affine = true;                    ///< have gamma and beta
  bool track_running_stats = true;       ///< have running statistics; without them the batch's own always normalise
  bool unbiased_running_var = true;      ///< the running variance takes in sum / (m-1); false: sum / m, as in Keras
  bool debias = false;                   ///< leave the initial values out: weight a / (1 - (1-a)^t) in batch t, as Adam
  NonFinite non_finite = NonFinite::skip;  ///< what a batch with NaN or inf does to them
  /// Normalise, and count, groups of so many rows as batches of their own, the last with the rest: the ghost batches of
  /// Hoffer, Hubara and Soudry 2017, Algorithm 1. 0: the whole batch. With running statistics there is nothing to divide.
  std::size_t virtual_batch = 0;
};

/// x (N, C) or (N, C, L), normalised per channel over m = N * L values:
///
///   y = gamma * (x - mu) / sqrt(var + eps) + beta        var = sum((x - mu)^2) / m, biased
///   running_mean = (1-a) running_mean + a mu
///   running_var  = (1-a) running_var  + a sum((x - mu)^2) / (m-1)
///
/// The variance that normalises is biased, so that mean(xhat^2) = 1; the running one is unbiased, because it
/// estimates the population. Two switches say what happens, and train(), eval() and freeze() set them:
///
///                 statistics   update
///   train()       batch        on
///   eval()        running      off
///   by hand       either       either; running statistics that are updated normalise as they were before the batch
///   freeze()      running      off, and train() of a parent does not change it until unfreeze()
template <class T = float> class BatchNorm1d final : public Layer<BatchNorm1d<T>, T> {
 public:
  /// Throws if C is 0, eps is negative, the momentum is outside [0, 1], or virtual_batch is 1.
  explicit BatchNorm1d(std::size_t C, BatchNorm1dOptions options = {});

  /// Throws, with no state changed, if x has another number of channels, or if m = 1 and batch statistics are
  /// needed.
  Tensor<T> forward(const Tensor<T>& x) override;
  void visit(Visitor<T>& v) override;
  std::string name() const override;
  template <class U> BatchNorm1d<U> rebuilt() const {
    BatchNorm1d<U> copy(C_, options_);
    copy.train(this->training());
    copy.statistics_ = statistics_;
    copy.update_ = update_;
    copy.frozen_ = frozen_;
    copy.skipped_batches_ = skipped_batches_;
    return copy;
  }

  const BatchNorm1dOptions& options() const noexcept { return options_; }

  /// What normalises now.
  Statistics statistics() const noexcept { return statistics_; }
  /// Throws if running statistics are asked for and the layer does not track them.
  void statistics(Statistics which);
  /// Whether forward() updates the running statistics now.
  bool update() const noexcept { return update_; }
  /// Throws if updates are asked for and the layer does not track running statistics.
  void update(bool on);
  /// Running statistics without updates, whatever train() and eval() say. Throws if the layer does not track
  /// them.
  void freeze();
  /// Back to what train() or eval() said last.
  void unfreeze();
  bool frozen() const noexcept { return frozen_; }

  /// gamma and beta (C); undefined if not affine.
  Tensor<T>& gamma() noexcept { return gamma_; }
  Tensor<T>& beta() noexcept { return beta_; }
  /// Running statistics (C); undefined if they are not tracked.
  const Tensor<T>& running_mean() const noexcept { return running_mean_; }
  const Tensor<T>& running_var() const noexcept { return running_var_; }
  /// Batches that went into the running statistics.
  std::int64_t num_batches_tracked() const noexcept { return num_batches_tracked_; }
  /// Batches that did not, because they were not finite.
  std::int64_t skipped_batches() const noexcept { return skipped_batches_; }
  /// Replaces the running statistics. Throws if the layer does not track them, if a shape is not (C), or if a variance
  /// is negative or NaN.
  void set_running_statistics(const Array<T>& mean, const Array<T>& var);

 private:
  template <class U> friend class BatchNorm1d;
  void mode_changed(bool training) override;
  void check_tracked(const char* what) const;
  void commit(const Moments& batch);

  std::size_t C_;
  BatchNorm1dOptions options_;
  Statistics statistics_ = Statistics::batch;
  bool update_ = true;
  bool frozen_ = false;
  Tensor<T> gamma_, beta_, running_mean_, running_var_;
  std::int64_t num_batches_tracked_ = 0;
  std::int64_t skipped_batches_ = 0;
};

extern template class BatchNorm1d<float>;
extern template class BatchNorm1d<double>;

}  // namespace xtgrad
