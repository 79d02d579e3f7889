#include "xtgrad/blas.hpp"

#include <algorithm>
#include <complex>
#include <limits>

// The configuration comes first: without it cxxblas takes its own loops instead of BLAS.
#include <xtensor-blas/xblas_config.hpp>

#include <xflens/cxxblas/cxxblas.cxx>

#include "xtgrad/buffer.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/kernels/table.hpp"
#include "xtgrad/parallel.hpp"

extern "C" void openblas_set_num_threads(int count);
extern "C" char* openblas_get_corename();

namespace xtgrad::blas {
namespace {

// From so many multiply-adds on the threads share a product, and for each kLarge it is cut into a piece more: OpenBLAS copies
// an operand for each.
constexpr long kWorthSplitting = 2'000'000, kLarge = 1L << 31;
constexpr long kTile = 16;  // rows or columns that are computed together
// So few columns of a small product would leave registers empty, and are computed as the rows of its transpose.
constexpr long kFew = 7, kSmall = 1 << 16;

cxxblas::Transpose flag(Op op) { return op == Op::plain ? cxxblas::NoTrans : cxxblas::Trans; }

}  // namespace

template <class T> void gemm(Op a, Op b, long M, long N, long K, const T* A, const T* B, T* C, const T* bias) {
  [[maybe_unused]] static const bool one_thread = (openblas_set_num_threads(1), true);
  if (M == 0 || N == 0) return;
  check(std::max({M, N, K}) <= std::numeric_limits<int>::max(), "gemm: {} x {} x {} is more than BLAS can count", M, N,
        K);
  if (a == Op::transposed && b == Op::plain && N <= kFew && M > kFew && K > 0 && M * K <= kSmall && !bias) {
    memory::Buffer<T> turned(static_cast<std::size_t>(M * N));
    gemm<T>(a, b, N, M, K, B, A, turned.data(), nullptr);
    for (long m = 0; m < M; ++m)
      for (long n = 0; n < N; ++n) C[m * N + n] = turned.data()[n * M + m];
    return;
  }
  const kernels::Table<T>& table = kernels::table<T>();
  const bool own = K > 0 && table.matmul_pays(a == Op::transposed, b == Op::transposed, M, N, K);
  if (!own && (bias != nullptr || K == 0))
    for (long i = 0; i < M; ++i) bias == nullptr ? std::fill_n(C + i * N, N, T(0)) : std::copy_n(bias, N, C + i * N);
  if (K == 0) return;
  // Pieces are of the longer side, in multiples of what is computed at a time, and each has room for copies of its own.
  const long work = M * N * K, pieces = 2 + work / kLarge, side = std::max(M, N);
  const long block = work < kWorthSplitting ? side : (side + pieces * kTile - 1) / (pieces * kTile) * kTile;
  const long room = own ? table.matmul_copies(a == Op::transposed, M, K) : 0;
  memory::Buffer<T> copies;
  if (room > 0) copies.resize(static_cast<std::size_t>((side + block - 1) / block * room));
  const long lda = a == Op::plain ? K : M, ldb = b == Op::plain ? N : K;
  parallel_for(side, block, [=, &table, copy = copies.data()](long first, long last) {
    const long row = N > M ? 0 : first, column = N > M ? first : 0;
    const long rows = N > M ? M : last - first, columns = N > M ? last - first : N;
    const T *const left = A + row * (a == Op::plain ? lda : 1), *const right = B + column * (b == Op::plain ? 1 : ldb);
    T* const to = C + row * N + column;
    if (own)
      return table.matmul(a == Op::transposed, b == Op::transposed, rows, columns, K, left, lda, right, ldb,
                          bias == nullptr ? nullptr : bias + column, to, N, copy + first / block * room);
    cxxblas::gemm(cxxblas::RowMajor, flag(a), flag(b), static_cast<int>(rows), static_cast<int>(columns),
                  static_cast<int>(K), T(1), left, static_cast<int>(lda), right, static_cast<int>(ldb),
                  bias == nullptr ? T(0) : T(1), to, static_cast<int>(N));
  });
}

const char* core_name() { return openblas_get_corename(); }

template void gemm(Op, Op, long, long, long, const float*, const float*, float*, const float*);
template void gemm(Op, Op, long, long, long, const double*, const double*, double*, const double*);

}  // namespace xtgrad::blas
