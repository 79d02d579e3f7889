// Ops that move values and compute nothing.
#pragma once

#include <span>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// The same values in another shape of the same size; shares them with x. Throws if the sizes differ.
template <class T> Tensor<T> reshape(const Tensor<T>& x, const Shape& shape);

/// x (..., M, N) -> (..., N, M): the last two axes exchanged, copied. Throws if x has fewer than two axes.
template <class T> Tensor<T> transpose(const Tensor<T>& x);

/// The elements begin to end-1 along an axis, copied. Throws if the axis or the range does not exist.
template <class T> Tensor<T> slice(const Tensor<T>& x, std::ptrdiff_t axis, std::size_t begin, std::size_t end);

/// The tensors one after the other along an axis. Throws if there is none, or if their other extents differ.
template <class T> Tensor<T> concat(std::span<const Tensor<T>> tensors, std::ptrdiff_t axis);
template <class T> Tensor<T> concat(const std::vector<Tensor<T>>& tensors, std::ptrdiff_t axis) {
  return concat(std::span<const Tensor<T>>(tensors), axis);
}
template <class T> Tensor<T> concat(std::initializer_list<Tensor<T>> tensors, std::ptrdiff_t axis) {
  return concat(std::span<const Tensor<T>>(tensors.begin(), tensors.size()), axis);
}

/// x (N, ...) and indices (M) -> (M, ...): the rows at these positions. Throws if one is not in [0, N).
template <class T> Tensor<T> gather(const Tensor<T>& x, const Labels& indices);

/// The adjoint of gather: x (M, ...) and indices (M) -> (N, ...), each row added to the row at its index. Throws if
/// their numbers differ or an index is not in [0, N).
template <class T> Tensor<T> scatter_add(const Tensor<T>& x, const Labels& indices, std::size_t N);

/// labels (...) in [0, C) -> (..., C): 1 at the label, 0 elsewhere. Throws if a label is not a class.
template <class T = float> Tensor<T> one_hot(const Labels& labels, std::size_t C);

}  // namespace xtgrad
