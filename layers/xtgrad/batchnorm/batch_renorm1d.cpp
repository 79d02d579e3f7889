#include "xtgrad/batchnorm/batch_renorm1d.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "xtgrad/check.hpp"
#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {

template <class T>
BatchRenorm1d<T>::BatchRenorm1d(std::size_t C, BatchRenorm1dOptions options) : C_(C), options_(options) {
  check(C > 0, "BatchRenorm1d: 0 channels");
  check(options.eps > 0 && std::isfinite(options.eps), "BatchRenorm1d: eps is {}, expected a number above 0",
        options.eps);
  check(options.momentum >= 0 && options.momentum <= 1,
        "BatchRenorm1d: momentum is {}, expected the weight of the new value, from 0 to 1", options.momentum);
  limits(options.r_max, options.d_max);
  if (options.affine) {
    gamma_ = Tensor<T>::ones({C}).requires_grad(true);
    beta_ = Tensor<T>::zeros({C}).requires_grad(true);
  }
  running_mean_ = Tensor<T>::zeros({C});
  running_std_ = Tensor<T>::ones({C});
}

template <class T> void BatchRenorm1d<T>::limits(double r_max, double d_max) {
  check(r_max >= 1 && d_max >= 0, "BatchRenorm1d: r_max is {} and d_max {}, expected 1 or more, and 0 or more", r_max,
        d_max);
  options_.r_max = r_max;
  options_.d_max = d_max;
}

// No batch's sigma_B is below sqrt(eps), and no mean of them; a loaded one might be.
template <class T> double BatchRenorm1d<T>::sigma(std::size_t c) const {
  return std::max(static_cast<double>(running_std_.data()[c]), std::sqrt(options_.eps));
}

template <class T> Tensor<T> BatchRenorm1d<T>::forward(const Tensor<T>& x) {
  const ChannelLayout layout = channel_layout("BatchRenorm1d", x.shape());
  check(layout.C == C_, "BatchRenorm1d: input is {}, with {} channels on axis 1, expected {}", x.shape(), layout.C, C_);
  if (!this->training()) {
    Array<T> var = empty_array<T>({C_});
    for (std::size_t c = 0; c < C_; ++c) var(c) = static_cast<T>(sigma(c) * sigma(c));
    return batch_norm(x, gamma_, beta_, 0, running_mean_.value(), var);
  }
  check(layout.m() != 1, "BatchRenorm1d: needs more than one value per channel in training mode, got input {}",
        x.shape());

  const Moments batch = channel_moments(x);
  Array<T> r = full_array<T>({C_}, T(1)), d = full_array<T>({C_}, T(0));
  std::vector<double> fresh_sigma(C_);
  bool finite = true;
  for (std::size_t c = 0; batch.count > 0 && c < C_; ++c) {
    fresh_sigma[c] = std::sqrt(batch.m2(c) / static_cast<double>(batch.count) + options_.eps);
    const double mu = static_cast<double>(running_mean_.data()[c]);
    r(c) = static_cast<T>(std::clamp(fresh_sigma[c] / sigma(c), 1 / options_.r_max, options_.r_max));
    d(c) = static_cast<T>(std::clamp((batch.mean(c) - mu) / sigma(c), -options_.d_max, options_.d_max));
    finite = finite && std::isfinite(static_cast<T>(batch.mean(c))) &&
             std::isfinite(static_cast<T>(fresh_sigma[c] * fresh_sigma[c]));  // eval mode takes the square
  }
  // gamma (xhat r + d) + beta is batch normalisation with gamma r and gamma d + beta.
  const Tensor<T> scale(std::move(r)), shift(std::move(d));
  const Tensor<T> y = gamma_.defined() ? batch_norm(x, gamma_ * scale, gamma_ * shift + beta_, options_.eps).y
                                       : batch_norm(x, scale, shift, options_.eps).y;
  if (batch.count == 0 || !finite) return y;
  ++num_batches_tracked_;
  T* const mean = running_mean_.mutable_value().data();
  T* const std = running_std_.mutable_value().data();
  const double a = options_.momentum;
  for (std::size_t c = 0; c < C_; ++c) {
    mean[c] = static_cast<T>((1 - a) * static_cast<double>(mean[c]) + a * batch.mean(c));
    std[c] = static_cast<T>((1 - a) * static_cast<double>(std[c]) + a * fresh_sigma[c]);
  }
  return y;
}

template <class T> void BatchRenorm1d<T>::visit(Visitor<T>& v) {
  v.parameter("weight", gamma_);
  v.parameter("bias", beta_);
  v.buffer("running_mean", running_mean_);
  v.buffer("running_std", running_std_, StateRule::not_negative);
  v.count("num_batches_tracked", num_batches_tracked_);
}

template <class T> std::string BatchRenorm1d<T>::name() const {
  return fmt::format("BatchRenorm1d({}{})", C_, options_.affine ? "" : ", not affine");
}

template class BatchRenorm1d<float>;
template class BatchRenorm1d<double>;

}  // namespace xtgrad
