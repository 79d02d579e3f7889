// Lanes<T>: as many values as a SIMD register of this instruction set holds, with the operators and functions
// that the formulas use. Included by kernel sources only.
#pragma once

#include <cmath>
#include <xsimd/xsimd.hpp>

#include "xtgrad/kernels/families.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {

#define XTGRAD_INLINE [[gnu::always_inline]] inline

#if defined(XTGRAD_AVX512)
// xsimd 8.1 has none for this instruction set: it multiplies and then adds.
using Floats = xsimd::batch<float, XTGRAD_ARCH>;
using Doubles = xsimd::batch<double, XTGRAD_ARCH>;
XTGRAD_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
XTGRAD_INLINE Doubles fma(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
#endif

template <class T> struct Lanes {
  using value_type = T;
  using Batch = xsimd::batch<T, XTGRAD_ARCH>;
  using Mask = xsimd::batch_bool<T, XTGRAD_ARCH>;
  static constexpr long size = static_cast<long>(Batch::size);
  using Values = T[Batch::size];

  XTGRAD_INLINE Lanes() {}
  XTGRAD_INLINE Lanes(Batch b) : v(b) {}
  XTGRAD_INLINE explicit Lanes(int x) : v(static_cast<T>(x)) {}
  XTGRAD_INLINE explicit Lanes(T x) : v(x) {}
  XTGRAD_INLINE static Lanes load(const T* from) { return Batch::load_unaligned(from); }
  XTGRAD_INLINE void store(T* to) const { v.store_unaligned(to); }

  XTGRAD_INLINE friend Lanes operator+(const Lanes& a, const Lanes& b) { return a.v + b.v; }
  XTGRAD_INLINE friend Lanes operator-(const Lanes& a, const Lanes& b) { return a.v - b.v; }
  XTGRAD_INLINE friend Lanes operator*(const Lanes& a, const Lanes& b) { return a.v * b.v; }
  XTGRAD_INLINE friend Lanes operator/(const Lanes& a, const Lanes& b) { return a.v / b.v; }
  XTGRAD_INLINE friend Lanes operator-(const Lanes& a) { return a.v ^ Batch(T(-0.0)); }
  /// a * b + c, rounded once where the processor can
  XTGRAD_INLINE friend Lanes fma(const Lanes& a, const Lanes& b, const Lanes& c) { return fma(a.v, b.v, c.v); }
  XTGRAD_INLINE friend Mask operator>(const Lanes& a, const Lanes& b) { return a.v > b.v; }
  // Written as "not equal", which NaN is: xsimd's != is false for it.
  XTGRAD_INLINE friend Mask operator!=(const Lanes& a, const Lanes& b) { return !(a.v == b.v); }
  XTGRAD_INLINE friend Mask truth(const Lanes& a) { return a != Lanes(0); }
  XTGRAD_INLINE friend Lanes where(Mask condition, const Lanes& a, const Lanes& b) {
    return xsimd::select(condition, a.v, b.v);
  }
  XTGRAD_INLINE friend Lanes sqrt(const Lanes& x) { return xsimd::sqrt(x.v); }
  XTGRAD_INLINE friend Lanes exp(const Lanes& x) {
    // xsimd 8.1 gives 0 below `low`, though e^x is subnormal down to `zero`, and inf above `high`, though e^x is finite
    // almost up to `infinite`.
    constexpr bool single = sizeof(T) == 4;
    constexpr T zero = single ? T(-104) : T(-746), low = single ? T(-87) : T(-708);
    constexpr T high = single ? T(88) : T(709), infinite = single ? T(89) : T(710);
    const Mask rare = ((x.v > Batch(zero)) & (x.v < Batch(low))) | ((x.v > Batch(high)) & (x.v < Batch(infinite)));
    return lane_by_lane(xsimd::exp(x.v), x.v, rare, [](T value) { return std::exp(value); });
  }
  XTGRAD_INLINE friend Lanes log(const Lanes& x) {
    // xsimd 8.1 knows no subnormal numbers.
    constexpr T smallest = sizeof(T) == 4 ? T(1.17549435e-38) : T(2.2250738585072014e-308);
    return lane_by_lane(xsimd::log(x.v), x.v, x.v < Batch(smallest), [](T value) { return std::log(value); });
  }
  XTGRAD_INLINE friend Lanes log1p(const Lanes& x) { return xsimd::log1p(x.v); }
  // xsimd's erf is off by 4 ULP and its pow by hundreds: these two take the scalar functions.
  XTGRAD_INLINE friend Lanes erf(const Lanes& x) {
    Values values;
    x.store(values);
    for (T& value : values) value = std::erf(value);
    return load(values);
  }
  XTGRAD_INLINE friend Lanes tanh(const Lanes& x) { return xsimd::tanh(x.v); }
  XTGRAD_INLINE friend Lanes pow(const Lanes& x, const Lanes& y) {
    Values base, exponent;
    x.store(base);
    y.store(exponent);
    for (unsigned long i = 0; i < Batch::size; ++i) base[i] = std::pow(base[i], exponent[i]);
    return load(base);
  }

  Batch v;

 private:
  // `fast`, except that lanes where `rare` holds come from the exact scalar function: no lane depends on
  // another.
  template <class F> XTGRAD_INLINE static Lanes lane_by_lane(Batch fast, Batch x, Mask rare, F exact) {
    if (!xsimd::any(rare)) [[likely]]
      return fast;
    Values in, out;
    x.store_unaligned(in);
    for (long i = 0; i < size; ++i) out[i] = exact(in[i]);
    return xsimd::select(rare, Batch::load_unaligned(out), fast);
  }
};

/// The last r < Lanes::size elements, as a register that is filled up with `padding`, so that they get the same bits as
/// all others. What lies beyond them in memory is neither read nor written.
template <class T> struct Tail {
#if defined(XTGRAD_AVX512)
  XTGRAD_INLINE static Lanes<float> load(const float* from, long r, float padding = 1) {
    return Lanes<float>::Batch(_mm512_mask_loadu_ps(_mm512_set1_ps(padding), first16(r), from));
  }
  XTGRAD_INLINE static Lanes<double> load(const double* from, long r, double padding = 1) {
    return Lanes<double>::Batch(_mm512_mask_loadu_pd(_mm512_set1_pd(padding), first8(r), from));
  }
  XTGRAD_INLINE static void store(const Lanes<float>& x, float* to, long r) {
    _mm512_mask_storeu_ps(to, first16(r), x.v);
  }
  XTGRAD_INLINE static void store(const Lanes<double>& x, double* to, long r) {
    _mm512_mask_storeu_pd(to, first8(r), x.v);
  }
  XTGRAD_INLINE static __mmask16 first16(long r) { return static_cast<__mmask16>((1U << r) - 1); }
  XTGRAD_INLINE static __mmask8 first8(long r) { return static_cast<__mmask8>((1U << r) - 1); }
#else
  XTGRAD_INLINE static Lanes<T> load(const T* from, long r, T padding = T(1)) {
    typename Lanes<T>::Values buffer;
    for (long i = 0; i < Lanes<T>::size; ++i) buffer[i] = i < r ? from[i] : padding;
    return Lanes<T>::load(buffer);
  }
  XTGRAD_INLINE static void store(const Lanes<T>& x, T* to, long r) {
    typename Lanes<T>::Values buffer;
    x.store(buffer);
    for (long i = 0; i < r; ++i) to[i] = buffer[i];
  }
#endif
};

/// Lanes<double> from and to arrays of float or double; with a width, the last channels, too few for a register.
XTGRAD_INLINE Lanes<double> load_double(const double* from) { return Lanes<double>::load(from); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, double* to) { x.store(to); }
XTGRAD_INLINE Lanes<double> load_double(const double* from, long width) { return Tail<double>::load(from, width); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, double* to, long width) { Tail<double>::store(x, to, width); }

#if defined(XTGRAD_AVX512)
XTGRAD_INLINE Lanes<double> load_double(const float* from) {
  return Lanes<double>::Batch(_mm512_cvtps_pd(_mm256_loadu_ps(from)));
}
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to) { _mm256_storeu_ps(to, _mm512_cvtpd_ps(x.v)); }
XTGRAD_INLINE Lanes<double> load_double(const float* from, long width) {
  return Lanes<double>::Batch(_mm512_cvtps_pd(_mm512_castps512_ps256(Tail<float>::load(from, width).v)));
}
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to, long width) {
  Tail<float>::store(Lanes<float>::Batch(_mm512_castps256_ps512(_mm512_cvtpd_ps(x.v))), to, width);
}
#else
#if defined(XTGRAD_AVX2)
XTGRAD_INLINE Lanes<double> load_double(const float* from) {
  return Lanes<double>::Batch(_mm256_cvtps_pd(_mm_loadu_ps(from)));
}
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to) { _mm_storeu_ps(to, _mm256_cvtpd_ps(x.v)); }
#else
XTGRAD_INLINE Lanes<double> load_double(const float* from) {
  Lanes<double>::Values wide;
  for (long i = 0; i < Lanes<double>::size; ++i) wide[i] = static_cast<double>(from[i]);
  return Lanes<double>::load(wide);
}
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to) {
  Lanes<double>::Values wide;
  x.store(wide);
  for (long i = 0; i < Lanes<double>::size; ++i) to[i] = static_cast<float>(wide[i]);
}
#endif
XTGRAD_INLINE Lanes<double> load_double(const float* from, long width) {
  Lanes<double>::Values wide;
  for (long i = 0; i < Lanes<double>::size; ++i) wide[i] = i < width ? static_cast<double>(from[i]) : 1.0;
  return Lanes<double>::load(wide);
}
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to, long width) {
  Lanes<double>::Values wide;
  x.store(wide);
  for (long i = 0; i < width; ++i) to[i] = static_cast<float>(wide[i]);
}
#endif

