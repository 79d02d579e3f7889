// What the tests of layers/ compare with: the exact batch normalisation of whole tensors, rounded to long double; and
// small helpers.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../framework/exact.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/random.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad::oracle {

using Real = long double;
using Reals = std::vector<Real>;

inline double wide(float x) { return static_cast<double>(x); }
inline double wide(double x) { return x; }

template <class T> Reals reals(const Tensor<T>& t) {
  Reals values;
  for (std::size_t i = 0; i < t.size(); ++i) values.push_back(static_cast<Real>(t.data()[i]));
  return values;
}

/// A leaf of this shape with these values.
template <class T> Tensor<T> tensor(const Shape& shape, const std::vector<double>& values) {
  Array<T> array = empty_array<T>(shape);
  EXPECT_EQ(array.size(), values.size());
  std::transform(values.begin(), values.end(), array.data(), [](double v) { return static_cast<T>(v); });
  return array;
}

template <class T> Tensor<T> trained(Tensor<T> t) {
  t.requires_grad(true);
  return t;
}

template <class T> void assign(Tensor<T>& t, const Tensor<T>& values) {
  t.mutable_value().storage() = values.value().storage();
}

/// The axes of an input (N, C) or (N, C, L).
struct Axes3 {
  std::size_t N, C, L;
  explicit Axes3(const Shape& s) : N(s[0]), C(s[1]), L(s.size() == 3 ? s[2] : 1) {}
  Real m() const { return static_cast<Real>(N * L); }
  template <class F> void each_of_channel(std::size_t c, F f) const {
    for (std::size_t n = 0; n < N; ++n)
      for (std::size_t l = 0; l < L; ++l) f((n * C + c) * L + l);
  }
};

struct Moments {
  Reals mean, biased, unbiased;
};

inline exact::Quads channel(const Reals& values, const Axes3& axes, std::size_t c) {
  exact::Quads result;
  axes.each_of_channel(c, [&](std::size_t i) { result.push_back(static_cast<exact::Quad>(values[i])); });
  return result;
}

inline Moments moments(const Reals& x, const Axes3& axes) {
  Moments result;
  for (std::size_t c = 0; c < axes.C; ++c) {
    const exact::Batch batch(channel(x, axes, c));
    result.mean.push_back(static_cast<Real>(batch.mean.exact));
    result.biased.push_back(static_cast<Real>(batch.biased));
    result.unbiased.push_back(static_cast<Real>(batch.unbiased));
  }
  return result;
}

struct BatchNorm {
  Reals y, xhat, dx, dgamma, dbeta;
};

/// Normalises with mean and var, and takes dy back; `through` says whether mean and var are functions of x.
inline BatchNorm batch_norm(const Reals& x, const Axes3& axes, const Reals& mean, const Reals& var, const Reals& gamma,
                            const Reals& beta, Real eps, const Reals& dy, bool through) {
  BatchNorm r;
  r.y = r.xhat = r.dx = x;
  for (std::size_t c = 0; c < axes.C; ++c) {
    const auto quad = [](Real v) { return static_cast<exact::Quad>(v); };
    const exact::Channel of(channel(x, axes, c), channel(dy, axes, c), quad(gamma[c]), quad(beta[c]), quad(eps),
                            quad(mean[c]), quad(var[c]), through);
    std::size_t k = 0;
    axes.each_of_channel(c, [&](std::size_t i) {
      r.xhat[i] = static_cast<Real>(of.xhat[k]);
      r.y[i] = static_cast<Real>(of.y[k].exact);
      r.dx[i] = static_cast<Real>(of.dx[k++].exact);
    });
    r.dgamma.push_back(static_cast<Real>(of.dgamma.exact));
    r.dbeta.push_back(static_cast<Real>(of.dbeta.exact));
  }
  return r;
}

inline Real largest(const Reals& values) {
  Real result = 0;
  for (const Real v : values) result = std::max(result, std::abs(v));
  return result;
}

