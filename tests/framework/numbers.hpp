// Exact references and distances for tests of numerics.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace xtgrad::test {

__extension__ typedef __float128 Quad;  // 113 bits: what sums and statistics are compared with

inline Quad absolute(Quad x) { return x < 0 ? -x : x; }

/// The square root, by Newton's iteration from the double one.
inline Quad root(Quad x) {
  if (x + x == x) return x;  // 0 and infinity
  Quad r = static_cast<Quad>(std::sqrt(static_cast<double>(x)));
  for (int i = 0; i < 3; ++i) r = (r + x / r) / 2;
  return r;
}

/// The distance of neighbouring T at the magnitude of `exact`.
template <class T, class Exact> Exact ulp(Exact exact) {
  using Limits = std::numeric_limits<T>;
  const double size = std::abs(static_cast<double>(exact));
  if (!(size >= static_cast<double>(Limits::min()))) return static_cast<Exact>(Limits::denorm_min());
  return static_cast<Exact>(std::ldexp(1.0, std::ilogb(size) - Limits::digits + 1));
}

/// How many units in the last place `got` is away from `exact`; NaN agrees with NaN, and what is beyond the
/// largest T by less than half a unit may be that or infinite.
template <class T> double ulps(T got, long double exact) {
  using Limits = std::numeric_limits<T>;
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (std::isnan(got) || std::isnan(exact)) return std::isnan(got) && std::isnan(exact) ? 0 : kInfinite;
  if (std::isinf(got) || std::isinf(exact)) {
    const long double limit = static_cast<long double>(Limits::max());
    const bool same_sign = std::signbit(got) == std::signbit(exact);
    const bool both_far = std::isinf(got) ? std::abs(exact) > limit : std::abs(got) > Limits::max();
    return same_sign && both_far ? 0 : kInfinite;
  }
  return static_cast<double>(std::abs(static_cast<long double>(got) - exact) / ulp<T, long double>(exact));
}

/// Whether two values have the same bits; any NaN is like any other.
template <class T> bool same_bits(T a, T b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return a == b && std::signbit(a) == std::signbit(b);
}

/// Zeros, the ends of the subnormal and normal ranges, ones, infinities and NaN.
template <class T> std::vector<T> edge_values() {
  using Limits = std::numeric_limits<T>;
  std::vector<T> values;
  for (const T x : {T(0), Limits::denorm_min(), Limits::min() / 2, Limits::min(), 2 * Limits::min(), Limits::epsilon(),
                    T(0.5), 1 - Limits::epsilon() / 2, T(1), 1 + Limits::epsilon(), T(2), T(3), Limits::max() / 2,
                    Limits::max(), Limits::infinity()}) {
    values.push_back(x);
    values.push_back(-x);
  }
  values.push_back(Limits::quiet_NaN());
  return values;
}

/// `count` values from `low` to `high`, uniform at random.
template <class T> std::vector<T> between(double low, double high, std::size_t count, std::uint64_t seed = 1) {
  std::mt19937_64 engine(seed);
  std::vector<T> values(count);
  for (T& x : values) x = static_cast<T>(low + (high - low) * static_cast<double>(engine() >> 11) * 0x1p-53);
  return values;
}

/// Standard normal values with the given mean, near enough (the sum of twelve uniform ones).
template <class T> std::vector<T> normal(double mean, double std, std::size_t count, std::uint64_t seed = 1) {
  std::mt19937_64 engine(seed);
  std::vector<T> values(count);
  for (T& x : values) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine() >> 11) * 0x1p-53;
    x = static_cast<T>(mean + std * sum);
  }
  return values;
}

}  // namespace xtgrad::test
