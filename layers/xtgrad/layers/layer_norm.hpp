// LayerNorm: each row normalised by itself (Ba, Kiros and Hinton 2016).
#pragma once

#include "xtgrad/check.hpp"
#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/normalise.hpp"

namespace xtgrad {

/// Options of LayerNorm.
struct LayerNormOptions {
  double eps = 1e-5;   ///< added to the variance, inside the root
  bool affine = true;  ///< have gamma and beta
};

/// x (..., D): y = gamma * (x - mean) / sqrt(var + eps) + beta with each row's own mean and biased variance. It has no
/// running statistics, and does the same in both modes.
template <class T = float> class LayerNorm final : public Layer<LayerNorm<T>, T> {
 public:
  /// Throws unless D is 2 or more and eps is a number from 0 up.
  explicit LayerNorm(std::size_t D, LayerNormOptions options = {}) : D_(D), options_(options) {
    check(D >= 2, "LayerNorm: rows of {}, expected 2 or more values", D);
    check(options.eps >= 0 && options.eps < 1e300, "LayerNorm: eps is {}, expected a number from 0 up", options.eps);
    if (!options.affine) return;
    gamma_ = Tensor<T>::ones({D}).requires_grad(true);
    beta_ = Tensor<T>::zeros({D}).requires_grad(true);
  }

  /// gamma and beta (D); undefined if not affine.
  Tensor<T>& gamma() noexcept { return gamma_; }
  Tensor<T>& beta() noexcept { return beta_; }

  /// Throws unless the last axis of x is D.
  Tensor<T> forward(const Tensor<T>& x) override {
    check(!x.shape().empty() && x.shape().back() == D_, "LayerNorm: input is {}, expected (..., {})", x.shape(), D_);
    return layer_norm(x, gamma_, beta_, options_.eps);
  }
  void visit(Visitor<T>& v) override {
    v.parameter("weight", gamma_);
    v.parameter("bias", beta_);
  }
  std::string name() const override {
    return fmt::format("LayerNorm({}{})", D_, options_.affine ? "" : ", not affine");
  }
  template <class U> LayerNorm<U> rebuilt() const { return LayerNorm<U>(D_, options_); }

 private:
  std::size_t D_;
  LayerNormOptions options_;
  Tensor<T> gamma_, beta_;
};

}  // namespace xtgrad
