// Array<T>: the storage of a tensor, xtensor's own dynamic-rank row-major container over pooled memory.
// The whole xtensor API works on it.
#pragma once

#include "xtgrad/buffer.hpp"
#include "xtgrad/shape.hpp"

namespace xtgrad {

/// The storage of a tensor: a contiguous row-major array of any rank.
template <class T> using Array = xt::xarray_container<memory::Buffer<T>, xt::layout_type::row_major, Shape>;

/// Class labels and indices.
using Labels = Array<std::int64_t>;

/// An array of the given shape; its elements are not initialised. Throws std::bad_alloc, and as size_of does.
template <class T> Array<T> empty_array(const Shape& shape) {
  static_cast<void>(size_of(shape));  // xtensor multiplies the extents without looking
  return Array<T>(shape);
}

/// An array of the given shape, filled with `value`. Throws as empty_array does.
template <class T> Array<T> full_array(const Shape& shape, T value) {
  Array<T> array = empty_array<T>(shape);
  std::fill_n(array.data(), array.size(), value);
  return array;
}

/// An array over the same block as `array`, with another shape of the same size (not checked here): what one writes,
/// the other reads.
template <class T> Array<T> shared_array(const Array<T>& array, const Shape& shape) {
  typename Array<T>::inner_strides_type strides(shape.size());
  xt::compute_strides<xt::layout_type::row_major>(shape, xt::layout_type::row_major, strides);
  return Array<T>(array.storage().share(), Shape(shape), std::move(strides));
}

}  // namespace xtgrad
