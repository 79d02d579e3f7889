// Batch normalisation of x (m, C), channel by channel, in double: Ioffe and Szegedy 2015, Algorithm 1.
//
// Sums are taken over x minus the channel's first value, so that a large mean does not cancel: the mean is within
// sqrt(m) standard deviations of it. They are taken over groups of rows, in registers, and the groups' sums are added to
// those of the channel, so that rounding grows with m / kGroup. A group is read along its rows, a few streams side by
// side, at any C.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

using D = Lanes<double>;

constexpr long kGroup = 8;
// Rows at a time where there are results to write: more streams than these, and the prefetcher loses them.
constexpr long kMapGroup = 4;
// Channels at a time: what is known of them stays in the first cache.
constexpr long kSlice = 512;
// One number for each of them, and zeros to fill up the last register.
struct alignas(64) Slice {
  double at[kSlice + D::size];

  template <class Value> XTGRAD_INLINE Slice(long width, Value value) {
    for (long c = 0; c < width; ++c) at[c] = value(c);
    for (long c = width; c < width + D::size; ++c) at[c] = 0;
  }
  XTGRAD_INLINE D operator()(long c) const { return D::load(at + c); }
  XTGRAD_INLINE double operator[](long c) const { return at[c]; }
};

XTGRAD_INLINE long least(long a, long b) { return a < b ? a : b; }

// Calls body.run<U>(registers, first row, rows, channel) for U registers' worth of channels and `Group` rows at a time.
template <long Group, class Body> XTGRAD_INLINE void for_each_group(long m, long width, Body body) {
  constexpr long kWide = 2 * D::size;
  for (long first = 0; first < m; first += Group) {
    const long rows = least(Group, m - first);
    long c = 0;
    for (; c + kWide <= width; c += kWide) body.template run<2>(Whole(), first, rows, c);
    for (; c + D::size <= width; c += D::size) body.template run<1>(Whole(), first, rows, c);
    if (c < width) body.template run<1>(Part{width - c}, first, rows, c);
  }
}

// a += sum(u), b += sum(u * v) over the rows, with term(registers, row, channel, u, v).
template <class Term> struct SumPairs {
  const Term& term;
  double *a, *b;

  template <unsigned long U, class Registers>
  XTGRAD_INLINE void run(Registers registers, long first, long rows, long c) const {
    D sum_a[U], sum_b[U];
    for (long k = 0; k < static_cast<long>(U); ++k) sum_a[k] = sum_b[k] = D(0);
    const auto add = [&](long n) {
      for (long k = 0; k < static_cast<long>(U); ++k) {
        D u, v;
        term(registers, first + n, c + k * D::size, u, v);
        sum_a[k] = sum_a[k] + u;
        sum_b[k] = fma(u, v, sum_b[k]);
      }
    };
    if (rows == kGroup)
      for (long n = 0; n < kGroup; ++n) add(n);
    else
      for (long n = 0; n < rows; ++n) add(n);
    for (long k = 0; k < static_cast<long>(U); ++k) {
      const long i = c + k * D::size;
      registers.keep(registers.lanes(a + i) + sum_a[k], a + i);
      registers.keep(registers.lanes(b + i) + sum_b[k], b + i);
    }
  }
};
template <class Term> XTGRAD_INLINE void sum_pairs(Extent e, long width, double* a, double* b, const Term& term) {
  for_each_group<kGroup>(e.last - e.first, width, SumPairs<Term>{term, a, b});
}

// to = value(registers, row, channel) for every row.
template <class T, class Value> struct Map {
  const Value& value;
  long C;
  T* to;

  template <unsigned long U, class Registers>
  XTGRAD_INLINE void run(Registers registers, long first, long rows, long c) const {
    for (long n = first; n < first + rows; ++n)
      for (long k = 0; k < static_cast<long>(U); ++k) {
        const long i = c + k * D::size;
        registers.store(value(registers, n, i), to + n * C + i);
      }
  }
};
template <class T, class Value> XTGRAD_INLINE void map(Extent e, long width, T* to, const Value& value) {
  for_each_group<kMapGroup>(e.last - e.first, width, Map<T, Value>{value, e.C, to + e.first * e.C});
}

// The rows of e, from channel c0 on.
template <class T> struct Rows {
  const T* x;
  long C;

  XTGRAD_INLINE Rows(const T* array, Extent e, long c0) : x(array + e.first * e.C + c0), C(e.C) {}
  template <class Registers> XTGRAD_INLINE D operator()(Registers registers, long n, long i) const {
    return registers.load(x + n * C + i);
  }
};

// Whether sums and gradients may take x less the shift alone, and the offset into their constants: double has the digits
// to spare for a T of float. y may not: where xhat is 0 it is beta, however large gamma is.
template <class T> constexpr bool kShiftOnly = sizeof(T) < sizeof(double);

// x less its channel's mean or, if ShiftOnly, less the shift; then rest() is still to be taken off.
template <class T, bool ShiftOnly = kShiftOnly<T>> struct Centred {
  Rows<T> x;
  Slice shift, offset;

  XTGRAD_INLINE Centred(const T* array, Extent e, const double* shifts, const double* offsets, long c0, long width)
      : x(array, e, c0),
        shift(width, [=](long c) { return shifts[c0 + c]; }),
        offset(width, [=](long c) { return offsets[c0 + c]; }) {}
  template <class Registers> XTGRAD_INLINE D operator()(Registers registers, long n, long i) const {
    const D d = x(registers, n, i) - shift(i);
    return ShiftOnly ? d : d - offset(i);
  }
  XTGRAD_INLINE double rest(long c) const { return ShiftOnly ? offset[c] : 0; }
};

