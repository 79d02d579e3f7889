// Columns brought to mean 0 and standard deviation 1 with what was measured on the training rows, so that nothing of
// the test rows leaks into training.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// (x - mean) / std, column by column. Never changes once it is fitted, so any number of threads may apply it.
template <class T = float> class Standardise {
 public:
  /// Measures the columns of x (N, D), in double: mean = sum(x) / N, std = sqrt(sum((x - mean)^2) / N).
  /// Throws if x has another rank or no rows, or a column that is not finite.
  explicit Standardise(const Tensor<T>& x);

  /// (x - mean) / std for rows x (M, D); exactly 0 in columns of std 0. Carries no gradient.
  /// Throws if x has another number of columns or a value that is not finite.
  Tensor<T> apply(const Tensor<T>& x) const;

  const Array<double>& mean() const noexcept { return mean_; }  ///< (D)
  const Array<double>& std() const noexcept { return std_; }    ///< (D)

 private:
  Array<double> mean_, std_;
};

}  // namespace xtgrad
