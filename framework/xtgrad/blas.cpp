#include "xtgrad/blas.hpp"

#include <algorithm>
#include <complex>
#include <limits>

// The configuration comes first: without it cxxblas takes its own loops instead of BLAS.
#include <xtensor-blas/xblas_config.hpp>

#include <xflens/cxxblas/cxxblas.cxx>

#include "xtgrad/check.hpp"
#include "xtgrad/kernels/table.hpp"
#include "xtgrad/parallel.hpp"

extern "C" void openblas_set_num_threads(int count);
extern "C" char* openblas_get_corename();

namespace xtgrad::blas {
namespace {

// Up to so many multiply-adds our own kernel is taken, unless it wastes more than a quarter as many, and more than the call
// of a BLAS costs, on filling up its tiles of four rows and registers of up to 64 bytes.
constexpr long kSmall = 1 << 18, kFewWasted = 1 << 12;
// From so many on a product is computed in two pieces, and a multiple of kLarge in more: each piece packs an operand of its
// own, so that few and large ones are better.
constexpr long kWorthSplitting = 10'000'000, kLarge = 2'000'000'000;
constexpr long kTile = 16;  // rows or columns that OpenBLAS computes together

cxxblas::Transpose flag(Op op) { return op == Op::plain ? cxxblas::NoTrans : cxxblas::Trans; }

}  // namespace

template <class T> void gemm(Op a, Op b, long M, long N, long K, const T* A, const T* B, T* C) {
  static const bool one_thread = (openblas_set_num_threads(1), true);
  static_cast<void>(one_thread);
  if (M == 0 || N == 0) return;
  if (K == 0) {
    std::fill_n(C, M * N, T(0));
    return;
  }
  constexpr long lanes = 64 / sizeof(T);
  const long work = M * N * K, filled = (M + 3) / 4 * 4 * ((N + lanes - 1) / lanes * lanes) * K;
  if (work <= kSmall && K <= kernels::kSmallDepth && filled - work <= std::max(kFewWasted, work / 4))
    return kernels::table<T>().small_matmul(a == Op::transposed, b == Op::transposed, M, N, K, A, B, C);
  check(std::max({M, N, K}) <= std::numeric_limits<int>::max(), "gemm: {} x {} x {} is more than BLAS can count", M, N,
        K);
  const int n = static_cast<int>(N), k = static_cast<int>(K);
  const int lda = a == Op::plain ? k : static_cast<int>(M), ldb = b == Op::plain ? n : k;
  const auto piece = [&](long row, long rows, long column, long columns) {
    cxxblas::gemm(cxxblas::RowMajor, flag(a), flag(b), static_cast<int>(rows), static_cast<int>(columns), k, T(1),
                  A + row * (a == Op::plain ? lda : 1), lda, B + column * (b == Op::plain ? 1 : ldb), ldb, T(0),
                  C + row * N + column, n);
  };
  const long pieces = work < kWorthSplitting ? 1 : 2 + work / kLarge;
  // The longer side, in multiples of what OpenBLAS computes at a time.
  const long side = std::max(M, N), block = (side + pieces * kTile - 1) / (pieces * kTile) * kTile;
  parallel_for(side, block, [&](long first, long last) {
    if (N > M)
      piece(0, M, first, last - first);
    else
      piece(first, last - first, 0, N);
  });
}

const char* core_name() { return openblas_get_corename(); }

template void gemm(Op, Op, long, long, long, const float*, const float*, float*);
template void gemm(Op, Op, long, long, long, const double*, const double*, double*);

}  // namespace xtgrad::blas
