// Matrix products.
#pragma once

#include "xtgrad/blas.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// Options of matmul.
struct MatmulOptions {
  bool transpose_a = false;  ///< use a transposed
  bool transpose_b = false;  ///< use b transposed
};

/// a (M, K) * b (K, N) -> z (M, N), each transposed first if asked; da = dz * b^T, db = a^T * dz. Throws if they are
/// not matrices that fit.
template <class T> Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options = {});

/// x (N, I), weight (O, I), bias (O) or undefined -> y (N, O) = x * weight^T + bias. Saves x and weight:
///   dx = dy * weight    dweight = dy^T * x    dbias = sum of dy over rows
/// Throws if the shapes do not fit.
template <class T> Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias);

}  // namespace xtgrad
