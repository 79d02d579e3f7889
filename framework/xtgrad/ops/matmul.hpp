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

/// a (M, K) * b (K, N) -> (M, N), each transposed first if asked. Throws if they are not matrices that fit.
template <class T> Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options = {});

/// x (N, I), weight (O, I), bias (O) or undefined -> x * weight^T + bias (N, O). Throws if the shapes do not
/// fit.
template <class T> Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias);

}  // namespace xtgrad
