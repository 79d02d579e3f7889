// Sums over axes and their adjoint, expansion along axes: each is the other's gradient.
// Broadcasting is undone here, by sum_to, and nowhere else.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// Axes of a tensor; negative ones count from the end.
using Axes = xt::svector<std::ptrdiff_t, 4>;

/// Options of reductions.
struct ReduceOptions {
  bool keepdims = false;  ///< leave the summed axes in the shape, with extent 1
};

/// The sum of all elements, shape (). Sums are taken in double.
template <class T>
Tensor<T> sum(const Tensor<T>& x);
/// The sum over the given axes. Throws if an axis does not exist or is named twice.
template <class T>
Tensor<T> sum(const Tensor<T>& x, const Axes& axes, ReduceOptions options = {});

/// The mean of all elements, shape (); NaN if there are none.
template <class T>
Tensor<T> mean(const Tensor<T>& x);
/// The mean over the given axes. Throws as sum does.
template <class T>
Tensor<T> mean(const Tensor<T>& x, const Axes& axes, ReduceOptions options = {});

/// x repeated along its axes of extent 1, and along new leading axes, up to `shape`. Throws if it does not
/// broadcast.
template <class T>
Tensor<T> expand(const Tensor<T>& x, const Shape& shape);

/// The adjoint of expand: x summed down to `shape`, which must broadcast to x's shape.
template <class T>
Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape);

}  // namespace xtgrad
