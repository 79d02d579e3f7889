// Linear: y = x W^T + b.
#pragma once

#include "xtgrad/layers/module.hpp"

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
  Linear(std::size_t inputs, std::size_t outputs, LinearOptions options = {});

  /// (O, I)
  Tensor<T>& weight() noexcept { return weight_; }
  /// (O); undefined without a bias.
  Tensor<T>& bias() noexcept { return bias_; }

  /// Throws unless x is (N, I).
  Tensor<T> forward(const Tensor<T>& x) override;
  void visit(Visitor<T>& v) override;
  std::string name() const override;
  template <class U> Linear<U> rebuilt() const {
    return {weight_.shape()[1], weight_.shape()[0], {.bias = bias_.defined()}};
  }

 private:
  Tensor<T> weight_, bias_;
};

extern template class Linear<float>;
extern template class Linear<double>;

}  // namespace xtgrad
