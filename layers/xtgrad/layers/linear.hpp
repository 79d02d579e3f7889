// Linear: y = x W^T + b.
#pragma once

#include <cmath>

#include "xtgrad/check.hpp"
#include "xtgrad/init.hpp"
#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/matmul.hpp"

namespace xtgrad {

/// Options of Linear.
struct LinearOptions {
  bool bias = true;  ///< add a bias; before a BatchNorm it is dead weight, because the mean takes it away again
};

/// x (N, I) -> (N, O) with weight (O, I) and bias (O), both drawn uniformly from [-1/sqrt(I), 1/sqrt(I)] as
/// in PyTorch.
template <class T = float> class Linear final : public Layer<Linear<T>, T> {
 public:
  /// Throws if I or O is 0.
  Linear(std::size_t inputs, std::size_t outputs, LinearOptions options = {}) {
    check(inputs > 0 && outputs > 0, "Linear: {} inputs and {} outputs, expected at least one of each", inputs,
          outputs);
    const double bound = 1 / std::sqrt(static_cast<double>(inputs));
    weight_ = Tensor<T>::zeros({outputs, inputs}).requires_grad(true);
    init::uniform(weight_, bound);
    if (!options.bias) return;
    bias_ = Tensor<T>::zeros({outputs}).requires_grad(true);
    init::uniform(bias_, bound);
  }

  /// (O, I)
  Tensor<T>& weight() noexcept { return weight_; }
  /// (O); undefined without a bias.
  Tensor<T>& bias() noexcept { return bias_; }

  /// Throws unless x is (N, I).
  Tensor<T> forward(const Tensor<T>& x) override { return linear(x, weight_, bias_); }
  void visit(Visitor<T>& v) override {
    v.parameter("weight", weight_);
    v.parameter("bias", bias_);
  }
  std::string name() const override {
    return fmt::format("Linear({}, {}{})", weight_.shape()[1], weight_.shape()[0], bias_.defined() ? "" : ", no bias");
  }
  template <class U> Linear<U> rebuilt() const {
    return {weight_.shape()[1], weight_.shape()[0], {.bias = bias_.defined()}};
  }

 private:
  Tensor<T> weight_, bias_;
};

}  // namespace xtgrad
