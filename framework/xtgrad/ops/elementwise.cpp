#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {

#define XTGRAD_UNARY(function, Op)                         \
  template <class T>                                       \
  Tensor<T> function(const Tensor<T>& x) {                 \
    return elementwise<formulas::Op>(x);                   \
  }                                                        \
  template Tensor<float> function(const Tensor<float>& x); \
  template Tensor<double> function(const Tensor<double>& x);

#define XTGRAD_BINARY(function, Op)                                                \
  template <class T>                                                               \
  Tensor<T> function(const Tensor<T>& x, const Tensor<T>& y) {                     \
    return elementwise<formulas::Op>(x, y);                                        \
  }                                                                                \
  template Tensor<float> function(const Tensor<float>& x, const Tensor<float>& y); \
  template Tensor<double> function(const Tensor<double>& x, const Tensor<double>& y);

XTGRAD_UNARY(neg, Neg)
XTGRAD_UNARY(exp, Exp)
XTGRAD_UNARY(log, Log)
XTGRAD_UNARY(sqrt, Sqrt)
XTGRAD_UNARY(relu, Relu)
XTGRAD_UNARY(tanh, Tanh)
XTGRAD_UNARY(sigmoid, Sigmoid)
XTGRAD_BINARY(add, Add)
XTGRAD_BINARY(sub, Sub)
XTGRAD_BINARY(mul, Mul)
XTGRAD_BINARY(div, Div)
XTGRAD_BINARY(greater, Greater)

template <class T>
Tensor<T> where(const Tensor<T>& condition, const std::type_identity_t<Tensor<T>>& x,
                const std::type_identity_t<Tensor<T>>& y) {
  return elementwise<formulas::Where>(condition, x, y);
}
template Tensor<float> where(const Tensor<float>&, const Tensor<float>&, const Tensor<float>&);
template Tensor<double> where(const Tensor<double>&, const Tensor<double>&, const Tensor<double>&);

}  // namespace xtgrad
