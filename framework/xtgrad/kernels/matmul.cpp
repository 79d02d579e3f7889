// Small matrix products, where the preparations of a BLAS cost more than the arithmetic.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

// A as op(A): element (i, k) is at[i * row + k * column].
template <class T> struct Left {
  const T* at;
  long row, column;
};

// R rows and U registers of columns of C, summed in registers.
template <unsigned long R, unsigned long U, class T, class Columns>
XTGRAD_INLINE void tile(Columns columns, long K, long N, Left<T> a, const T* b, T* c) {
  Lanes<T> sum[R][U];
  for (unsigned long i = 0; i < R; ++i)
    for (unsigned long u = 0; u < U; ++u) sum[i][u] = Lanes<T>(0);
  for (long k = 0; k < K; ++k) {
    Lanes<T> row[U];
    for (unsigned long u = 0; u < U; ++u) row[u] = columns.lanes(b + k * N + static_cast<long>(u) * Lanes<T>::size);
    for (unsigned long i = 0; i < R; ++i) {
      const Lanes<T> left(a.at[static_cast<long>(i) * a.row + k * a.column]);
      for (unsigned long u = 0; u < U; ++u) sum[i][u] = fma(left, row[u], sum[i][u]);
    }
  }
  for (unsigned long i = 0; i < R; ++i)
    for (unsigned long u = 0; u < U; ++u)
      columns.keep(sum[i][u], c + static_cast<long>(i) * N + static_cast<long>(u) * Lanes<T>::size);
}

// R rows of C.
template <unsigned long R, class T> XTGRAD_INLINE void rows(long N, long K, Left<T> a, const T* b, T* c) {
  constexpr long size = Lanes<T>::size;
  long n = 0;
  for (; n + 2 * size <= N; n += 2 * size) tile<R, 2>(Whole(), K, N, a, b + n, c + n);
  for (; n + size <= N; n += size) tile<R, 1>(Whole(), K, N, a, b + n, c + n);
  if (n < N) tile<R, 1>(Part{N - n}, K, N, a, b + n, c + n);
}

template <class T>
void small_matmul(bool transpose_a, bool transpose_b, long M, long N, long K, const T* A, const T* B, T* C) {
  T b[kSmallMatrix];
  if (transpose_b) {
    for (long n = 0; n < N; ++n)
      for (long k = 0; k < K; ++k) b[k * N + n] = B[n * K + k];
    B = b;
  }
  Left<T> a{A, transpose_a ? 1 : K, transpose_a ? M : 1};
  long i = 0;
  for (; i + 4 <= M; i += 4, a.at += 4 * a.row) rows<4>(N, K, a, B, C + i * N);
  for (; i < M; ++i, a.at += a.row) rows<1>(N, K, a, B, C + i * N);
}

}  // namespace

template <class T> void fill_matmul(Table<T>& table) { table.small_matmul = small_matmul<T>; }

template void fill_matmul(Table<float>&);
template void fill_matmul(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
