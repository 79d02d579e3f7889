// Batch normalisation of x (m, C), channel by channel, in double: Ioffe and Szegedy 2015, Algorithm 1.
//
// Sums are taken over x minus the channel's first value, so that a large mean does not cancel, and in blocks
// of rows whose sums are then added, so that rounding does not grow with m. A block is small enough to stay
// in the cache while the panels of channels are summed one after the other, each in registers.
#include "xtgrad/kernels/lanes.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

using D = Lanes<double>;

constexpr long kBlock = 32;

XTGRAD_INLINE long least(long a, long b) { return a < b ? a : b; }
XTGRAD_INLINE D splat(double x) { return D::Batch(x); }

// U registers' worth of neighbouring channels.
template <unsigned long U> struct Panel {
  static constexpr long size = static_cast<long>(U);
  using Registers = D[U];

  template <class P> XTGRAD_INLINE D load(const P* from, long k) const { return load_double(from + k * D::size); }
  template <class P> XTGRAD_INLINE void store(const D& x, P* to, long k) const { store_double(x, to + k * D::size); }
};

// The last channels, too few for a register.
struct Rest {
  static constexpr long size = 1;
  using Registers = D[1];
  long width;

  template <class P> XTGRAD_INLINE D load(const P* from, long) const {
    D::Values wide;
    for (long i = 0; i < D::size; ++i) wide[i] = i < width ? static_cast<double>(from[i]) : 1.0;
    return D::load(wide);
  }
  template <class P> XTGRAD_INLINE void store(const D& x, P* to, long) const {
    D::Values wide;
    x.store(wide);
    for (long i = 0; i < width; ++i) to[i] = static_cast<P>(wide[i]);
  }
};

// Calls body(panel, first channel) for all panels of C channels.
template <class Body> XTGRAD_INLINE void for_each_panel(long C, Body body) {
  constexpr long kWide = 2;
  long c = 0;
  for (; c + kWide * D::size <= C; c += kWide * D::size) body(Panel<kWide>(), c);
  for (; c + D::size <= C; c += D::size) body(Panel<1>(), c);
  if (c < C) body(Rest{C - c}, c);
}

// a (C), b (C) = sums over rows n of the two values that term(panel, c, k) gives for a row: `term` is called
// once for each panel and register and returns what is to be called with n.
template <class Term> XTGRAD_INLINE void sum_pairs(long m, long C, double* a, double* b, Term term) {
  for (long c = 0; c < C; ++c) a[c] = b[c] = 0;
  for (long first = 0; first < m; first += kBlock) {
    const long last = least(m, first + kBlock);
    for_each_panel(C, [&](auto panel, long c) {
      constexpr long U = decltype(panel)::size;
      typename decltype(panel)::Registers sum_a, sum_b;
      for (long k = 0; k < U; ++k) sum_a[k] = sum_b[k] = splat(0);
      const auto values = term(panel, c);
      for (long n = first; n < last; ++n)
        for (long k = 0; k < U; ++k) {
          D u, v;
          values(n, k, u, v);
          sum_a[k] = sum_a[k] + u;
          sum_b[k] = sum_b[k] + v;
        }
      for (long k = 0; k < U; ++k) {
        panel.store(panel.load(a + c, k) + sum_a[k], a + c, k);
        panel.store(panel.load(b + c, k) + sum_b[k], b + c, k);
      }
    });
  }
}

// x - mean of one panel: both differences are exact or nearly so, because the shift is near the values.
template <class P, class T> struct Centred {
  static constexpr long U = P::size;
  P panel;
  const T* x;
  long C;
  typename P::Registers shift, offset;

  XTGRAD_INLINE Centred(P p, const T* from, long channels, long c, const double* shifts, const double* offsets)
      : panel(p), x(from + c), C(channels) {
    for (long k = 0; k < U; ++k) {
      shift[k] = panel.load(shifts + c, k);
      offset[k] = panel.load(offsets + c, k);
    }
  }
  XTGRAD_INLINE D operator()(long n, long k) const { return (panel.load(x + n * C, k) - shift[k]) - offset[k]; }
};

// gamma * inv_std of register k; gamma may be null.
template <class P, class T> XTGRAD_INLINE D scale_of(P panel, long c, long k, const double* inv_std, const T* gamma) {
  const D s = panel.load(inv_std + c, k);
  return gamma == nullptr ? s : s * panel.load(gamma + c, k);
}

template <class T> void batch_moments(long m, long C, const T* x, double* shift, double* offset, double* m2) {
  for (long c = 0; c < C; ++c) shift[c] = static_cast<double>(x[c]);
  sum_pairs(m, C, offset, m2, [=](auto panel, long c) {
    constexpr long U = decltype(panel)::size;
    struct Term {
      decltype(panel) p;
      const T* x;
      long C;
      typename decltype(panel)::Registers shift;
      XTGRAD_INLINE void operator()(long n, long k, D& sum, D& squares) const {
        sum = p.load(x + n * C, k) - shift[k];
        squares = sum * sum;
      }
    } values{panel, x + c, C, {}};
    for (long k = 0; k < U; ++k) values.shift[k] = panel.load(shift + c, k);
    return values;
  });
  const double count = static_cast<double>(m);
  for (long c = 0; c < C; ++c) {
    const double sum = offset[c];
    offset[c] = sum / count;
    const double squares = m2[c] - sum * offset[c];
    m2[c] = squares < 0 ? 0 : squares;
  }
  // For float that is exact enough. In double the subtraction may cost digits: a second pass takes the
  // deviations from the mean itself, corrected for the mean's own rounding (Chan, Golub and LeVeque 1983).
  if constexpr (sizeof(T) == sizeof(double)) {
    constexpr long kSlice = 64;
    for (long c0 = 0; c0 < C; c0 += kSlice) {
      const long width = least(kSlice, C - c0);
      double residue[kSlice], squares[kSlice];
      for (long k = 0; k < width; ++k) residue[k] = squares[k] = 0;
      for (long first = 0; first < m; first += kBlock) {
        double r[kSlice] = {}, s[kSlice] = {};
        for (long n = first; n < least(m, first + kBlock); ++n)
          for (long k = 0; k < width; ++k) {
            const double d = (x[n * C + c0 + k] - shift[c0 + k]) - offset[c0 + k];
            r[k] += d;
            s[k] += d * d;
          }
        for (long k = 0; k < width; ++k) {
          residue[k] += r[k];
          squares[k] += s[k];
        }
      }
      for (long k = 0; k < width; ++k) m2[c0 + k] = squares[k] - residue[k] * residue[k] / count;
    }
  }
}

