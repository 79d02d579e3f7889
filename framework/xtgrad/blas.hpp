// The one place that calls BLAS, where it is faster than the kernel of our own (kernels/matmul.cpp), which most products take.
//
// OpenBLAS always runs on one thread; a large product is split here into pieces that depend on its shape alone, which this
// library's threads take, so that the result does not depend on their number.
#pragma once

namespace xtgrad::blas {

/// Whether a matrix is used as it is stored, or transposed.
enum class Op { plain, transposed };

/// C (M, N) = op(A) (M, K) * op(B) (K, N), plus `bias` (N) in every row if there is one; all are row-major and contiguous.
/// A is stored (M, K) if plain and (K, M) if transposed, B likewise. Throws if an extent is beyond an int.
template <class T> void gemm(Op a, Op b, long M, long N, long K, const T* A, const T* B, T* C, const T* bias = nullptr);

/// The processor for which OpenBLAS has picked its kernels.
const char* core_name();

}  // namespace xtgrad::blas
