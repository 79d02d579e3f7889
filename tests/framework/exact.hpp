// Batch normalisation of one channel in __float128, in the steps of Ioffe and Szegedy 2015: Algorithm 1, the chain rule
// of section 3, and Algorithm 2 for running statistics. Nothing is shared with the library, nor its closed form.
#pragma once

#include <vector>

#include "numbers.hpp"

namespace xtgrad::exact {

using test::absolute;
using test::Quad;
using Quads = std::vector<Quad>;

/// An exact result, and the sum of the absolute values of the terms that it is a sum of; 0 if it is none.
struct Value {
  Quad exact = 0, terms = 0;
};

/// The statistics of a batch: var is sum((x - mean)^2) divided by m, or by m - 1.
struct Batch {
  Value mean;
  Quad biased = 0, unbiased = 0;

  explicit Batch(const Quads& x) {
    const Quad m = static_cast<Quad>(x.size());
    for (const Quad v : x) {
      mean.exact += v;
      mean.terms += absolute(v);
    }
    mean.exact /= m;
    mean.terms /= m;
    Quad squares = 0;
    for (const Quad v : x) squares += (v - mean.exact) * (v - mean.exact);
    biased = squares / m;
    unbiased = squares / (m - 1);
  }
};

/// The results for the gradient dy. A channel without variance and without eps has 1 / sigma = 0.
struct Channel {
  Quads xhat;
  std::vector<Value> y, dx;
  Value dgamma, dbeta;
  Quad spread = 0;  ///< the mean of |xhat|

  /// `through` says whether mean and variance are functions of x.
  Channel(const Quads& x, const Quads& dy, Quad gamma, Quad beta, Quad eps, Quad mean, Quad var, bool through)
      : xhat(x.size()), y(x.size()), dx(x.size()) {
    const Quad m = static_cast<Quad>(x.size()), variance = var + eps;
    const Quad inv_std = variance == 0 ? 0 : 1 / test::root(variance);
    const Quad cubed = inv_std * inv_std * inv_std;
    Quad dvar = 0, dmean = 0, deviations = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const Quad deviation = x[i] - mean, dxhat = dy[i] * gamma;
      xhat[i] = deviation * inv_std;
      spread += absolute(xhat[i]) / m;
      y[i] = {gamma * xhat[i] + beta, absolute(gamma * xhat[i]) + absolute(beta)};
      add(dgamma, dy[i] * xhat[i]);
      add(dbeta, dy[i]);
      dvar += dxhat * deviation * -cubed / 2;
      dmean -= dxhat * inv_std;
      deviations += deviation;
    }
    dmean += dvar * -2 * deviations / m;
    for (std::size_t i = 0; i < x.size(); ++i) {
      add(dx[i], dy[i] * gamma * inv_std);
      if (!through) continue;
      dx[i].exact += dvar * 2 * (x[i] - mean) / m + dmean / m;
      dx[i].terms += absolute(gamma * inv_std) * (dbeta.terms + absolute(xhat[i]) * dgamma.terms) / m;
    }
  }

 private:
  static void add(Value& sum, Quad term) {
    sum.exact += term;
    sum.terms += absolute(term);
  }
};

/// (1 - a) * old + a * fresh
inline Value blend(Quad a, Quad old, const Value& fresh) {
  return {(1 - a) * old + a * fresh.exact, absolute((1 - a) * old) + absolute(a) * fresh.terms};
}

}  // namespace xtgrad::exact
