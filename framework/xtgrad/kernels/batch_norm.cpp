// Batch normalisation of x (N, C, L), channel by channel, in double: Ioffe and Szegedy 2015, Algorithm 1.
//
// Moments are sums over x minus a shift, the channel's first value, so that a large mean does not cancel: it is within
// sqrt(m) standard deviations of it. With L = 1 a register holds neighbouring channels: sums are taken over groups of
// rows, in registers, and the groups' sums are added to those of the channel, so that rounding grows with m / kGroup. A
// group is read along its rows, a few streams side by side, at any C. Otherwise a register holds values of one channel.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

using D = Lanes<double>;

constexpr long kGroup = 8;
// Rows at a time where there are results to write: more streams than these, and the prefetcher loses them. All of them where
// there are so few values that they stay in the first cache.
constexpr long kMapGroup = 4, kFew = 2048;

// The channels of a register's lanes: c and its neighbours, or c alone.
struct Across {
  long c;
};
struct Along {
  long c;
};

// Channels at a time: what is known of them stays in the first cache.
constexpr long kSlice = 512;
// One number for each of them, and zeros to fill up the last register.
struct alignas(64) Slice {
  double at[kSlice + D::size];

  template <class Value> XTGRAD_INLINE Slice(long width, Value value) {
    for (long c = 0; c < width; ++c) at[c] = value(c);
    for (long c = width; c < width + D::size; ++c) at[c] = 0;
  }
  XTGRAD_INLINE D operator()(Across channels) const { return D::load(at + channels.c); }
  XTGRAD_INLINE D operator()(Along channel) const { return D(at[channel.c]); }
};

XTGRAD_INLINE long least(long a, long b) { return a < b ? a : b; }

// Calls body<U>(registers, first row, rows, channel) for U registers' worth of channels and `group` rows at a time; U is at
// most `Most`: 4 where two arrays and their constants fit the registers, otherwise 2.
template <unsigned long Most, class Body> XTGRAD_INLINE void for_each_group(long m, long group, long width, Body body) {
  constexpr long kWide = 2 * D::size;
  for (long first = 0; first < m; first += group) {
    const long rows = least(group, m - first);
    long c = 0;
    if constexpr (Most == 4)
      for (; c + 2 * kWide <= width; c += 2 * kWide) body.template operator()<4>(Whole(), first, rows, c);
    for (; c + kWide <= width; c += kWide) body.template operator()<2>(Whole(), first, rows, c);
    for (; c + D::size <= width; c += D::size) body.template operator()<1>(Whole(), first, rows, c);
    if (c < width) body.template operator()<1>(Part{width - c}, first, rows, c);
  }
}
// Calls body(position, channel) for every run of L values, and body(registers, position) for the registers of one.
template <class Body> XTGRAD_INLINE void for_each_run(Extent e, long width, Body body) {
  for (long n = 0; n < e.last - e.first; ++n)
    for (long c = 0; c < width; ++c) body((n * e.C + c) * e.L, c);
}
template <class Body> XTGRAD_INLINE void for_each_register(long from, long L, Body body) {
  long l = 0;
  for (; l + D::size <= L; l += D::size) body(Whole(), from + l);
  if (l < L) body(Part{L - l}, from + l);
}

