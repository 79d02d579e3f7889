#include "xtgrad/layers/batch_norm1d.hpp"

#include <cmath>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {

template <class T>
BatchNorm1d<T>::BatchNorm1d(std::size_t C, BatchNorm1dOptions options)
    : C_(C), options_(options), update_(options.track_running_stats) {
  check(C > 0, "BatchNorm1d: 0 channels");
  check(options.eps >= 0 && std::isfinite(options.eps), "BatchNorm1d: eps is {}, expected a number from 0 up",
        options.eps);
  if (options.momentum)
    check(*options.momentum >= 0 && *options.momentum <= 1,
          "BatchNorm1d: momentum is {}, expected the weight of the new value, from 0 to 1, or nullopt",
          *options.momentum);
  check(options.virtual_batch != 1, "BatchNorm1d: virtual_batch is 1, expected groups of 2 rows or more, or 0");
  if (options.affine) {
    gamma_ = Tensor<T>::ones({C}).requires_grad(true);
    beta_ = Tensor<T>::zeros({C}).requires_grad(true);
  }
  if (options.track_running_stats) {
    running_mean_ = Tensor<T>::zeros({C});
    running_var_ = Tensor<T>::ones({C});
  }
}

template <class T> Tensor<T> BatchNorm1d<T>::forward(const Tensor<T>& x) {
  const ChannelLayout layout = channel_layout("BatchNorm1d", x.shape());
  if (layout.C != C_)
    fail("BatchNorm1d: input is {}, with {} channels on axis 1, expected {}{}", x.shape(), layout.C, C_,
         x.shape().size() == 3 && x.shape()[2] == C_
             ? "; if it is (N, L, C), exchange its last two axes with transpose(x)"
             : "");
  check(layout.m() != 1 || (statistics_ == Statistics::running && !update_),
        "BatchNorm1d: needs more than one value per channel with batch statistics, got input {}; "
        "in a loader, use drop_last or min_batch = 2",
        x.shape());

  if (statistics_ == Statistics::running) {
    const Tensor<T> y = batch_norm(x, gamma_, beta_, options_.eps, running_mean_.value(), running_var_.value());
    if (update_) commit(channel_moments(x));
    return y;
  }
  const std::size_t v = options_.virtual_batch, rows = v > 0 && layout.N / 2 >= v ? v : layout.N;  // of a group
  if (rows * layout.L == 2 && x.requires_grad() && grad_enabled())
    warn_once(fmt::format(
        "BatchNorm1d: two values per channel: xhat is +-1 whatever they are, and no gradient gets "
        "through to the input, but for spikes where the two are within sqrt(eps) of each other; got input {}{}",
        x.shape(), rows == layout.N ? "" : " in groups of 2 rows"));
  if (rows == layout.N) {
    BatchNormResult<T> result = batch_norm(x, gamma_, beta_, options_.eps);
    if (update_) commit(result.batch);
    return std::move(result.y);
  }
  std::vector<BatchNormResult<T>> groups;
  std::vector<Tensor<T>> outputs;
  for (std::size_t first = 0, last; first < layout.N; first = last) {
    last = layout.N - first < 2 * rows ? layout.N : first + rows;
    groups.push_back(batch_norm(slice(x, 0, first, last), gamma_, beta_, options_.eps));
    outputs.push_back(groups.back().y);
  }
  Tensor<T> y = concat(outputs, 0);
  for (std::size_t i = 0; update_ && i < groups.size(); ++i) commit(groups[i].batch);
  return y;
}

template <class T> void BatchNorm1d<T>::commit(const Moments& batch) {
  if (batch.count == 0) return;
  const double count = static_cast<double>(batch.count), unbiased = count - 1;
  const double *const mu = batch.mean.data(), *const m2 = batch.m2.data();
  if (options_.non_finite == NonFinite::skip) {
    std::size_t finite = 0;  // counted, so that channels go through side by side
    for (std::size_t c = 0; c < C_; ++c)
      finite += std::isfinite(static_cast<T>(mu[c]) + 0 * static_cast<T>(m2[c] / unbiased));  // 0 * inf is NaN
    if (finite < C_) return static_cast<void>(++skipped_batches_);
  }
  const double n = static_cast<double>(++num_batches_tracked_);
  double a = options_.momentum.value_or(1 / n);
  if (options_.debias && options_.momentum && a > 0) a = n == 1 ? 1 : a / -std::expm1(n * std::log1p(-a));
  const auto blend = [a](T old, double fresh) {
    return static_cast<T>((1 - a) * static_cast<double>(old) + a * fresh);
  };
  T* const mean = running_mean_.mutable_value().data();
  T* const var = running_var_.mutable_value().data();
  const double divisor = options_.unbiased_running_var ? unbiased : count;
  for (std::size_t c = 0; c < C_; ++c) {
    mean[c] = blend(mean[c], mu[c]);
    var[c] = blend(var[c], m2[c] / divisor);
  }
}

template <class T> void BatchNorm1d<T>::check_tracked(const char* what) const {
  check(options_.track_running_stats,
        "BatchNorm1d: {} needs running statistics; construct it with track_running_stats = true", what);
}

template <class T> void BatchNorm1d<T>::statistics(Statistics which) {
  if (which == Statistics::running) check_tracked("Statistics::running");
  statistics_ = which;
}

template <class T> void BatchNorm1d<T>::update(bool on) {
  if (on) check_tracked("update");
  update_ = on;
}

template <class T> void BatchNorm1d<T>::freeze() {
  check_tracked("freeze");
  statistics_ = Statistics::running;
  update_ = false;
  frozen_ = true;
}

template <class T> void BatchNorm1d<T>::unfreeze() {
  frozen_ = false;
  mode_changed(this->training());
}

template <class T> void BatchNorm1d<T>::mode_changed(bool training) {
  if (frozen_ || !options_.track_running_stats) return;
  statistics_ = training ? Statistics::batch : Statistics::running;
  update_ = training;
}

template <class T> void BatchNorm1d<T>::set_running_statistics(const Array<T>& mean, const Array<T>& var) {
  check_tracked("set_running_statistics");
  for (const Array<T>* statistic : {&mean, &var})
    check(statistic->shape() == Shape{C_}, "BatchNorm1d: a running statistic is {}, expected ({},)", statistic->shape(),
          C_);
  for (const T value : var.storage())
    check(value >= 0, "BatchNorm1d: a running variance is {}, expected a number that is not negative", value);
  running_mean_.mutable_value().storage() = mean.storage();
  running_var_.mutable_value().storage() = var.storage();
}

template <class T> void BatchNorm1d<T>::visit(Visitor<T>& v) {
  v.parameter("weight", gamma_);
  v.parameter("bias", beta_);
  v.buffer("running_mean", running_mean_);
  v.buffer("running_var", running_var_, StateRule::not_negative);
  if (options_.track_running_stats) v.count("num_batches_tracked", num_batches_tracked_);
}

template <class T> std::string BatchNorm1d<T>::name() const {
  return fmt::format("BatchNorm1d({}{}{})", C_, options_.affine ? "" : ", not affine",
                     options_.track_running_stats ? "" : ", no running statistics");
}

template class BatchNorm1d<float>;
template class BatchNorm1d<double>;

}  // namespace xtgrad
