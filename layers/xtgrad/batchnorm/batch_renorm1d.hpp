// BatchRenorm1d: batch normalisation whose outputs in training are those of evaluation (Ioffe 2017, Algorithm 1).
#pragma once

#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/batch_norm.hpp"

namespace xtgrad {

/// Options of BatchRenorm1d; the limits apart they never change after construction.
struct BatchRenorm1dOptions {
  double eps = 1e-5;       ///< added to the variance, inside the root
  double momentum = 0.01;  ///< weight of the new value (the paper's alpha)
  double r_max = 3;        ///< limit of the correction's scale, 1 or more
  double d_max = 5;        ///< limit of its shift, 0 or more
  bool affine = true;      ///< have gamma and beta
};

/// x (N, C) or (N, C, L), per channel over m = N * L values. In training mode
///
///   sigma_B = sqrt(sum((x - mu_B)^2) / m + eps)
///   r = clip(sigma_B / sigma, 1 / r_max, r_max)    d = clip((mu_B - mu) / sigma, -d_max, d_max)
///   y = gamma * ((x - mu_B) / sigma_B * r + d) + beta
///   mu = (1-a) mu + a mu_B    sigma = (1-a) sigma + a sigma_B
///
/// where gradients flow through mu_B and sigma_B, and none through r and d. In evaluation mode
/// y = gamma * (x - mu) / sigma + beta, which is what training gives where nothing is clipped, with mu and sigma as they
/// were before the batch. With r_max = 1 and d_max = 0, where the paper begins, it is BatchNorm1d. What else is in this folder
/// looks for BatchNorm1d, and passes this layer over: in training mode its statistics move with every forward pass, also
/// with those of batch_norm_report() and the others, which say that nothing changes. Call eval() before.
template <class T = float> class BatchRenorm1d final : public Layer<BatchRenorm1d<T>, T> {
 public:
  /// Throws unless C and eps are above 0, the momentum is in [0, 1], and the limits are as limits() wants them.
  explicit BatchRenorm1d(std::size_t C, BatchRenorm1dOptions options = {});

  /// Throws, with no state changed, if x has another number of channels, or if m = 1 in training mode. A batch that holds
  /// NaN or inf changes no statistic either.
  Tensor<T> forward(const Tensor<T>& x) override;
  void visit(Visitor<T>& v) override;
  std::string name() const override;
  template <class U> BatchRenorm1d<U> rebuilt() const { return BatchRenorm1d<U>(C_, options_); }

  const BatchRenorm1dOptions& options() const noexcept { return options_; }
  /// Sets r_max and d_max, which the paper lets grow from 1 and 0 to 3 and 5. Throws unless r_max >= 1 and d_max >= 0.
  void limits(double r_max, double d_max);

  /// gamma and beta (C); undefined if not affine.
  Tensor<T>& gamma() noexcept { return gamma_; }
  Tensor<T>& beta() noexcept { return beta_; }
  /// The paper's mu and sigma (C).
  const Tensor<T>& running_mean() const noexcept { return running_mean_; }
  const Tensor<T>& running_std() const noexcept { return running_std_; }
  /// Batches that went into them.
  std::int64_t num_batches_tracked() const noexcept { return num_batches_tracked_; }

 private:
  double sigma(std::size_t c) const;

  std::size_t C_;
  BatchRenorm1dOptions options_;
  Tensor<T> gamma_, beta_, running_mean_, running_std_;
  std::int64_t num_batches_tracked_ = 0;
};

extern template class BatchRenorm1d<float>;
extern template class BatchRenorm1d<double>;

}  // namespace xtgrad
