// The numeric loops, one table of function pointers per precision.
//
// The sources in this folder are compiled once for each instruction set, each time in a namespace of its own,
// and the best set that the processor has is chosen once. They see plain pointers: no Tensor, no xtensor and
// no standard container, whose weak symbols, compiled for AVX, the linker might keep for everybody. Arrays
// are contiguous and row-major, outputs never overlap inputs unless said so. Every loop has a fixed order of
// operations, so a result does not depend on the number of threads.
#pragma once

#include <cstdint>

#include "xtgrad/formulas.hpp"

namespace xtgrad::kernels {

/// One elementwise op with K inputs of n elements; a step of 0 repeats the first element of that input.
template <class T> struct Elementwise {
  /// z[i] = value(in[0][i], ...)
  void (*value)(long n, const T* const* in, const long* step, T* z);
  /// d[i] = vjp(dz[i], z[i], in[0][i], ...) for each of up to three inputs
  void (*vjp[3])(long n, const T* dz, const T* z, const T* const* in, const long* step, T* d);
};

/// What batch normalisation knows about each channel of x (N, C, L), in double whatever T is:
/// the exact mean is mean + rest, two terms because their sum may not fit into one double. A difference of two T is exact
/// in double, or as good as that; that of x to the nearest T cannot cancel.
struct Channels {
  const double* mean;     ///< (C) the T nearest to it
  const double* rest;     ///< (C) what that leaves out
  const double* inv_std;  ///< (C) 1 / sqrt(var + eps)
};

/// Rows [first, last) of an array (N, C, L); where L is 1, of (N, C).
struct Extent {
  long N, C, L, first, last;
};

/// The factors of the second order of batch normalisation, each (C).
struct SecondOrder {
  const double *x, *dy, *ggx, *mean_dy, *mean_ggx;
};

/// Hyperparameters of one step of each optimizer; the formulas are in optim/optimizers.hpp.
struct SgdStep {
  double lr, momentum, intake, weight_decay;  ///< intake: share of the gradient that enters the velocity
  bool nesterov;
};
struct AdamStep {
  double lr, beta1, beta2, eps;
  double penalty, decay;            ///< this times w is added to the gradient, taken off w
  double correction1, correction2;  ///< 1 - beta1^t, 1 - beta2^t
};
struct RmspropStep {
  double lr, alpha, eps, momentum, weight_decay;
};

template <class T> struct Table {
  const char* instruction_set;

  Elementwise<T> elementwise[formulas::Kernels::size];

  /// z += x
  void (*add_to)(long n, const T* x, T* z);
  /// sums (outer, inner) of x (outer, reduced, inner) over its middle axis, in double
  void (*sum)(long outer, long reduced, long inner, const T* x, double* sums);

  /// C (M, N) = op(A) (M, K) op(B) (K, N) + bias (N) as in blas.hpp, where bias may be null; rows of A as stored lie lda
  /// apart, those of B and C ldb and ldc; parts of A are copied to `copy`, unless that is null
  void (*matmul)(bool transpose_a, bool transpose_b, long M, long N, long K, const T* A, long lda, const T* B, long ldb,
                 const T* bias, T* C, long ldc, T* copy);
  /// How many elements of room that copy needs; 0 where it would gain nothing.
  long (*matmul_copies)(bool transpose_a, long M, long K);
  /// Whether that is faster than OpenBLAS: as measured, on processors that have these instructions.
  bool (*matmul_pays)(bool transpose_a, bool transpose_b, long M, long N, long K);

  /// sum = sum(d), squares = sum(d^2) of d = x - shift over the rows, each (C), which the caller sets to 0
  void (*batch_moments)(Extent e, const T* x, const double* shift, double* sum, double* squares);
  /// y = gamma * (x - mean) * inv_std + beta; gamma and beta may be null (1 and 0)
  void (*batch_norm)(Extent e, const T* x, Channels stats, const T* gamma, const T* beta, T* y);
  /// sum_dy = sum(dy), sum_dy_xhat = sum(dy * xhat) over the rows, each (C), which the caller sets to 0
  void (*batch_norm_sums)(Extent e, const T* x, const T* dy, Channels stats, double* sum_dy, double* sum_dy_xhat);
  /// dx = gamma * inv_std * (dy - sum_dy / m - xhat * sum_dy_xhat / m)
  void (*batch_norm_dx)(Extent e, const T* x, const T* dy, Channels stats, const T* gamma, const double* sum_dy,
                        const double* sum_dy_xhat, T* dx);
  /// d = k.x (x - mean) + k.dy (dy - k.mean_dy) + k.ggx (ggx - k.mean_ggx): the second order, where ops/batch_norm.cpp says
  /// what k is
  void (*batch_norm_ddx)(Extent e, const T* x, const T* dy, const T* ggx, Channels stats, const SecondOrder& k, T* d);

  /// probabilities (N, C) = softmax(logits (N, C)); returns sum over n of -log probabilities[n, labels[n]]
  double (*softmax_cross_entropy)(long N, long C, const T* logits, const std::int64_t* labels, T* probabilities);
  /// d (N, C) = scale * (probabilities - one_hot(labels))
  void (*softmax_cross_entropy_vjp)(long N, long C, const T* probabilities, const std::int64_t* labels, T scale, T* d);

  /// Without momentum v may be null.
  void (*sgd)(long n, T* w, const T* g, T* v, const SgdStep& step);
  void (*adam)(long n, T* w, const T* g, T* m, T* v, const AdamStep& step);
  void (*rmsprop)(long n, T* w, const T* g, T* s, T* v, const RmspropStep& step);
};

/// The loops for this processor.
template <class T> const Table<T>& table() noexcept;

}  // namespace xtgrad::kernels
