// Lanes<T>: as many values as a SIMD register of this instruction set holds, with the operators and functions
// that the formulas use. Included by kernel sources only.
#pragma once

#include <cmath>
#include <xsimd/xsimd.hpp>

#include "xtgrad/kernels/families.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {

#define XTGRAD_INLINE [[gnu::always_inline]] inline

using Floats = xsimd::batch<float, XTGRAD_ARCH>;
using Doubles = xsimd::batch<double, XTGRAD_ARCH>;
#if defined(XTGRAD_AVX512)
// xsimd 8.1 has none for this instruction set: it multiplies and then adds.
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

/// Which lanes are among the first r.
template <class T> XTGRAD_INLINE typename Lanes<T>::Mask first(long r) {
  constexpr T lane[] = {0, 1, 2, 3, 4, 5, 6, 7};
  static_assert(Lanes<T>::size <= 8);
  return Lanes<T>(static_cast<T>(r)) > Lanes<T>::load(lane);
}

/// The last r < Lanes::size elements, as a register that is filled up with `padding`, so that they get the same bits as
/// all others. What lies beyond them in memory is neither read nor written.
#if defined(XTGRAD_AVX512)
XTGRAD_INLINE Lanes<float> load_first(const float* from, long r, float padding = 1) {
  return Floats(_mm512_mask_loadu_ps(_mm512_set1_ps(padding), static_cast<__mmask16>((1U << r) - 1), from));
}
XTGRAD_INLINE Lanes<double> load_first(const double* from, long r, double padding = 1) {
  return Doubles(_mm512_mask_loadu_pd(_mm512_set1_pd(padding), static_cast<__mmask8>((1U << r) - 1), from));
}
XTGRAD_INLINE void store_first(const Lanes<float>& x, float* to, long r) {
  _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1U << r) - 1), x.v);
}
XTGRAD_INLINE void store_first(const Lanes<double>& x, double* to, long r) {
  _mm512_mask_storeu_pd(to, static_cast<__mmask8>((1U << r) - 1), x.v);
}
#else
#if defined(XTGRAD_AVX2)
XTGRAD_INLINE Lanes<float> load_first(const float* from, long r, float padding = 1) {
  const __m256 there = first<float>(r);
  return Floats(_mm256_blendv_ps(_mm256_set1_ps(padding), _mm256_maskload_ps(from, _mm256_castps_si256(there)), there));
}
XTGRAD_INLINE Lanes<double> load_first(const double* from, long r, double padding = 1) {
  const __m256d there = first<double>(r);
  return Doubles(
      _mm256_blendv_pd(_mm256_set1_pd(padding), _mm256_maskload_pd(from, _mm256_castpd_si256(there)), there));
}
#else
template <class T> XTGRAD_INLINE Lanes<T> load_first(const T* from, long r, T padding = T(1)) {
  typename Lanes<T>::Values buffer;
  for (long i = 0; i < Lanes<T>::size; ++i) buffer[i] = i < r ? from[i] : padding;
  return Lanes<T>::load(buffer);
}
#endif
// In pieces of half a register, a quarter, ...: processors of AMD without AVX-512 take long over a masked store.
template <class T> XTGRAD_INLINE void store_first(const Lanes<T>& x, T* to, long r) {
  typename Lanes<T>::Values buffer;
  x.store(buffer);
  const T* from = buffer;
#pragma GCC unroll 4
  for (long piece = Lanes<T>::size / 2; piece > 0; piece /= 2) {
    if ((r & piece) == 0) continue;
    __builtin_memcpy(to, from, static_cast<unsigned long>(piece) * sizeof(T));
    to += piece;
    from += piece;
  }
}
#endif

/// Lanes<double> from and to arrays of float or double; with a width, the last channels, too few for a register. lower()
/// takes the lower half of a register of floats, and gives it.
XTGRAD_INLINE Lanes<double> load_double(const double* from) { return Lanes<double>::load(from); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, double* to) { x.store(to); }
XTGRAD_INLINE Lanes<double> load_double(const double* from, long width) { return load_first(from, width); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, double* to, long width) { store_first(x, to, width); }

#if defined(XTGRAD_AVX512)
XTGRAD_INLINE Lanes<double> load_double(const float* from) { return Doubles(_mm512_cvtps_pd(_mm256_loadu_ps(from))); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to) { _mm256_storeu_ps(to, _mm512_cvtpd_ps(x.v)); }
XTGRAD_INLINE Doubles lower(Floats x) { return _mm512_cvtps_pd(_mm512_castps512_ps256(x)); }
XTGRAD_INLINE Floats lower(Doubles x) { return _mm512_castps256_ps512(_mm512_cvtpd_ps(x)); }
#elif defined(XTGRAD_AVX2)
XTGRAD_INLINE Lanes<double> load_double(const float* from) { return Doubles(_mm256_cvtps_pd(_mm_loadu_ps(from))); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to) { _mm_storeu_ps(to, _mm256_cvtpd_ps(x.v)); }
XTGRAD_INLINE Doubles lower(Floats x) { return _mm256_cvtps_pd(_mm256_castps256_ps128(x)); }
XTGRAD_INLINE Floats lower(Doubles x) { return _mm256_castps128_ps256(_mm256_cvtpd_ps(x)); }
#endif
#if defined(XTGRAD_AVX512) || defined(XTGRAD_AVX2)
XTGRAD_INLINE Lanes<double> load_double(const float* from, long width) { return lower(load_first(from, width).v); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to, long width) {
  store_first(Lanes<float>(lower(x.v)), to, width);
}
#else
XTGRAD_INLINE Lanes<double> load_double(const float* from, long width = Lanes<double>::size) {
  Lanes<double>::Values wide;
  for (long i = 0; i < Lanes<double>::size; ++i) wide[i] = i < width ? static_cast<double>(from[i]) : 1.0;
  return Lanes<double>::load(wide);
}
XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to, long width = Lanes<double>::size) {
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
  template <class P> XTGRAD_INLINE Lanes<P> lanes(const P* from) const { return load_first(from, width); }
  template <class P> XTGRAD_INLINE void keep(const Lanes<P>& x, P* to) const { store_first(x, to, width); }
  template <class P> XTGRAD_INLINE Lanes<double> load(const P* from) const { return load_double(from, width); }
  template <class P> XTGRAD_INLINE void store(const Lanes<double>& x, P* to) const { store_double(x, to, width); }
  /// x, and zeros for what is not there
  XTGRAD_INLINE Lanes<double> only(const Lanes<double>& x) const {
    return where(first<double>(width), x, Lanes<double>(0));
  }
};

}  // namespace xtgrad::kernels::XTGRAD_ISA