// a += sum(u), b += sum(u * v) over the rows, with term(registers, position, channels, u, v).
template <unsigned long Most, class Term>
XTGRAD_INLINE void sum_pairs(Extent e, long width, double* a, double* b, const Term& term) {
  const auto sum_group = [&]<unsigned long U>(auto registers, long first, long rows, long c)
      __attribute__((always_inline)) {
    D sum_a[U], sum_b[U];
    for (long k = 0; k < static_cast<long>(U); ++k) sum_a[k] = sum_b[k] = D(0);
    const auto add = [&](long n) {
      for (long k = 0; k < static_cast<long>(U); ++k) {
        const long i = c + k * D::size;
        D u, v;
        term(registers, (first + n) * e.C + i, Across{i}, u, v);
        sum_a[k] = fma(u, D(1), sum_a[k]);  // the adders are busy with differences and conversions
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
  };
  if (e.L == 1) return for_each_group<Most>(e.last - e.first, kGroup, width, sum_group);
  for_each_run(e, width, [&](long from, long c) {
    D sum_a(0), sum_b(0);
    for_each_register(
        from, e.L, [&](auto registers, long position) __attribute__((always_inline)) {
          D u, v;
          term(registers, position, Along{c}, u, v);
          u = registers.only(u), v = registers.only(v);
          sum_a = sum_a + u;
          sum_b = fma(u, v, sum_b);
        });
    a[c] += xsimd::hadd(sum_a.v);
    b[c] += xsimd::hadd(sum_b.v);
  });
}

// Where the rows of e begin, from channel c0 on.
template <class T> XTGRAD_INLINE T* begin(T* array, Extent e, long c0) { return array + (e.first * e.C + c0) * e.L; }

// to = value(registers, position, channels) for every row.
template <unsigned long Most, class T, class Value>
XTGRAD_INLINE void map(Extent e, long c0, long width, T* array, const Value& value) {
  T* const to = begin(array, e, c0);
  const auto put = [&](auto registers, long position, auto channels) __attribute__((always_inline)) {
    registers.store(value(registers, position, channels), to + position);
  };
  const auto put_group = [&]<unsigned long U>(auto registers, long first, long rows, long c)
      __attribute__((always_inline)) {
    for (long n = first; n < first + rows; ++n)
      for (long i = c; i < c + static_cast<long>(U) * D::size; i += D::size) put(registers, n * e.C + i, Across{i});
  };
  const long m = e.last - e.first;
  if (e.L == 1) return for_each_group<Most>(m, m * width <= kFew ? m : kMapGroup, width, put_group);
  for_each_run(e, width, [&](long from, long c) {
    for_each_register(from, e.L, [&](auto registers, long position) { put(registers, position, Along{c}); });
  });
}

// x less one number for each channel.
template <class T> struct Centred {
  const T* x;
  Slice origin;

  template <class Value>
  XTGRAD_INLINE Centred(const T* array, Extent e, long c0, long width, Value value)
      : x(begin(array, e, c0)), origin(width, value) {}
  template <class Registers, class Lane> XTGRAD_INLINE D operator()(Registers registers, long position, Lane c) const {
    return registers.load(x + position) - origin(c);
  }
};

template <class T> XTGRAD_INLINE double value_or(const T* values, long c, double otherwise) {
  return values == nullptr ? otherwise : static_cast<double>(values[c]);
}

// One number for each channel from c0 on, of an array for all channels.
XTGRAD_INLINE auto of(const double* array, long c0) {
  return [=](long c) { return array[c0 + c]; };
}

// Calls body(first channel, width) for all slices.
template <class Body> XTGRAD_INLINE void for_each_slice(Extent e, Body body) {
  for (long c0 = 0; c0 < e.C; c0 += kSlice) body(c0, least(kSlice, e.C - c0));
}

template <class T> void batch_moments(Extent e, const T* x, const double* shift, double* sum, double* squares) {
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T> deviation(x, e, c0, width, of(shift, c0));
    sum_pairs<4>(e, width, sum + c0, squares + c0,
                 [&](auto registers, long p, auto c, D& u, D& v) { u = v = deviation(registers, p, c); });
  });
}

// The kernels below take x less stats.mean, and leave stats.rest to constants of the channel: where the two cancel it is at
// most half of a difference that is not 0, and where the difference is 0 nothing of it is lost.
template <class T> void batch_norm(Extent e, const T* x, Channels stats, const T* gamma, const T* beta, T* y) {
  for_each_slice(e, [=](long c0, long width) {
    const Slice scale(width, [=](long c) { return stats.inv_std[c0 + c] * value_or(gamma, c0 + c, 1); });
    // An infinite gamma would make a constant of its own outweigh x: there the mean is rounded.
    const auto infinite = [&](long c) { return !std::isfinite(scale.at[c]); };
    const Centred<T> centred(x, e, c0, width,
                             [&](long c) { return stats.mean[c0 + c] + (infinite(c) ? stats.rest[c0 + c] : 0); });
    const Slice bias(width, [&](long c) {
      return value_or(beta, c0 + c, 0) - stats.rest[c0 + c] * (infinite(c) ? 0 : scale.at[c]);
    });
    map<4>(e, c0, width, y,
           [&](auto registers, long p, auto c) { return fma(centred(registers, p, c), scale(c), bias(c)); });
  });
}

