#include "xtgrad/layers/activations.hpp"

#include <gtest/gtest.h>

#include "oracle.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::tensor;
using oracle::trained;

const std::vector<double> kPoints{-30, -2, -0.5, -0.0, 0, 0.25, 1, 3, 30};

template <class T, class F, class D>
void expect_function(Module<T>& layer, F value, D derivative) {
  const Tensor<T> x = trained(tensor<T>({3, 3}, kPoints));
  const Tensor<T> y = layer(x);
  std::vector<double> dy, want_y, want_dx;
  for (std::size_t i = 0; i < kPoints.size(); ++i) {
    dy.push_back(1.0 + static_cast<double>(i));
    const long double p = static_cast<long double>(kPoints[i]);
    want_y.push_back(static_cast<double>(value(p)));
    want_dx.push_back(dy.back() * static_cast<double>(derivative(p)));
  }
  y.backward(tensor<T>({3, 3}, dy));
  const double epsilon = oracle::wide(std::numeric_limits<T>::epsilon());
  EXPECT_EQ(y.shape(), x.shape());
  EXPECT_TRUE(close(y, want_y, 2 * epsilon));
  EXPECT_TRUE(close(x.grad(), want_dx, 20 * epsilon));
}

template <template <class> class Layer, class F, class D>
void expect_in_both_precisions(F value, D derivative) {
  Layer<float> single;
  Layer<double> twice;
  expect_function<float>(single, value, derivative);
  expect_function<double>(twice, value, derivative);
}

TEST(Relu, IsMaxWithZeroAndPassesTheGradientAboveZeroOnly) {
  Relu layer;
  const Tensor<> x = trained(tensor<float>({5}, {-3, -0.0, 0, 1e-30, 7}));
  const Tensor<> y = layer(x);
  y.backward(Tensor<>::full({5}, 2));
  EXPECT_TRUE(close(y, {0, 0, 0, oracle::wide(1e-30F), 7}, 0));
  EXPECT_TRUE(close(x.grad(), {0, 0, 0, 2, 2}, 0));
}

TEST(Tanh, IsTanhWithDerivativeOneMinusItsSquare) {
  expect_in_both_precisions<Tanh>([](long double x) { return std::tanh(x); },
                                  [](long double x) { return 1 / (std::cosh(x) * std::cosh(x)); });
}

TEST(Sigmoid, IsTheLogisticFunctionWithItsDerivative) {
  expect_in_both_precisions<Sigmoid>(
      [](long double x) { return 1 / (1 + std::exp(-x)); },
      [](long double x) { return std::exp(-x) / ((1 + std::exp(-x)) * (1 + std::exp(-x))); });
}

TEST(Sigmoid, SaturatesWithoutNaN) {
  Sigmoid<double> layer;
  const Tensor<double> x = trained(tensor<double>({2}, {-1e4, 1e4}));
  const Tensor<double> y = layer(x);
  y.backward(Tensor<double>::ones({2}));
  EXPECT_TRUE(close(y, {0, 1}, 0));
  EXPECT_TRUE(close(x.grad(), {0, 0}, 0));
}

TEST(Activations, HaveNoState) {
  Relu relu;
  Tanh tanh;
  Sigmoid sigmoid;
  for (Module<float>* layer :
       {static_cast<Module<float>*>(&relu), static_cast<Module<float>*>(&tanh), static_cast<Module<float>*>(&sigmoid)})
    EXPECT_TRUE(layer->state_dict().empty());
}

TEST(Activations, HavePyTorchsNames) {
  EXPECT_EQ(Relu().name(), "ReLU");
  EXPECT_EQ(Tanh().name(), "Tanh");
  EXPECT_EQ(Sigmoid().name(), "Sigmoid");
}

TEST(Activations, TakeAnyShape) {
  Tanh layer;
  for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{2, 3, 4}})
    EXPECT_EQ(layer(Tensor<>::zeros(shape)).shape(), shape);
}

}  // namespace
}  // namespace xtgrad
