// Matrix products: tiles of C are summed in registers, over a panel of B that is first copied to where it is contiguous.
//
// Every element of C is the same chain of multiply-adds, in the order of k, with a rounded sum of its own for every
// kDepth of them: the bits do not depend on the tile in which it falls, on the shape or on how B lies in memory.
#include <type_traits>

#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

// Rows of a tile and registers of its columns, as many as leave registers for a row of B and a value of A. Of how many bytes
// of rows of a transposed A, in each column, a copy is made at a time; up to how many elements few rows of A read B where it
// lies; and with how many multiply-adds OpenBLAS is faster.
#if defined(XTGRAD_AVX512)
constexpr unsigned long kRows = 8, kRegisters = 3;
constexpr long kCopied = 0, kSmall = 1L << 62, kLarge = 1L << 30;
#else
constexpr unsigned long kRows = 4, kRegisters = 3;
constexpr long kCopied = 512, kSmall = 1L << 13, kLarge = 1L << 27;
#endif
// A panel of B is so deep, and is multiplied with so many rows of A at a time: both stay in the second cache meanwhile. Copied
// rows lie a little farther apart, so that they do not displace each other from the first cache. What is so many steps of k
// ahead is fetched: the rows of a matrix are too far apart for the processor to guess them.
constexpr long kDepth = 512, kHeight = 512, kWidth = kDepth + 16, kAhead = 16;

// A as op(A): element (i, k) is at[i * row + k * column].
template <class T> struct Left {
  const T* at;
  long row, column;
};
// C, whose rows lie `stride` apart. The product is added to the rows of `plus`, if there are any: a bias, which is always
// the same row, or what C is so far. Without any, their stride is 0.
template <class T> struct Result {
  T* at;
  long stride;
  const T* plus;
  long plus_stride;
};

// R rows and U registers of columns of C; rows of b lie `stride` apart.
template <unsigned long R, unsigned long U, class T, class Columns>
XTGRAD_INLINE void tile(Columns columns, long K, Left<T> a, const T* b, long stride, Result<T> c) {
  constexpr long size = Lanes<T>::size;
  Lanes<T> sum[R][U];
  for (unsigned long i = 0; i < R; ++i)
    for (unsigned long u = 0; u < U; ++u) sum[i][u] = Lanes<T>(0);
  for (long k = 0; k < K; ++k) {
    Lanes<T> row[U];
    if (K > kAhead) __builtin_prefetch(a.at + (k + kAhead) * a.column);
    for (unsigned long u = 0; u < U; ++u) row[u] = Lanes<T>::load(b + k * stride + static_cast<long>(u) * size);
    for (unsigned long i = 0; i < R; ++i) {
      const Lanes<T> left(a.at[static_cast<long>(i) * a.row + k * a.column]);
      for (unsigned long u = 0; u < U; ++u) sum[i][u] = fma(left, row[u], sum[i][u]);
    }
  }
#pragma GCC unroll 8
  for (unsigned long i = 0; i < R; ++i)
#pragma GCC unroll 8
    for (unsigned long u = 0; u < U; ++u) {
      const long row = static_cast<long>(i), column = static_cast<long>(u) * size;
      columns.keep(c.plus == nullptr ? sum[i][u] : columns.lanes(c.plus + row * c.plus_stride + column) + sum[i][u],
                   c.at + row * c.stride + column);
    }
}

// M rows of C: R at a time, then half as many.
template <unsigned long R, unsigned long U, class T, class Columns>
XTGRAD_INLINE void rows(Columns columns, long M, long K, Left<T> a, const T* b, long stride, Result<T> c) {
  constexpr long step = static_cast<long>(R);
  for (; M >= step; M -= step) {
    tile<R, U>(columns, K, a, b, stride, c);
    a.at += step * a.row;
    c.at += step * c.stride;
    c.plus += step * c.plus_stride;
  }
  if constexpr (R > 1) rows<R / 2, U>(columns, M, K, a, b, stride, c);
}

// N rows of B (N, K) -> b (K, width), a square of 16 bytes by 16 at a time. Columns that fill up a square repeat the last.
template <class T> XTGRAD_INLINE void transpose(long N, long K, long width, const T* B, long ldb, T* b) {
  using Row = xsimd::make_sized_batch_t<T, 16 / sizeof(T)>;
  constexpr long S = static_cast<long>(Row::size), line = 64 / sizeof(T), chunk = 2 * line;
  for (long first = 0; first < K; first += chunk)
    for (long n = 0; n < N; n += S) {
      const T* row[Row::size];
      for (long i = 0; i < S; ++i) {
        row[i] = B + (n + i < N ? n + i : N - 1) * ldb;
        for (const long ahead : {chunk, chunk + line}) __builtin_prefetch(row[i] + first + ahead);
      }
      const long last = K - first < chunk ? K : first + chunk;
      long k = first;
      for (; k + S <= last; k += S) {
        Row x[Row::size], y[Row::size];
        for (long i = 0; i < S; ++i) x[i] = Row::load_unaligned(row[i] + k);
        for (long pass = 1; pass < S; pass *= 2) {
          for (long i = 0; i < S; ++i)
            y[i] = i % 2 == 0 ? xsimd::zip_lo(x[i / 2], x[(i + S) / 2]) : xsimd::zip_hi(x[i / 2], x[(i + S) / 2]);
          for (long i = 0; i < S; ++i) x[i] = y[i];
        }
        for (long i = 0; i < S; ++i) x[i].store_unaligned(b + (k + i) * width + n);
      }
      for (; k < last; ++k)
        for (long i = 0; i < S; ++i) b[k * width + n + i] = row[i][k];
    }
}