template <class T>
void batch_norm_sums(Extent e, const T* x, const T* dy, Channels stats, double* sum_dy, double* sum_dy_xhat) {
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T> centred(x, e, c0, width, of(stats.mean, c0));
    const T* const rows = begin(dy, e, c0);
    double *const plain = sum_dy + c0, *const weighted = sum_dy_xhat + c0;
    sum_pairs<2>(e, width, plain, weighted, [&](auto registers, long p, auto c, D& u, D& v) {
      u = registers.load(rows + p);
      v = centred(registers, p, c);
    });
    for (long c = 0; c < width; ++c)
      weighted[c] = (weighted[c] - stats.rest[c0 + c] * plain[c]) * stats.inv_std[c0 + c];
  });
}

template <class T>
void batch_norm_dx(Extent e, const T* x, const T* dy, Channels stats, const T* gamma, const double* sum_dy,
                   const double* sum_dy_xhat, T* dx) {
  const double count = static_cast<double>(e.N * e.L);
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T> centred(x, e, c0, width, of(stats.mean, c0));
    const T* const rows = begin(dy, e, c0);
    const Slice scale(width, [=](long c) { return stats.inv_std[c0 + c] * value_or(gamma, c0 + c, 1); });
    // xhat * mean(dy * xhat) = (x - mean) * inv_std * mean(dy * xhat)
    const Slice of_x(width,
                     [&](long c) { return -scale.at[c] * (stats.inv_std[c0 + c] * (sum_dy_xhat[c0 + c] / count)); });
    const Slice constant(
        width, [&](long c) { return -scale.at[c] * (sum_dy[c0 + c] / count) - stats.rest[c0 + c] * of_x.at[c]; });
    map<2>(e, c0, width, dx, [&](auto registers, long p, auto c) {
      return fma(registers.load(rows + p), scale(c), fma(centred(registers, p, c), of_x(c), constant(c)));
    });
  });
}

template <class T>
void batch_norm_ddx(Extent e, const T* x, const T* dy, const T* ggx, Channels stats, const SecondOrder& k, T* d) {
  for_each_slice(e, [=](long c0, long width) {
    const Centred<T> centred(x, e, c0, width, of(stats.mean, c0)), dy_centred(dy, e, c0, width, of(k.mean_dy, c0)),
        ggx_centred(ggx, e, c0, width, of(k.mean_ggx, c0));
    const Slice of_x(width, of(k.x, c0)), of_dy(width, of(k.dy, c0)), of_ggx(width, of(k.ggx, c0));
    const Slice constant(width, [&](long c) { return -stats.rest[c0 + c] * of_x.at[c]; });
    map<2>(e, c0, width, d, [&](auto registers, long p, auto c) {
      const D of_gradients = fma(dy_centred(registers, p, c), of_dy(c), ggx_centred(registers, p, c) * of_ggx(c));
      return fma(centred(registers, p, c), of_x(c), of_gradients + constant(c));
    });
  });
}

}  // namespace

template <class T> void fill_batch_norm(Table<T>& table) {
  table.batch_moments = batch_moments<T>;
  table.batch_norm = batch_norm<T>;
  table.batch_norm_sums = batch_norm_sums<T>;
  table.batch_norm_dx = batch_norm_dx<T>;
  table.batch_norm_ddx = batch_norm_ddx<T>;
}

template void fill_batch_norm(Table<float>&);
template void fill_batch_norm(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
