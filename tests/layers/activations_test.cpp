#include "xtgrad/layers/activations.hpp"

#include <gtest/gtest.h>

#include "oracle.hpp"
#include "xtgrad/layers/sequential.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::tensor;
using oracle::trained;

const std::vector<double> kPoints{-30, -2, -0.5, -0.0, 0, 0.25, 1, 3, 30};

template <class T, class F, class D> void expect_function(Module<T>& layer, F value, D derivative) {
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

template <template <class> class Layer, class F, class D> void expect_in_both_precisions(F value, D derivative) {
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

TEST(Gelu, IsTheInputTimesTheNormalDistributionFunction) {
  const auto Phi = [](long double x) { return std::erfc(-x / std::sqrt(2.0L)) / 2; };
  const auto phi = [](long double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0L)); };
  expect_in_both_precisions<Gelu>([&](long double x) { return x * Phi(x); },
                                  [&](long double x) { return Phi(x) + x * phi(x); });
}

TEST(Softplus, IsTheIntegralOfTheLogisticFunction) {
  expect_in_both_precisions<Softplus>([](long double x) { return std::log1p(std::exp(x)); },
                                      [](long double x) { return 1 / (1 + std::exp(-x)); });
}

TEST(LeakyRelu, HasItsSlopeWhereTheInputIsNotPositive) {
  const LeakyRelu<double> by_default;
  LeakyRelu<double> layer(0.25);
  const Tensor<double> x = trained(tensor<double>({4}, {-4, 0, 1e-30, 7}));
  const Tensor<double> y = layer(x);
  y.backward(Tensor<double>::full({4}, 2));
  EXPECT_TRUE(close(y, {-1, 0, 1e-30, 7}, 0));
  EXPECT_TRUE(close(x.grad(), {0.5, 0.5, 2, 2}, 0));
  EXPECT_EQ(by_default.name(), "LeakyReLU(0.01)");
  EXPECT_EQ(layer.name(), "LeakyReLU(0.25)");
}

TEST(Softmax, GivesEachRowTheSumOne) {
  Softmax<double> layer;
  EXPECT_TRUE(close(layer(tensor<double>({2, 2}, {0, std::log(3.0), 1000, 1000})), {0.25, 0.75, 0.5, 0.5}, 1e-15));
}

TEST(Identity, IsItsInput) {
  Identity layer;
  const Tensor<> x = trained(Tensor<>{{1, 2}});
  EXPECT_EQ(layer(x).data(), x.data());
}

TEST(Activations, HaveNoState) {
  Relu relu;
  Tanh tanh;
  Sigmoid sigmoid;
  for (Module<float>* layer :
       {static_cast<Module<float>*>(&relu), static_cast<Module<float>*>(&tanh), static_cast<Module<float>*>(&sigmoid)})
    EXPECT_TRUE(layer->state_dict().empty());
  EXPECT_TRUE((Sequential{Gelu(), Softplus(), Softmax(), LeakyRelu(), Identity()}).state_dict().empty());
}

TEST(Activations, HavePyTorchsNames) {
  EXPECT_EQ(Relu().name(), "ReLU");
  EXPECT_EQ(Tanh().name(), "Tanh");
  EXPECT_EQ(Sigmoid().name(), "Sigmoid");
  EXPECT_EQ(Gelu().name(), "GELU");
  EXPECT_EQ(Softplus().name(), "Softplus");
  EXPECT_EQ(Softmax().name(), "Softmax");
  EXPECT_EQ(Identity().name(), "Identity");
}

TEST(Activations, TakeAnyShape) {
  Tanh layer;
  for (const Shape& shape : {Shape{}, Shape{0, 3}, Shape{2, 3, 4}})
    EXPECT_EQ(layer(Tensor<>::zeros(shape)).shape(), shape);
}

}  // namespace
}  // namespace xtgrad
