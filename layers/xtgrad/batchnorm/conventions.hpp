// BatchNorm as other libraries have it, and their running variances in ours.
//
//             eps    weight of a new batch                     running variance
//   PyTorch   1e-5   0.1                                       unbiased
//   Keras     1e-3   0.01 (it says momentum 0.99, of the old)  biased
//   flax      1e-5   0.01 (likewise)                           biased
//   paper     1e-5   the mean over all batches, with the       unbiased: m/(m-1) E[var], Algorithm 2
//                    weights as they are at the end
#pragma once

#include <cmath>
#include <xtgrad/check.hpp>
#include <xtgrad/layers/batch_norm1d.hpp>

namespace xtgrad::conventions {

inline BatchNorm1dOptions pytorch() { return {}; }
inline BatchNorm1dOptions keras() { return {.eps = 1e-3, .momentum = 0.01, .unbiased_running_var = false}; }
inline BatchNorm1dOptions flax() { return {.eps = 1e-5, .momentum = 0.01, .unbiased_running_var = false}; }
/// The paper names no eps: this is PyTorch's.
inline BatchNorm1dOptions paper() { return {.eps = 1e-5, .momentum = std::nullopt}; }

/// The weight that the initial values of running statistics still have after t batches of weight a.
inline double residue(double a, std::int64_t t) { return std::pow(1 - a, static_cast<double>(t)); }

/// A running variance of one convention in the other, exactly, for batches of m values per channel each; `r` is the weight
/// of the initial 1, which neither convention corrects: residue(a, t), or 0 for a mean over all batches.
///   unbiased = r + (biased - r) m / (m - 1)
/// Throws unless m is 2 or more and r in [0, 1].
template <class T> Array<T> unbiased_running_var(const Array<T>& biased, std::size_t m, double r) {
  check(m >= 2 && r >= 0 && r <= 1, "unbiased_running_var: m is {} and r {}, expected 2 or more, and 0 to 1", m, r);
  const double k = static_cast<double>(m);
  Array<T> unbiased = biased;
  for (T& v : unbiased.storage()) v = static_cast<T>(r + (static_cast<double>(v) - r) * k / (k - 1));
  return unbiased;
}
///   biased = r + (unbiased - r) (m - 1) / m
template <class T> Array<T> biased_running_var(const Array<T>& unbiased, std::size_t m, double r) {
  check(m >= 2 && r >= 0 && r <= 1, "biased_running_var: m is {} and r {}, expected 2 or more, and 0 to 1", m, r);
  const double k = static_cast<double>(m);
  Array<T> biased = unbiased;
  for (T& v : biased.storage()) v = static_cast<T>(r + (static_cast<double>(v) - r) * (k - 1) / k);
  return biased;
}

}  // namespace xtgrad::conventions
