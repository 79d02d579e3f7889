// Sums and in-place additions.
#include "xtgrad/kernels/families.hpp"

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

template <class T> void sum(long outer, long reduced, long inner, const T* x, double* sums) {
  if (inner == 1) {
    for (long o = 0; o < outer; ++o) sums[o] = sum_run(reduced, x + o * reduced);
    return;
  }
  // Panels of columns: their partial sums stay in registers while the rows pass.
  constexpr long kPanel = 16;
  for (long o = 0; o < outer; ++o, x += reduced * inner, sums += inner) {
    long c = 0;
    for (; c + kPanel <= inner; c += kPanel) {
      double partial[kPanel] = {};
      for (long r = 0; r < reduced; ++r)
        for (long k = 0; k < kPanel; ++k) partial[k] += static_cast<double>(x[r * inner + c + k]);
      for (long k = 0; k < kPanel; ++k) sums[c + k] = partial[k];
    }
    for (; c < inner; ++c) {
      double partial = 0;
      for (long r = 0; r < reduced; ++r) partial += static_cast<double>(x[r * inner + c]);
      sums[c] = partial;
    }
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
