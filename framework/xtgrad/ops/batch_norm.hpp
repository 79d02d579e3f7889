// Batch normalisation (Ioffe and Szegedy 2015, Algorithm 1) of x (N, C) or (N, C, L), channel by channel;
// m = N * L values each, gamma and beta (C) or undefined (1 and 0).
//
//   mu = mean(x)    var = sum((x - mu)^2) / m    inv_std = 1 / sqrt(var + eps)    xhat = (x - mu) * inv_std
//   y = gamma * xhat + beta
//
// Sums are taken in double over x minus the channel's first value, and where x is double once more over x - mu. A
// channel without variance gives y = beta exactly, also with eps = 0, where inv_std counts as 0. One whose sum of
// squares overflows double (deviations beyond 1e154) counts as not finite: its y is NaN.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// How an input is divided into channels.
struct ChannelLayout {
  std::size_t N, C, L;
  /// Values per channel.
  std::size_t m() const noexcept { return N * L; }
};

/// The layout of an input (N, C) or (N, C, L). Throws, naming `who`, if the input has another number of axes.
ChannelLayout channel_layout(const char* who, const Shape& shape);

/// Count, mean and sum of squared deviations per channel.
struct Moments {
  std::size_t count = 0;
  Array<double> mean = {};  ///< (C)
  Array<double> m2 = {};    ///< (C) sum((x - mean)^2)

  /// Takes in other values, as if all had been measured together (Chan, Golub and LeVeque 1983). Throws unless both have
  /// the same number of channels, or one has no values.
  void merge(const Moments& other);
  /// m2 / (count - 1) of a channel: the estimate of the population's variance.
  double unbiased(std::size_t c) const { return m2(c) / (static_cast<double>(count) - 1); }
};

/// The moments of a batch (N, C) or (N, C, L); zeros if it is empty.
template <class T> Moments channel_moments(const Tensor<T>& x);

/// A normalised batch and what it was normalised with.
template <class T> struct BatchNormResult {
  Tensor<T> y;    ///< in x's shape
  Moments batch;  ///< m, mu and m * var
};

/// Normalises with the batch's own statistics, through which the gradient flows:
///   dbeta = sum(dy)    dgamma = sum(dy * xhat)
///   dx = gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat))
/// Saves x and the statistics of this call. Throws if gamma or beta is not (C), or if m = 1.
template <class T>
BatchNormResult<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps);

/// Normalises with the given mean and variance (C), an affine map:
///   dbeta = sum(dy)    dgamma = sum(dy * xhat)    dx = gamma * inv_std * dy
/// Nothing flows to the statistics, which are copied. Throws if a shape does not fit.
template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps,
                     const Array<T>& running_mean, const Array<T>& running_var);

namespace reference {

/// The definition in plain ops, one line of the paper each.
template <class T> Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps);
template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps,
                     const Array<T>& running_mean, const Array<T>& running_var);

/// The gradient of the first with respect to x, for the gradient dy of its result.
template <class T> Tensor<T> batch_norm_dx(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& dy, double eps);

}  // namespace reference
}  // namespace xtgrad
