// Ops that move values and compute nothing.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// The same values in another shape of the same size; shares them with x. Throws if the sizes differ.
template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& shape);

/// x (..., M, N) -> (..., N, M): the last two axes exchanged, copied. Throws if x has fewer than two axes.
template <class T>
Tensor<T> transpose(const Tensor<T>& x);

}  // namespace xtgrad
