// Bugs that other libraries shipped in their batch normalisation, with the numbers of their issues and pull requests, and
// for each a test that fails on exactly that.
#include <cmath>
#include <cstdint>

#include "batch_norm1d.hpp"
#include "xtgrad/batchnorm/shards.hpp"

namespace xtgrad {
namespace {

using oracle::array;
using oracle::close;
using oracle::kInf;
using oracle::Real;
using oracle::same;
using oracle::tensor;
using oracle::trained;
using oracle::within_an_ulp;

// --- The running variance

// Keras 8982, MLX until 3817: the biased variance of the batch.
TEST(BugsOfOthers, TheRunningVarianceIsUnbiased) {
  BatchNorm1d<double> bn(1, {.momentum = 1});
  bn(tensor<double>({4, 1}, {0, 0, 2, 2}));  // biased: 1
  EXPECT_DOUBLE_EQ(bn.running_var().item(), 4.0 / 3);
}

// mlpack 2474: the factor m / (m - 1 + eps), which would be 1 here.
TEST(BugsOfOthers, EpsDoesNotDampTheFactorOfTheRunningVariance) {
  BatchNorm1d<double> bn(1, {.eps = 1, .momentum = 1});
  bn(tensor<double>({2, 1}, {1, -1}));
  EXPECT_EQ(bn.running_var().item(), 2);
}

// The factor N / (N - 1), which would be 2 here, where a channel has N * L values.
TEST(BugsOfOthers, TheFactorOfTheRunningVarianceCountsValuesNotRows) {
  BatchNorm1d<double> bn(1, {.momentum = 1});
  bn(tensor<double>({2, 1, 2}, {0, 2, 0, 2}));
  EXPECT_DOUBLE_EQ(bn.running_var().item(), 4.0 / 3);
}

// torch/nn until 1271, PyTorch 1381, Flux 1992: 0 / 0 in the last batch of an epoch.
TEST(BugsOfOthers, ALastBatchOfOneRowPutsNoNaNIntoTheRunningVariance) {
  BatchNorm1d bn(2);
  EXPECT_THROW(bn(Tensor<>::ones({1, 2})), std::invalid_argument);
  EXPECT_TRUE(close(bn.running_var(), {1, 1}, 0));
}

// PyTorch 106605: a negative one is taken as it is, and evaluates to NaN.
TEST(BugsOfOthers, ANegativeRunningVarianceIsRefused) {
  BatchNorm1d bn(1);
  EXPECT_THROW(bn.set_running_statistics(array<float>({0}), array<float>({-1})), std::invalid_argument);
  StateDict<float> state = bn.state_dict();
  for (auto& [name, value] : state)
    if (name == "running_var") value = Tensor<>{-1};
  EXPECT_THROW(bn.load_state_dict(state), std::invalid_argument);
}

// --- Digits

// PyTorch 5410, Caffe 3963: the mean is off by a rounding, and the output is -1 or 1.
TEST(BugsOfOthers, AConstantTenMillionGivesBeta) {
  for (const std::size_t m : {3U, 100U, 1000U}) {  // sums of 1e7 in float are exact up to 214 rows
    BatchNorm1d bn(1, {.momentum = 1});
    oracle::assign(bn.beta(), Tensor<>{0.5F});
    EXPECT_TRUE(close(bn(Tensor<>::full({m, 1}, 1e7F)), std::vector<double>(m, 0.5), 0));
    EXPECT_EQ(bn.running_var().item(), 0);
  }
}

// PyTorch 2470: sums of squares in float make it 0, where it is 1/64.
TEST(BugsOfOthers, TheVarianceOfQuarterStepsAtTwoThousandIsExact) {
  BatchNorm1d bn(1, {.eps = 0, .momentum = 1, .affine = false});
  EXPECT_TRUE(close(bn(tensor<float>({2, 1}, {2281.5, 2281.25})), {1, -1}, 0));
  EXPECT_TRUE(close(bn.running_var(), {1.0 / 32}, 0));
}

// flax 1491, TensorFlow 3290: E[x^2] - E[x]^2 in float, far below zero here.
TEST(BugsOfOthers, ALargeMeanDoesNotMakeTheVarianceNegative) {
  for (const double mean : {1e4, 1e6, 8e6}) {
    BatchNorm1d bn(1, {.eps = 0, .momentum = 1, .affine = false});
    EXPECT_TRUE(close(bn(tensor<float>({4, 1}, {mean - 1, mean + 1, mean + 1, mean - 1})), {-1, 1, 1, -1}, 0));
    EXPECT_NEAR(oracle::wide(bn.running_var().item()), 4.0 / 3, 1e-7);
  }
}

// Julia's Statistics 83: Welford's updates in float are off by 1 %, since a row's share is soon below half a unit.
TEST(BugsOfOthers, TenMillionRowsLoseNoDigits) {
  constexpr std::size_t m = 10'000'000;
  Array<float> x = empty_array<float>({m, 1});
  std::uint64_t sum = 0, squares = 0;  // of k in x = 8192 + k / 1024, which is exact
  for (std::size_t n = 0; n < m; ++n) {
    const std::uint64_t k = n * 0x9E3779B97F4A7C15U >> 44U;
    sum += k;
    squares += k * k;
    x.data()[n] = 8192 + static_cast<float>(k) / 1024;
  }
  const Real count = m, total = static_cast<Real>(sum);
  const Real m2 = static_cast<Real>(squares) - total * total / count;

  BatchNorm1d bn(1, {.momentum = 1});
  const NoGrad no_graph;
  bn(Tensor<>(std::move(x)));
  EXPECT_TRUE(within_an_ulp(bn.running_mean(), {8192 + total / count / 1024}, 0));
  EXPECT_TRUE(within_an_ulp(bn.running_var(), {m2 / (count - 1) / 1024 / 1024}, 0));
}

// PyTorch 90342: they stay NaN for ever.
TEST(BugsOfOthers, OneInfinityDoesNotPoisonTheRunningStatistics) {
  BatchNorm1d bn(1, {.momentum = 1});
  bn(Tensor<>{{1}, {kInf}, {2}});
  bn(Tensor<>{{1}, {3}});
  EXPECT_TRUE(close(bn.running_mean(), {2}, 0));
  EXPECT_TRUE(close(bn.running_var(), {2}, 0));
}

// --- Which statistics, and when

// SystemML 390: the running averages normalise also in training.
TEST(BugsOfOthers, TrainingNormalisesWithTheBatch) {
  BatchNorm1d<double> bn(2), other(2);
  other.set_running_statistics(array<double>({1, -2}), array<double>({4, 0.25}));
  const Tensor<double> x = Generator(1).normal<double>({6, 2}, 3, 2);
  EXPECT_TRUE(same(bn(x), other(x)));
}

// candle until 1504: nothing writes them, and eval mode normalises with 0 and 1.
TEST(BugsOfOthers, TrainingWritesTheRunningStatistics) {
  BatchNorm1d<double> bn(1, {.eps = 0, .momentum = 1});
  bn(tensor<double>({2, 1}, {4, 6}));
  bn.eval();
  EXPECT_TRUE(close(bn(tensor<double>({1, 1}, {7})), {std::sqrt(2.0)}, 1e-15));  // mean 5, variance 2
}

// oneflow 6055: the momentum as the weight of the old value.
TEST(BugsOfOthers, MomentumIsTheWeightOfTheNewValue) {
  BatchNorm1d<double> bn(1, {.momentum = 0.25});
  bn(tensor<double>({2, 1}, {7, 9}));
  EXPECT_EQ(bn.running_mean().item(), 0.25 * 8);
  EXPECT_EQ(bn.running_var().item(), 0.75 + 0.25 * 2);
}

// chainer 2149: no eps in eval mode.
TEST(BugsOfOthers, EvalAddsEpsToTheRunningVariance) {
  BatchNorm1d<double> bn(1, {.eps = 3, .affine = false});
  bn.eval();
  EXPECT_TRUE(close(bn(tensor<double>({2, 1}, {1, -1})), {0.5, -0.5}, 1e-16));
}

// --- Gradients

// PyTorch 586, PyTorch/XLA 913, MXNet 9580: the gradient of training.
TEST(BugsOfOthers, InEvalTheGradientIsThatOfAnAffineMap) {
  BatchNorm1d<double> bn(1, {.eps = 0});
  bn.set_running_statistics(array<double>({5}), array<double>({4}));
  oracle::assign(bn.gamma(), Tensor<double>{3});
  bn.eval();
  const Tensor<double> x = trained(tensor<double>({3, 1}, {1, 2, 3}));
  bn(x).backward(tensor<double>({3, 1}, {2, -4, 8}));
  EXPECT_TRUE(close(x.grad(), {3, -6, 12}, 1e-15));
}

// torch/nn 768, tiny-dnn: the layer keeps what backward reads, and any forward pass replaces it.
TEST(BugsOfOthers, AnEvalForwardBeforeBackwardDoesNotChangeTheGradient) {
  const Tensor<double> dy = Generator(2).normal<double>({6, 2});
  const auto gradient = [&](bool eval_in_between) {
    BatchNorm1d<double> bn(2);
    const Tensor<double> x = trained(Generator(1).normal<double>({6, 2}, 3, 2)), y = bn(x);
    if (eval_in_between) {
      bn.eval();
      bn(Generator(3).normal<double>({4, 2}));
    }
    y.backward(dy);
    return x.grad();
  };
  EXPECT_TRUE(same(gradient(true), gradient(false)));
}

// tiny-dnn: means over m in the gradient of an output that was divided by m - 1; 19 % off at m = 4.
TEST(BugsOfOthers, TheGradientIsThatOfTheVarianceThatNormalises) {
  BatchNorm1d<double> bn(1, {.eps = 0, .affine = false});
  const Tensor<double> x = trained(tensor<double>({4, 1}, {0, 1, 2, 5}));
  const Tensor<double> v = tensor<double>({4, 1}, {1, -2, 0.5, 3});
  bn(x).backward(v);
  const auto value = [&](double shift) {
    const Tensor<double> y = bn(tensor<double>({4, 1}, {0 + shift, 1, 2, 5}));
    double total = 0;
    for (std::size_t i = 0; i < 4; ++i) total += y.data()[i] * v.data()[i];
    return total;
  };
  const double h = 1e-5;
  EXPECT_NEAR(x.grad().data()[0], (value(h) - value(-h)) / (2 * h), 1e-8);
}

// --- A batch in parts

// PyTorch 22192, Paddle 32464: each part as if it had as many rows as the others.
TEST(BugsOfOthers, ShardsWeighByTheirRows) {
  Sequential<double> net{BatchNorm1d<double>(1, {.eps = 0, .momentum = 1})};
  const auto y = forward_shards(net, {tensor<double>({3, 1}, {1, 1, 1}), tensor<double>({1, 1}, {5})});
  const auto& bn = net.get<BatchNorm1d<double>>(0);
  EXPECT_TRUE(close(bn.running_mean(), {2}, 1e-15));  // not the mean of 1 and 5
  EXPECT_TRUE(close(bn.running_var(), {4}, 1e-15));
  EXPECT_TRUE(close(y[1], {std::sqrt(3.0)}, 1e-15));
}

// PyTorch 36530: a part without rows is an error, while the others wait for it.
TEST(BugsOfOthers, AnEmptyShardIsWelcome) {
  const Tensor<double> x = trained(tensor<double>({3, 1}, {1, 2, 6})), none = trained(Tensor<double>::zeros({0, 1}));
  Sequential<double> net{BatchNorm1d<double>(1)}, whole{BatchNorm1d<double>(1)};
  const auto y = forward_shards(net, {none, x});
  EXPECT_EQ(y[0].shape(), (Shape{0, 1}));
  EXPECT_TRUE(same(y[1], whole(x)));
  y[1].backward(tensor<double>({3, 1}, {1, 0, -2}));
  EXPECT_EQ(none.grad().shape(), (Shape{0, 1}));
}

}  // namespace
}  // namespace xtgrad
