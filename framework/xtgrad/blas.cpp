#include "xtgrad/blas.hpp"

#include <algorithm>
#include <complex>
#include <limits>

// The configuration comes first: without it cxxblas takes its own loops instead of BLAS.
#include <xtensor-blas/xblas_config.hpp>

#include <xflens/cxxblas/cxxblas.cxx>

#include "xtgrad/check.hpp"
#include "xtgrad/parallel.hpp"

extern "C" void openblas_set_num_threads(int count);

namespace xtgrad::blas {
namespace {

// Rows to a block, and the smallest product (multiply-adds) that is worth splitting.
constexpr long kRows = 64;
constexpr double kWorthSplitting = 2e6;

cxxblas::Transpose flag(Op op) { return op == Op::plain ? cxxblas::NoTrans : cxxblas::Trans; }

}  // namespace

template <class T> void gemm(Op a, Op b, long M, long N, long K, const T* A, const T* B, T beta, T* C) {
  static const bool one_thread = (openblas_set_num_threads(1), true);
  static_cast<void>(one_thread);
  if (M == 0 || N == 0) return;
  if (K == 0) {
    std::transform(C, C + M * N, C, [beta](T c) { return beta == T(0) ? T(0) : beta * c; });
    return;
  }
  check(std::max({M, N, K}) <= std::numeric_limits<int>::max(), "gemm: {} x {} x {} is more than BLAS can count", M, N,
        K);
  const int n = static_cast<int>(N), k = static_cast<int>(K);
  const int lda = a == Op::plain ? k : static_cast<int>(M), ldb = b == Op::plain ? n : k;
  const auto rows = [&](long first, long last) {
    cxxblas::gemm(cxxblas::RowMajor, flag(a), flag(b), static_cast<int>(last - first), n, k, T(1),
                  A + first * (a == Op::plain ? lda : 1), lda, B, ldb, beta, C + first * N, n);
  };
  const double work = static_cast<double>(M) * static_cast<double>(N) * static_cast<double>(K);
  if (work < kWorthSplitting)
    rows(0, M);
  else
    parallel_for(M, kRows, rows);
}

template void gemm(Op, Op, long, long, long, const float*, const float*, float, float*);
template void gemm(Op, Op, long, long, long, const double*, const double*, double, double*);

}  // namespace xtgrad::blas