template <class T> void batch_norm(long m, long C, const T* x, Channels stats, const T* gamma, const T* beta, T* y) {
  for (long first = 0; first < m; first += kBlock)
    for_each_panel(C, [=](auto panel, long c) {
      constexpr long U = decltype(panel)::size;
      const Centred<decltype(panel), T> centred(panel, x, C, c, stats.shift, stats.offset);
      typename decltype(panel)::Registers scale, bias;
      for (long k = 0; k < U; ++k) {
        scale[k] = scale_of(panel, c, k, stats.inv_std, gamma);
        bias[k] = beta == nullptr ? splat(0) : panel.load(beta + c, k);
      }
      for (long n = first; n < least(m, first + kBlock); ++n)
        for (long k = 0; k < U; ++k) panel.store(centred(n, k) * scale[k] + bias[k], y + n * C + c, k);
    });
}

template <class T>
void batch_norm_sums(long m, long C, const T* x, const T* dy, Channels stats, double* sum_dy, double* sum_dy_xhat) {
  sum_pairs(m, C, sum_dy, sum_dy_xhat, [=](auto panel, long c) {
    struct Term {
      Centred<decltype(panel), T> centred;
      const T* dy;
      XTGRAD_INLINE void operator()(long n, long k, D& plain, D& weighted) const {
        plain = centred.panel.load(dy + n * centred.C, k);
        weighted = plain * centred(n, k);
      }
    };
    return Term{{panel, x, C, c, stats.shift, stats.offset}, dy + c};
  });
  for (long c = 0; c < C; ++c) sum_dy_xhat[c] *= stats.inv_std[c];
}

template <class T>
void batch_norm_dx(long m, long C, const T* x, const T* dy, Channels stats, const T* gamma, const double* sum_dy,
                   const double* sum_dy_xhat, T* dx) {
  const D count = splat(static_cast<double>(m));
  for (long first = 0; first < m; first += kBlock)
    for_each_panel(C, [=](auto panel, long c) {
      constexpr long U = decltype(panel)::size;
      const Centred<decltype(panel), T> centred(panel, x, C, c, stats.shift, stats.offset);
      typename decltype(panel)::Registers scale, mean_dy, slope;
      for (long k = 0; k < U; ++k) {
        scale[k] = scale_of(panel, c, k, stats.inv_std, gamma);
        mean_dy[k] = panel.load(sum_dy + c, k) / count;
        // xhat * mean(dy * xhat) = (x - mean) * slope
        slope[k] = panel.load(stats.inv_std + c, k) * (panel.load(sum_dy_xhat + c, k) / count);
      }
      for (long n = first; n < least(m, first + kBlock); ++n)
        for (long k = 0; k < U; ++k) {
          const D dyn = panel.load(dy + n * C + c, k);
          panel.store(scale[k] * (dyn - mean_dy[k] - centred(n, k) * slope[k]), dx + n * C + c, k);
        }
    });
}

template <class T>
void batch_norm_ddx(long m, long C, const T* x, const T* dy, const T* ggx, Channels stats, const double* k, T* d) {
  for (long first = 0; first < m; first += kBlock)
    for_each_panel(C, [=](auto panel, long c) {
      constexpr long U = decltype(panel)::size;
      const Centred<decltype(panel), T> centred(panel, x, C, c, stats.shift, stats.offset);
      typename decltype(panel)::Registers r[5];
      for (long i = 0; i < 5; ++i)
        for (long j = 0; j < U; ++j) r[i][j] = panel.load(k + i * C + c, j);
      for (long n = first; n < least(m, first + kBlock); ++n)
        for (long j = 0; j < U; ++j)
          panel.store(r[0][j] * centred(n, j) + r[1][j] * (panel.load(dy + n * C + c, j) - r[3][j]) +
                          r[2][j] * (panel.load(ggx + n * C + c, j) - r[4][j]),
                      d + n * C + c, j);
    });
}

template <class T> void batch_norm_scale(long m, long C, const T* dy, const double* inv_std, const T* gamma, T* dx) {
  for (long first = 0; first < m; first += kBlock)
    for_each_panel(C, [=](auto panel, long c) {
      constexpr long U = decltype(panel)::size;
      typename decltype(panel)::Registers scale;
      for (long k = 0; k < U; ++k) scale[k] = scale_of(panel, c, k, inv_std, gamma);
      for (long n = first; n < least(m, first + kBlock); ++n)
        for (long k = 0; k < U; ++k) panel.store(scale[k] * panel.load(dy + n * C + c, k), dx + n * C + c, k);
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