// N columns of C, which U registers hold. Not inlined: together they would have too few registers for addresses.
template <unsigned long U, class T, class Columns>
[[gnu::noinline]] void panel(Columns columns, bool transpose_b, long M, long N, long K, Left<T> a, const T* B, long ldb,
                             Result<T> c) {
  constexpr long size = Lanes<T>::size, width = U * size;
  alignas(sizeof(Lanes<T>)) T b[kDepth * U * Lanes<T>::Batch::size];
  const bool copied = transpose_b || std::is_same_v<Columns, Part> || M >= 200 || (M >= 16 && K * ldb > kSmall);
  if (transpose_b)
    transpose(N, K, width, B, ldb, b);
  else
    for (long k = 0; copied && k < K; ++k)
      for (long u = 0; u < width; u += size) columns.lanes(B + k * ldb + u).store(b + k * width + u);
  rows<U == 1 ? 8 : kRows, U>(columns, M, K, a, copied ? b : B, copied ? width : ldb, c);
}

template <class T>
void matmul(bool transpose_a, bool transpose_b, long M, long N, long K, const T* A, long lda, const T* B, long ldb,
            const T* bias, T* C, long ldc, T* copy) {
  constexpr long size = Lanes<T>::size, most = kRegisters * size;
  const long tall = copy == nullptr ? kHeight : kCopied / static_cast<long>(sizeof(T));
  for (long m = 0; m < M; m += tall)
    for (long k = 0; k < K; k += kDepth) {
      const long height = M - m < tall ? M - m : tall, depth = K - k < kDepth ? K - k : kDepth;
      const T* const plus = k > 0 ? C + m * ldc : bias;
      Left<T> a{transpose_a ? A + k * lda + m : A + m * lda + k, transpose_a ? 1 : lda, transpose_a ? lda : 1};
      if (copy != nullptr) {
        transpose(depth, height, kWidth, a.at, lda, copy);
        a = {copy, kWidth, 1};
      }
      const auto columns = [&]<unsigned long U>(auto which, long n, long count) {
        panel<U>(which, transpose_b, height, count, depth, a, transpose_b ? B + n * ldb + k : B + k * ldb + n, ldb,
                 Result<T>{C + m * ldc + n, ldc, plus == nullptr ? nullptr : plus + n, k > 0 ? ldc : 0});
      };
      long n = 0;
      // Four registers are two and two, not three and one.
      for (; N - n >= most && N - n != most + size; n += most) columns.template operator()<3>(Whole(), n, most);
      for (; N - n >= 2 * size; n += 2 * size) columns.template operator()<2>(Whole(), n, 2 * size);
      for (; N - n >= size; n += size) columns.template operator()<1>(Whole(), n, size);
      if (n < N) columns.template operator()<1>(Part{N - n}, n, N - n);
    }
}

// Of the transpose of A a tile would use a few bytes only of each cache line.
template <class T> long matmul_copies(bool transpose_a, long M, long K) {
  return transpose_a && M * K > 1 << 12 ? kCopied / static_cast<long>(sizeof(T)) * kWidth : 0;
}

template <class T> bool matmul_pays(bool transpose_a, bool transpose_b, long M, long N, long K) {
  const long work = M * N * K;
  if (work > kLarge) return false;
  // All of B is transposed for the few rows.
  if (transpose_b) return M >= 8 || work <= 1 << 14;
  // Up to a million multiply-adds OpenBLAS loses less to a last register with few columns: with AVX-512 it has kernels of its
  // own for them, otherwise where A is transposed.
  constexpr long size = Lanes<T>::size;
  const long idle = (N + size - 1) / size * size - N;
  return 10 * idle <= N || work > 1'000'000 || (kCopied > 0 && !transpose_a);
}

}  // namespace

template <class T> void fill_matmul(Table<T>& table) {
  table.matmul = matmul<T>;
  table.matmul_copies = matmul_copies<T>;
  table.matmul_pays = matmul_pays<T>;
}

template void fill_matmul(Table<float>&);
template void fill_matmul(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