/// The distance from |x| to the next T.
template <class T> Real ulp(Real x) {
  const T a = static_cast<T>(std::abs(x));
  return static_cast<Real>(std::nextafter(a, std::numeric_limits<T>::infinity())) - static_cast<Real>(a);
}

/// Within one ULP of the exact values, or within 1e-12 of `terms`, the size of what is summed there.
template <class T>::testing::AssertionResult within_an_ulp(const Tensor<T>& got, const Reals& want, Real terms) {
  if (got.size() != want.size())
    return ::testing::AssertionFailure() << got.size() << " values, expected " << want.size();
  for (std::size_t i = 0; i < want.size(); ++i) {
    const Real error = std::abs(static_cast<Real>(got.data()[i]) - want[i]);
    if (!(error <= ulp<T>(want[i]) + 1e-12L * terms))
      return ::testing::AssertionFailure() << "element " << i << " is " << wide(got.data()[i]) << ", expected "
                                           << static_cast<double>(want[i]) << ", error " << static_cast<double>(error);
  }
  return ::testing::AssertionSuccess();
}

/// Every |got - want| is at most `tolerance`.
template <class T>
::testing::AssertionResult close(const Tensor<T>& got, const std::vector<double>& want, double tolerance) {
  if (got.size() != want.size())
    return ::testing::AssertionFailure() << got.size() << " values, expected " << want.size();
  for (std::size_t i = 0; i < want.size(); ++i)
    if (!(std::abs(wide(got.data()[i]) - want[i]) <= tolerance))
      return ::testing::AssertionFailure()
             << "element " << i << " is " << wide(got.data()[i]) << ", expected " << want[i];
  return ::testing::AssertionSuccess();
}

/// The same shape and values; NaN equals NaN.
template <class T>::testing::AssertionResult same(const Tensor<T>& a, const Tensor<T>& b) {
  if (a.shape() != b.shape())
    return ::testing::AssertionFailure() << to_string(a.shape()) << " and " << to_string(b.shape());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const T u = a.data()[i], v = b.data()[i];
    if (!(u == v || (std::isnan(u) && std::isnan(v))))
      return ::testing::AssertionFailure() << "element " << i << ": " << wide(u) << " and " << wide(v);
  }
  return ::testing::AssertionSuccess();
}

/// The text of the std::invalid_argument that f throws; empty, with a failure, if it throws nothing.
template <class F> std::string error_of(F f) {
  try {
    f();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return {};
}

/// Collects the warnings of its life.
class Warnings {
 public:
  Warnings() : before_(set_warning_handler([this](const std::string& text) { texts.push_back(text); })) {}
  ~Warnings() { set_warning_handler(before_); }
  Warnings(const Warnings&) = delete;
  Warnings& operator=(const Warnings&) = delete;

  std::vector<std::string> texts;

 private:
  WarningHandler before_;
};

/// Eigenvalues of a symmetric n x n matrix, by Jacobi's rotations.
inline std::vector<double> eigenvalues(std::vector<double> a, std::size_t n) {
  for (int sweep = 0; sweep < 60; ++sweep)
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0) continue;
        const double theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
        const double t = std::copysign(1.0, theta) / (std::abs(theta) + std::sqrt(theta * theta + 1));
        const double cosine = 1 / std::sqrt(t * t + 1), sine = t * cosine;
        for (std::size_t k = 0; k < n; ++k) {
          const double u = a[k * n + p], v = a[k * n + q];
          a[k * n + p] = cosine * u - sine * v;
          a[k * n + q] = sine * u + cosine * v;
        }
        for (std::size_t k = 0; k < n; ++k) {
          const double u = a[p * n + k], v = a[q * n + k];
          a[p * n + k] = cosine * u - sine * v;
          a[q * n + k] = sine * u + cosine * v;
        }
      }
  std::vector<double> result;
  for (std::size_t i = 0; i < n; ++i) result.push_back(a[i * n + i]);
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace xtgrad::oracle
