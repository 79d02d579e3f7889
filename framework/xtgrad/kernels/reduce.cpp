// Sums and in-place additions.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

template <class T> void add_to(long n, const T* x, T* z) {
  for (long i = 0; i < n; ++i) z[i] += x[i];
}

// Values are added in double, in eight interleaved partial sums that are then added pairwise.
template <class T> double sum_run(long n, const T* x) {
  constexpr long kPartial = 8;
  double partial[kPartial] = {};
  long i = 0;
  for (; i + kPartial <= n; i += kPartial)
    for (long k = 0; k < kPartial; ++k) partial[k] += static_cast<double>(x[i + k]);
  for (; i < n; ++i) partial[i % kPartial] += static_cast<double>(x[i]);
  return ((partial[0] + partial[4]) + (partial[2] + partial[6])) +
         ((partial[1] + partial[5]) + (partial[3] + partial[7]));
}

// Columns that fill U registers: their sums stay there while the rows pass.
template <unsigned long U, class T, class Registers>
XTGRAD_INLINE void sum_columns(Registers registers, long rows, long stride, const T* x, double* sums) {
  using D = Lanes<double>;
  D sum[U];
  for (D& each : sum) each = D(0);
  for (long r = 0; r < rows; ++r)
    for (unsigned long u = 0; u < U; ++u)
      sum[u] = sum[u] + registers.load(x + r * stride + static_cast<long>(u) * D::size);
  for (unsigned long u = 0; u < U; ++u) registers.keep(sum[u], sums + static_cast<long>(u) * D::size);
}

template <class T> void sum(long outer, long reduced, long inner, const T* x, double* sums) {
  constexpr long size = Lanes<double>::size;
  if (inner == 1) {
    for (long o = 0; o < outer; ++o) sums[o] = sum_run(reduced, x + o * reduced);
    return;
  }
  for (long o = 0; o < outer; ++o, x += reduced * inner, sums += inner) {
    long c = 0;
    for (; c + 8 * size <= inner; c += 8 * size) sum_columns<8>(Whole(), reduced, inner, x + c, sums + c);
    for (; c + 4 * size <= inner; c += 4 * size) sum_columns<4>(Whole(), reduced, inner, x + c, sums + c);
    for (; c + 2 * size <= inner; c += 2 * size) sum_columns<2>(Whole(), reduced, inner, x + c, sums + c);
    for (; c + size <= inner; c += size) sum_columns<1>(Whole(), reduced, inner, x + c, sums + c);
    if (c < inner) sum_columns<1>(Part{inner - c}, reduced, inner, x + c, sums + c);
  }
}

}  // namespace

template <class T> void fill_reduce(Table<T>& table) {
  table.add_to = add_to<T>;
  table.sum = sum<T>;
}

template void fill_reduce(Table<float>&);
template void fill_reduce(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
