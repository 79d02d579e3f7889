// Small matrix products, where the preparations of a BLAS cost more than the arithmetic.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

// A as op(A): element (i, k) is at[i * row + k * column].
template <class T> struct Left {
  const T* at;
  long row, column;
};

// R rows and U registers of columns of C, summed in registers; rows of b lie `stride` apart.
template <unsigned long R, unsigned long U, class T, class Columns>
XTGRAD_INLINE void tile(Columns columns, long K, Left<T> a, const T* b, long stride, T* c, long N) {
  Lanes<T> sum[R][U];
  for (unsigned long i = 0; i < R; ++i)
    for (unsigned long u = 0; u < U; ++u) sum[i][u] = Lanes<T>(0);
  for (long k = 0; k < K; ++k) {
    Lanes<T> row[U];
    for (unsigned long u = 0; u < U; ++u)
      row[u] = columns.lanes(b + k * stride + static_cast<long>(u) * Lanes<T>::size);
    for (unsigned long i = 0; i < R; ++i) {
      const Lanes<T> left(a.at[static_cast<long>(i) * a.row + k * a.column]);
      for (unsigned long u = 0; u < U; ++u) sum[i][u] = fma(left, row[u], sum[i][u]);
    }
  }
  for (unsigned long i = 0; i < R; ++i)
    for (unsigned long u = 0; u < U; ++u)
      columns.keep(sum[i][u], c + static_cast<long>(i) * N + static_cast<long>(u) * Lanes<T>::size);
}

// M rows of C: R at a time, then half as many.
template <unsigned long R, unsigned long U, class T, class Columns>
XTGRAD_INLINE void rows(Columns columns, long M, long K, Left<T> a, const T* b, long stride, T* c, long N) {
  constexpr long step = static_cast<long>(R);
  for (; M >= step; M -= step, a.at += step * a.row, c += step * N) tile<R, U>(columns, K, a, b, stride, c, N);
  if constexpr (R > 1) rows<R / 2, U>(columns, M, K, a, b, stride, c, N);
}

// B (N, K) -> b (K, width), a square of 16 bytes by 16 at a time. Columns beyond N repeat the last one.
template <class T> XTGRAD_INLINE void transpose(long N, long K, long width, const T* B, T* b) {
  using Row = xsimd::make_sized_batch_t<T, 16 / sizeof(T)>;
  constexpr long S = static_cast<long>(Row::size);
  for (long n = 0; n < width; n += S) {
    const T* row[Row::size];
    for (long i = 0; i < S; ++i) row[i] = B + (n + i < N ? n + i : N - 1) * K;
    long k = 0;
    for (; k + S <= K; k += S) {
      Row x[Row::size], y[Row::size];
      for (long i = 0; i < S; ++i) x[i] = Row::load_unaligned(row[i] + k);
      for (long pass = 1; pass < S; pass *= 2) {
        for (long i = 0; i < S; ++i)
          y[i] = i % 2 == 0 ? xsimd::zip_lo(x[i / 2], x[(i + S) / 2]) : xsimd::zip_hi(x[i / 2], x[(i + S) / 2]);
        for (long i = 0; i < S; ++i) x[i] = y[i];
      }
      for (long i = 0; i < S; ++i) x[i].store_unaligned(b + (k + i) * width + n);
    }
    for (; k < K; ++k)
      for (long i = 0; i < S; ++i) b[k * width + n + i] = row[i][k];
  }
}

// U registers of columns of C, from column n on. Not inlined: together they would have too few registers for addresses.
template <unsigned long U, class T, class Columns>
[[gnu::noinline]] void panel(Columns columns, bool transpose_b, long n, long M, long N, long K, Left<T> a, const T* B,
                             T* C) {
  if (!transpose_b) return rows<4, U>(columns, M, K, a, B + n, N, C + n, N);
  constexpr long width = U * Lanes<T>::size;
  alignas(sizeof(Lanes<T>)) T b[kSmallDepth * U * Lanes<T>::Batch::size];
  transpose(N - n, K, width, B + n * K, b);
  rows<4, U>(columns, M, K, a, b, width, C + n, N);
}

template <class T>
void small_matmul(bool transpose_a, bool transpose_b, long M, long N, long K, const T* A, const T* B, T* C) {
  constexpr long size = Lanes<T>::size;
  const Left<T> a{A, transpose_a ? 1 : K, transpose_a ? M : 1};
  if (N < size) return panel<1>(Part{N}, transpose_b, 0, M, N, K, a, B, C);
  long n = 0;
  for (; n + 2 * size <= N; n += 2 * size) panel<2>(Whole(), transpose_b, n, M, N, K, a, B, C);
  // The last register may overlap the one before: its columns get the same bits again.
  for (; n < N; n += size) panel<1>(Whole(), transpose_b, n + size <= N ? n : N - size, M, N, K, a, B, C);
}

}  // namespace

template <class T> void fill_matmul(Table<T>& table) { table.small_matmul = small_matmul<T>; }

template void fill_matmul(Table<float>&);
template void fill_matmul(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
