#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {

#define XTGRAD_UNARY(function, Op)                                                                   \
  template <class T> Tensor<T> function(const Tensor<T>& x) { return elementwise<formulas::Op>(x); } \
  template Tensor<float> function(const Tensor<float>& x);                                           \
  template Tensor<double> function(const Tensor<double>& x);

#define XTGRAD_BINARY(function, Op, Y)                                                                              \
  template <class T> Tensor<T> function(const Tensor<T>& x, const Y& y) { return elementwise<formulas::Op>(x, y); } \
  template Tensor<float> function(const Tensor<float>& x, const Tensor<float>& y);                                  \
  template Tensor<double> function(const Tensor<double>& x, const Tensor<double>& y);

// The type of an argument that may also be a plain number.
template <class T> using OrNumber = std::type_identity_t<Tensor<T>>;

XTGRAD_UNARY(neg, Neg)
XTGRAD_UNARY(exp, Exp)
XTGRAD_UNARY(log, Log)
XTGRAD_UNARY(sqrt, Sqrt)
XTGRAD_UNARY(abs, Abs)
XTGRAD_UNARY(erf, Erf)
XTGRAD_UNARY(relu, Relu)
XTGRAD_UNARY(tanh, Tanh)
XTGRAD_UNARY(sigmoid, Sigmoid)
XTGRAD_UNARY(gelu, Gelu)
XTGRAD_UNARY(softplus, Softplus)
XTGRAD_BINARY(add, Add, Tensor<T>)
XTGRAD_BINARY(sub, Sub, Tensor<T>)
XTGRAD_BINARY(mul, Mul, Tensor<T>)
XTGRAD_BINARY(div, Div, Tensor<T>)
XTGRAD_BINARY(greater, Greater, Tensor<T>)
XTGRAD_BINARY(pow, Pow, OrNumber<T>)
XTGRAD_BINARY(maximum, Maximum, OrNumber<T>)
XTGRAD_BINARY(minimum, Minimum, OrNumber<T>)

template <class T> Tensor<T> where(const Tensor<T>& condition, const OrNumber<T>& x, const OrNumber<T>& y) {
  return elementwise<formulas::Where>(condition, x, y);
}

template <class T> Tensor<T> leaky_relu(const Tensor<T>& x, double slope) {
  return elementwise<formulas::LeakyRelu>(x, Tensor<T>(static_cast<T>(slope)));
}

template <class T> Tensor<T> clamp(const Tensor<T>& x, double low, double high) {
  check(low <= high, "clamp: low is {}, high {}", low, high);
  return elementwise<formulas::Clamp>(x, Tensor<T>(static_cast<T>(low)), Tensor<T>(static_cast<T>(high)));
}

#define XTGRAD_INSTANTIATE(T)                                                     \
  template Tensor<T> where(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&); \
  template Tensor<T> leaky_relu(const Tensor<T>&, double);                        \
  template Tensor<T> clamp(const Tensor<T>&, double, double);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
