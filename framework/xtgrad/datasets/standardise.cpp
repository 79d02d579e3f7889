#include "xtgrad/datasets/standardise.hpp"

#include <cmath>

#include "xtgrad/check.hpp"
#include "xtgrad/ops/batch_norm.hpp"

namespace xtgrad {

template <class T> Standardise<T>::Standardise(const Tensor<T>& x) {
  const Shape& shape = x.shape();
  check(shape.size() == 2 && shape[0] > 0, "Standardise: x is {}, expected (N, D) with at least one row", shape);
  Moments moments = channel_moments(x);
  mean_ = std::move(moments.mean);
  std_ = std::move(moments.m2);
  for (std::size_t d = 0; d < shape[1]; ++d) {
    std_(d) = std::sqrt(std_(d) / static_cast<double>(moments.count));
    check(std::isfinite(std_(d)), "Standardise: column {} is not finite; remove those rows or fill in values", d);
  }
}

template <class T> Tensor<T> Standardise<T>::apply(const Tensor<T>& x) const {
  const std::size_t D = mean_.size();
  check(x.shape().size() == 2 && x.shape()[1] == D, "Standardise: x is {}, expected (N, {})", x.shape(), D);
  Array<T> z = empty_array<T>(x.shape());
  const double* const mean = mean_.data();
  const double* const std = std_.data();
  for (std::size_t n = 0; n < x.shape()[0]; ++n)
    for (std::size_t d = 0; d < D; ++d) {
      const T value = x.data()[n * D + d];
      if (!std::isfinite(value)) fail("Standardise: column {} is {} in row {}, expected finite values", d, value, n);
      z.data()[n * D + d] = std[d] == 0 ? T(0) : static_cast<T>((static_cast<double>(value) - mean[d]) / std[d]);
    }
  return z;
}

template class Standardise<float>;
template class Standardise<double>;

}  // namespace xtgrad
