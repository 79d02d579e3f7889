// Lanes<T>: as many values as a SIMD register of this instruction set holds, with the operators and functions
// that the formulas use. Included by kernel sources only.
#pragma once

#include <cmath>
#include <xsimd/xsimd.hpp>

#include "xtgrad/kernels/families.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {

#define XTGRAD_INLINE [[gnu::always_inline]] inline

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
  XTGRAD_INLINE friend Mask operator>(const Lanes& a, const Lanes& b) { return a.v > b.v; }
  // Written as "not equal", which NaN is: xsimd's != is false for it.
  XTGRAD_INLINE friend Mask operator!=(const Lanes& a, const Lanes& b) { return !(a.v == b.v); }
  XTGRAD_INLINE friend Mask truth(const Lanes& a) { return a != Lanes(0); }
  XTGRAD_INLINE friend Lanes where(Mask condition, const Lanes& a, const Lanes& b) {
    return xsimd::select(condition, a.v, b.v);
  }
  XTGRAD_INLINE friend Lanes sqrt(const Lanes& x) { return xsimd::sqrt(x.v); }
  XTGRAD_INLINE friend Lanes exp(const Lanes& x) {
    // xsimd 8.1 gives inf and 0 too early at the two ends of the range.
    constexpr T low = sizeof(T) == 4 ? T(-87) : T(-708), high = sizeof(T) == 4 ? T(88) : T(709);
    return lane_by_lane(xsimd::exp(x.v), x.v, (x.v < Batch(low)) | (x.v > Batch(high)),
                        [](T value) { return std::exp(value); });
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

/// Lanes<double> from and to arrays of float or double.
XTGRAD_INLINE Lanes<double> load_double(const double* from) { return Lanes<double>::load(from); }
XTGRAD_INLINE void store_double(const Lanes<double>& x, double* to) { x.store(to); }

XTGRAD_INLINE Lanes<double> load_double(const float* from) {
#if defined(__AVX512F__)
  return Lanes<double>::Batch(_mm512_cvtps_pd(_mm256_loadu_ps(from)));
#elif defined(__AVX2__)
  return Lanes<double>::Batch(_mm256_cvtps_pd(_mm_loadu_ps(from)));
#else
  Lanes<double>::Values wide;
  for (long i = 0; i < Lanes<double>::size; ++i) wide[i] = static_cast<double>(from[i]);
  return Lanes<double>::load(wide);
#endif
}

XTGRAD_INLINE void store_double(const Lanes<double>& x, float* to) {
#if defined(__AVX512F__)
  _mm256_storeu_ps(to, _mm512_cvtpd_ps(x.v));
#elif defined(__AVX2__)
  _mm_storeu_ps(to, _mm256_cvtpd_ps(x.v));
#else
  Lanes<double>::Values wide;
  x.store(wide);
  for (long i = 0; i < Lanes<double>::size; ++i) to[i] = static_cast<float>(wide[i]);
#endif
}

/// The last r < Lanes::size elements: copied to a full register, so that they get the same bits as all
/// others.
template <class T> struct Tail {
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
};

}  // namespace xtgrad::kernels::XTGRAD_ISA
