// Sums over axes and their adjoint, expansion along axes: each is the other's gradient.
// Broadcasting is undone here, by sum_to, and nowhere else.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// Axes of a tensor; negative ones count from the end. A type of our own: with xtensor's in the argument list,
/// unqualified calls of sum and mean would find xtensor's functions too.
class Axes {
 public:
  Axes() = default;
  Axes(std::initializer_list<std::ptrdiff_t> axes) : axes_(axes) {}  // NOLINT: {0, 2} is a list of axes
  auto begin() const noexcept { return axes_.begin(); }
  auto end() const noexcept { return axes_.end(); }
  void push_back(std::ptrdiff_t axis) { axes_.push_back(axis); }

 private:
  PoolVector<std::ptrdiff_t> axes_;
};

/// Options of reductions.
struct ReduceOptions {
  bool keepdims = false;  ///< leave the summed axes in the shape, with extent 1
};

/// The sum of all elements, shape (). Sums are taken in double.
template <class T> Tensor<T> sum(const Tensor<T>& x);
/// The sum over the given axes. Throws if an axis does not exist or is named twice.
template <class T> Tensor<T> sum(const Tensor<T>& x, const Axes& axes, ReduceOptions options = {});

/// The mean of all elements, shape (); NaN if there are none.
template <class T> Tensor<T> mean(const Tensor<T>& x);
/// The mean over the given axes. Throws as sum does.
template <class T> Tensor<T> mean(const Tensor<T>& x, const Axes& axes, ReduceOptions options = {});

/// The variance over the given axes: mean((x - mean)^2), divided by m - 1 instead of m unless `biased`; NaN where that
/// is 0. Throws as sum does.
template <class T> Tensor<T> var(const Tensor<T>& x, const Axes& axes, bool biased = false, ReduceOptions options = {});

/// The largest value over the given axes, NaN if one is; equal ones share the gradient evenly. Throws as sum does, and
/// if there is nothing to choose from.
template <class T> Tensor<T> max(const Tensor<T>& x, const Axes& axes, ReduceOptions options = {});

/// x (..., C) -> (...): the position of the largest value in each row, the first of equal ones. Throws if C is 0 or x a
/// scalar.
template <class T> Labels argmax(const Tensor<T>& x);

/// x repeated along its axes of extent 1, and along new leading axes, up to `shape`. Throws if it does not
/// broadcast.
template <class T> Tensor<T> expand(const Tensor<T>& x, const Shape& shape);

/// The adjoint of expand: x summed down to `shape`. Throws unless that broadcasts to x's shape.
template <class T> Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape);

}  // namespace xtgrad
