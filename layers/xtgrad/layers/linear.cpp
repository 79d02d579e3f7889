#include "xtgrad/layers/linear.hpp"

#include <cmath>

#include "xtgrad/check.hpp"
#include "xtgrad/init.hpp"
#include "xtgrad/ops/matmul.hpp"

namespace xtgrad {

template <class T> Linear<T>::Linear(std::size_t inputs, std::size_t outputs, LinearOptions options) {
  check(inputs > 0 && outputs > 0, "Linear: {} inputs and {} outputs, expected at least one of each", inputs, outputs);
  const double bound = 1 / std::sqrt(static_cast<double>(inputs));
  weight_ = Tensor<T>::zeros({outputs, inputs}).requires_grad(true);
  init::uniform(weight_, bound);
  if (!options.bias) return;
  bias_ = Tensor<T>::zeros({outputs}).requires_grad(true);
  init::uniform(bias_, bound);
}

template <class T> Tensor<T> Linear<T>::forward(const Tensor<T>& x) { return linear(x, weight_, bias_); }

template <class T> void Linear<T>::visit(Visitor<T>& v) {
  v.parameter("weight", weight_);
  v.parameter("bias", bias_);
}

template <class T> std::string Linear<T>::name() const {
  return fmt::format("Linear({}, {}{})", weight_.shape()[1], weight_.shape()[0], bias_.defined() ? "" : ", no bias");
}

template class Linear<float>;
template class Linear<double>;

}  // namespace xtgrad
