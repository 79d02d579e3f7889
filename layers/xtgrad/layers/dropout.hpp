// Dropout: zeros at random in training mode (Srivastava et al. 2014).
#pragma once

#include "xtgrad/check.hpp"
#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/normalise.hpp"

namespace xtgrad {

/// In training mode each element is 0 with probability p and x / (1 - p) otherwise, so that its mean stays what it is
/// in eval mode: x. Draws from the thread's default generator.
template <class T = float> class Dropout final : public Layer<Dropout<T>, T> {
 public:
  /// Throws unless 0 <= p <= 1.
  explicit Dropout(double p = 0.5) : p_(p) { check(p >= 0 && p <= 1, "Dropout: p is {}, expected a probability", p); }
  Tensor<T> forward(const Tensor<T>& x) override { return this->training() ? dropout(x, p_) : x; }
  std::string name() const override { return fmt::format("Dropout({})", p_); }
  template <class U> Dropout<U> rebuilt() const { return Dropout<U>(p_); }

 private:
  double p_;
};

}  // namespace xtgrad
