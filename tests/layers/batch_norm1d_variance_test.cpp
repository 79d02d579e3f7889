// BatchNorm1d where a variance is zero, or small beside the mean.
#include "batch_norm1d.hpp"

namespace xtgrad {
namespace {

using oracle::array;
using oracle::Axes3;
using oracle::close;
using oracle::Real;
using oracle::reals;
using oracle::tensor;
using oracle::trained;
using oracle::within_an_ulp;

template <class T> void expect_beta_for_constants() {
  for (const double constant : {1e7, 0.1, 1.0 / 3, -1e30, 0.0, 16777217.0})
    for (const double eps : {0.0, 1e-5})
      for (const Shape& shape : {Shape{3, 1}, Shape{33, 9}, Shape{7, 2, 5}}) {
        BatchNorm1d<T> bn(shape[1], {.eps = eps});
        oracle::assign(bn.gamma(), Generator(1).normal<T>({shape[1]}));
        oracle::assign(bn.beta(), Generator(2).normal<T>({shape[1]}));
        const Tensor<T> y = bn(Tensor<T>::full(shape, static_cast<T>(constant)));
        const Axes3 axes(shape);
        for (std::size_t c = 0; c < axes.C; ++c)
          axes.each_of_channel(
              c, [&](std::size_t i) { ASSERT_EQ(y.data()[i], bn.beta().data()[c]) << constant << " eps " << eps; });
      }
}

TEST(BatchNorm1dEdge, AConstantChannelGivesExactlyBeta) {
  expect_beta_for_constants<float>();
  expect_beta_for_constants<double>();
}

template <class T> void expect_no_gradient_for_constants(bool create_graph) {
  for (const double constant : {1e7, 0.1, 1.0 / 3}) {
    BatchNorm1d<T> bn(2, {.eps = 0});
    const Tensor<T> x = trained(Tensor<T>::full({3, 2}, static_cast<T>(constant)));
    const Tensor<T> dx = grad(bn(x), {x}, {.seed = Generator(3).normal<T>({3, 2}), .create_graph = create_graph})[0];
    EXPECT_TRUE(close(dx, {0, 0, 0, 0, 0, 0}, 0)) << constant;
  }
}

TEST(BatchNorm1dEdge, AConstantChannelAtEpsZeroHasNoGradient) {
  expect_no_gradient_for_constants<float>(false);
  expect_no_gradient_for_constants<double>(false);
}

TEST(BatchNorm1dEdge, AConstantChannelAtEpsZeroHasNoGradientAsAGraphEither) {
  expect_no_gradient_for_constants<float>(true);
  expect_no_gradient_for_constants<double>(true);
}

TEST(BatchNorm1dEdge, AConstantChannelHasTheGradientOfItsDeviations) {
  // inv_std = 1 / sqrt(eps), xhat = 0: dx = gamma / sqrt(eps) * (dy - mean(dy)).
  BatchNorm1d<double> bn(1, {.eps = 0.25});
  const Tensor<double> x = trained(Tensor<double>::full({3, 1}, 0.1));
  bn(x).backward(tensor<double>({3, 1}, {1, 2, 6}));
  EXPECT_TRUE(close(x.grad(), {-4, -2, 6}, 1e-14));
  EXPECT_TRUE(close(bn.gamma().grad(), {0}, 0));
  EXPECT_TRUE(close(bn.beta().grad(), {9}, 0));
}

TEST(BatchNorm1dEdge, ARunningVarianceOfZeroAtEpsZeroGivesBeta) {
  BatchNorm1d<double> bn(1, {.eps = 0});
  bn.set_running_statistics(array<double>({5}), array<double>({0}));
  oracle::assign(bn.beta(), Tensor<double>{7});
  bn.eval();
  const Tensor<double> x = trained(tensor<double>({2, 1}, {1, 9}));
  const Tensor<double> y = bn(x);
  y.backward(tensor<double>({2, 1}, {1, 2}));
  EXPECT_TRUE(close(y, {7, 7}, 0));
  EXPECT_TRUE(close(x.grad(), {0, 0}, 0));
}

TEST(BatchNorm1dEdge, TheGraphOfTheGradientKeepsItsDigitsAtALargeMean) {
  // The derivative of first order is the same number whether its graph is built or not.
  BatchNorm1d bn(3);
  const Tensor<> x = trained(Generator(5).normal<float>({9, 3}, 1e6, 1)), dy = Generator(6).normal<float>({9, 3});
  const Tensor<> plain = grad(bn(x), {x}, {.seed = dy})[0];
  const Tensor<> graph = grad(bn(x), {x}, {.seed = dy, .create_graph = true})[0];
  std::vector<double> want;
  for (const Real v : reals(plain)) want.push_back(static_cast<double>(v));
  EXPECT_TRUE(close(graph, want, 1e-5));
}

TEST(BatchNorm1dEdge, ManyRowsLoseNoDigits) {
  // Float sums of this many values around 1e4 would lose the last digits of the running statistics.
  const std::size_t m = 200000;
  BatchNorm1d bn(1, {.momentum = 1});
  const Tensor<> x = Generator(9).normal<float>({m, 1}, 1e4, 1);
  bn(x);
  const oracle::Moments want = oracle::moments(reals(x), Axes3({m, 1}));
  EXPECT_TRUE(within_an_ulp(bn.running_mean(), want.mean, 0));
  EXPECT_TRUE(within_an_ulp(bn.running_var(), want.unbiased, 0));
}

}  // namespace
}  // namespace xtgrad