/// A register's worth of an array, as it is or as double: a whole one, or the last elements, too few for it.
struct Whole {
  template <class P> XTGRAD_INLINE Lanes<P> lanes(const P* from) const { return Lanes<P>::load(from); }
  template <class P> XTGRAD_INLINE void keep(const Lanes<P>& x, P* to) const { x.store(to); }
  template <class P> XTGRAD_INLINE Lanes<double> load(const P* from) const { return load_double(from); }
  template <class P> XTGRAD_INLINE void store(const Lanes<double>& x, P* to) const { store_double(x, to); }
  XTGRAD_INLINE Lanes<double> only(const Lanes<double>& x) const { return x; }
};
struct Part {
  long width;
  template <class P> XTGRAD_INLINE Lanes<P> lanes(const P* from) const { return Tail<P>::load(from, width); }
  template <class P> XTGRAD_INLINE void keep(const Lanes<P>& x, P* to) const { Tail<P>::store(x, to, width); }
  template <class P> XTGRAD_INLINE Lanes<double> load(const P* from) const { return load_double(from, width); }
  template <class P> XTGRAD_INLINE void store(const Lanes<double>& x, P* to) const { store_double(x, to, width); }
  /// x, and zeros for what is not there
  XTGRAD_INLINE Lanes<double> only(const Lanes<double>& x) const {
    constexpr double lane[] = {0, 1, 2, 3, 4, 5, 6, 7};
    return where(Lanes<double>(static_cast<double>(width)) > Lanes<double>::load(lane), x, Lanes<double>(0));
  }
};

}  // namespace xtgrad::kernels::XTGRAD_ISA