template <class T> XTGRAD_INLINE double value_or(const T* values, long c, double otherwise) {
  return values == nullptr ? otherwise : static_cast<double>(values[c]);
}

// Calls body(first channel, width) for all slices.
template <class Body> XTGRAD_INLINE void for_each_slice(Extent e, Body body) {
  for (long c0 = 0; c0 < e.C; c0 += kSlice) body(c0, least(kSlice, e.C - c0));
}

template <class T> void batch_moments(Extent e, const T* x, const double* shift, double* sum, double* squares) {
  for_each_slice(e, [=](long c0, long width) {
    const Rows<T> rows(x, e, c0);
    const Slice origin(width, [=](long c) { return shift[c0 + c]; });
    sum_pairs(e, width, sum + c0, squares + c0,
              [&](auto registers, long n, long i, D& u, D& v) { u = v = rows(registers, n, i) - origin(i); });
  });
}

template <class T> void batch_norm(Extent e, const T* x, Channels stats, const T* gamma, const T* beta, T* y) {
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T, false> centred(x, e, stats.shift, stats.offset, c0, width);
    const Slice scale(width, [=](long c) { return stats.inv_std[c0 + c] * value_or(gamma, c0 + c, 1); });
    const Slice bias(width, [=](long c) { return value_or(beta, c0 + c, 0); });
    map(e, width, y + c0,
        [&](auto registers, long n, long i) { return fma(centred(registers, n, i), scale(i), bias(i)); });
  });
}

template <class T>
void batch_norm_sums(Extent e, const T* x, const T* dy, Channels stats, double* sum_dy, double* sum_dy_xhat) {
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T> centred(x, e, stats.shift, stats.offset, c0, width);
    const Rows<T> rows(dy, e, c0);
    double *const plain = sum_dy + c0, *const weighted = sum_dy_xhat + c0;
    sum_pairs(e, width, plain, weighted, [&](auto registers, long n, long i, D& u, D& v) {
      u = rows(registers, n, i);
      v = centred(registers, n, i);
    });
    for (long c = 0; c < width; ++c) weighted[c] = (weighted[c] - centred.rest(c) * plain[c]) * stats.inv_std[c0 + c];
  });
}

template <class T>
void batch_norm_dx(Extent e, const T* x, const T* dy, Channels stats, const T* gamma, const double* sum_dy,
                   const double* sum_dy_xhat, T* dx) {
  const double count = static_cast<double>(e.m);
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T> centred(x, e, stats.shift, stats.offset, c0, width);
    const Rows<T> rows(dy, e, c0);
    const Slice scale(width, [=](long c) { return stats.inv_std[c0 + c] * value_or(gamma, c0 + c, 1); });
    // xhat * mean(dy * xhat) = (x - mean) * slope
    const Slice slope(width, [=](long c) { return stats.inv_std[c0 + c] * (sum_dy_xhat[c0 + c] / count); });
    const Slice of_x(width, [&](long c) { return -scale[c] * slope[c]; });
    const Slice constant(width,
                         [&](long c) { return scale[c] * (centred.rest(c) * slope[c] - sum_dy[c0 + c] / count); });
    map(e, width, dx + c0, [&](auto registers, long n, long i) {
      return fma(rows(registers, n, i), scale(i), fma(centred(registers, n, i), of_x(i), constant(i)));
    });
  });
}

template <class T>
void batch_norm_ddx(Extent e, const T* x, const T* dy, const T* ggx, Channels stats, const SecondOrder& k, T* d) {
  for_each_slice(e, [=](long c0, long width) {
    const auto slice = [=](const double* of) { return Slice(width, [=](long c) { return of[c0 + c]; }); };
    const Centred<T, false> centred(x, e, stats.shift, stats.offset, c0, width);
    const Rows<T> rows_dy(dy, e, c0), rows_ggx(ggx, e, c0);
    const Slice of_x = slice(k.x), of_dy = slice(k.dy), of_ggx = slice(k.ggx);
    const Slice mean_dy = slice(k.mean_dy), mean_ggx = slice(k.mean_ggx);
    map(e, width, d + c0, [&](auto registers, long n, long i) {
      const D of_gradients =
          fma(rows_dy(registers, n, i) - mean_dy(i), of_dy(i), (rows_ggx(registers, n, i) - mean_ggx(i)) * of_ggx(i));
      return fma(centred(registers, n, i), of_x(i), of_gradients);
    });
  });
}

template <class T> void batch_norm_scale(Extent e, const T* dy, const double* inv_std, const T* gamma, T* dx) {
  for_each_slice(e, [=](long c0, long width) {
    const Rows<T> rows(dy, e, c0);
    const Slice scale(width, [=](long c) { return inv_std[c0 + c] * value_or(gamma, c0 + c, 1); });
    map(e, width, dx + c0, [&](auto registers, long n, long i) { return rows(registers, n, i) * scale(i); });
  });
}

}  // namespace

template <class T> void fill_batch_norm(Table<T>& table) {
  table.batch_moments = batch_moments<T>;
  table.batch_norm = batch_norm<T>;
  table.batch_norm_sums = batch_norm_sums<T>;
  table.batch_norm_dx = batch_norm_dx<T>;
  table.batch_norm_ddx = batch_norm_ddx<T>;
  table.batch_norm_scale = batch_norm_scale<T>;
}

template void fill_batch_norm(Table<float>&);
template void fill_batch_norm(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
