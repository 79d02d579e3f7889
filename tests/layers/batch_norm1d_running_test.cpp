// The running statistics of BatchNorm1d.
#include "batch_norm1d.hpp"

namespace xtgrad {
namespace {

using oracle::Axes3;
using oracle::close;
using oracle::Real;
using oracle::Reals;
using oracle::reals;
using oracle::tensor;
using oracle::trained;
using oracle::within_an_ulp;
using oracle::words;

struct RunningCase {
  Shape shape;
  std::optional<double> momentum;
};

class BatchNorm1dRunning : public ::testing::TestWithParam<RunningCase> {};

template <class T> void expect_running_statistics(const RunningCase& c) {
  const std::size_t C = c.shape[1];
  BatchNorm1d<T> bn(C, {.momentum = c.momentum});
  Generator g(7);
  Reals mean(C, 0), var(C, 1);
  for (int batch = 1; batch <= 5; ++batch) {
    const Tensor<T> x = g.normal<T>(c.shape, 2 * batch, batch);
    bn(x);
    const oracle::Moments fresh = oracle::moments(reals(x), Axes3(c.shape));
    const Real a = c.momentum ? static_cast<Real>(*c.momentum) : 1 / static_cast<Real>(batch);
    for (std::size_t i = 0; i < C; ++i) {
      mean[i] = (1 - a) * mean[i] + a * fresh.mean[i];
      var[i] = (1 - a) * var[i] + a * fresh.unbiased[i];
    }
    EXPECT_TRUE(within_an_ulp(bn.running_mean(), mean, 10)) << "batch " << batch;
    EXPECT_TRUE(within_an_ulp(bn.running_var(), var, 10)) << "batch " << batch;
    EXPECT_EQ(bn.num_batches_tracked(), batch);
    mean = reals(bn.running_mean());
    var = reals(bn.running_var());
  }
}

TEST_P(BatchNorm1dRunning, Statistics) {
  expect_running_statistics<float>(GetParam());
  expect_running_statistics<double>(GetParam());
}

std::vector<RunningCase> running_cases() {
  std::vector<RunningCase> list;
  for (const Shape& shape : {Shape{2, 3}, Shape{5, 1}, Shape{40, 9}, Shape{3, 4, 2}, Shape{1, 2, 5}})
    for (const std::optional<double> momentum : {std::optional(0.1), {0.0}, {1.0}, {0.75}, {}})
      list.push_back({shape, momentum});
  return list;
}

std::string name_of(const RunningCase& c) {
  return words(c.shape) + (c.momentum ? "_momentum" + std::to_string(std::lround(100 * *c.momentum)) : "_cumulative");
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dRunning, ::testing::ValuesIn(running_cases()),
                         [](const auto& one) { return name_of(one.param); });

TEST(BatchNorm1d, CumulativeAverageIsTheMeanOfTheBatches) {
  BatchNorm1d<double> bn(1, {.momentum = std::nullopt});
  for (const double centre : {1.0, 5.0, 12.0})  // unbiased variances 2, 50, 288
    bn(tensor<double>({2, 1}, {centre - centre, centre + centre}));
  EXPECT_NEAR(bn.running_mean().value()(0), 6, 1e-14);
  EXPECT_NEAR(bn.running_var().value()(0), (2.0 + 50 + 288) / 3, 1e-12);
}

TEST(BatchNorm1d, MomentumZeroOnlyCounts) {
  BatchNorm1d<double> bn(1, {.momentum = 0});
  bn(tensor<double>({2, 1}, {7, 9}));
  EXPECT_EQ(bn.running_mean().value()(0), 0);
  EXPECT_EQ(bn.running_var().value()(0), 1);
  EXPECT_EQ(bn.num_batches_tracked(), 1);
}

TEST(BatchNorm1d, TheInitialRunningValueFadesAsAPower) {
  BatchNorm1d<double> bn(1);
  bn.set_running_statistics(Tensor<double>{1}.value(), Tensor<double>{1}.value());
  for (int t = 0; t < 50; ++t) bn(tensor<double>({2, 1}, {-1, 1}));
  EXPECT_NEAR(bn.running_mean().value()(0), std::pow(0.9, 50), 1e-15);
}

TEST(BatchNorm1d, TheRunningMeanScattersAsPredicted) {
  // Standard error sigma * sqrt(a / ((2 - a) m)), from 4000 channels after 60 batches: within 5 %.
  const std::size_t C = 4000, m = 4;
  const double a = 0.2, sigma = 3;
  BatchNorm1d<double> bn(C, {.momentum = a});
  Generator g(5);
  for (int t = 0; t < 60; ++t) bn(g.normal<double>({m, C}, 0, sigma));
  double squares = 0;
  for (const double value : bn.running_mean().value().storage()) squares += value * value;
  const double predicted = sigma * std::sqrt(a / ((2 - a) * static_cast<double>(m)));
  EXPECT_NEAR(std::sqrt(squares / static_cast<double>(C)) / predicted, 1, 0.05);
}

TEST(BatchNorm1d, AForwardWithoutBackwardUpdatesToo) {
  BatchNorm1d<double> bn(1);
  const NoGrad guard;
  bn(tensor<double>({2, 1}, {7, 9}));
  EXPECT_EQ(bn.num_batches_tracked(), 1);
  EXPECT_DOUBLE_EQ(bn.running_mean().value()(0), 0.8);
}

TEST(BatchNorm1d, BackwardUpdatesNothing) {
  BatchNorm1d<double> bn(2);
  const Tensor<double> x = trained(Generator(1).normal<double>({4, 2}));
  const Tensor<double> y = bn(x);
  const std::vector<double> mean(bn.running_mean().data(), bn.running_mean().data() + 2);
  y.backward(Generator(2).normal<double>({4, 2}));
  EXPECT_TRUE(close(bn.running_mean(), mean, 0));
  EXPECT_EQ(bn.num_batches_tracked(), 1);
}

TEST(BatchNorm1d, RunningStatisticsAreNotTrained) {
  BatchNorm1d<double> bn(2);
  EXPECT_FALSE(bn.running_mean().requires_grad());
  EXPECT_FALSE(bn.running_var().requires_grad());
}

// 1 - (1 - a)^t rounds: for a constant channel the initial variance must be left out exactly, and a tiny a still counts.
TEST(BatchNorm1d, DebiasedVarianceOfAConstantChannelIsZeroAndNeverBelow) {
  for (const double a : {1e-300, 1e-17, 1e-9, 0.01, 0.1, 0.3, 0.7, 0.9, 1.0}) {
    BatchNorm1d<double> bn(2, {.momentum = a, .debias = true});
    for (int t = 1; t <= 4; ++t) {
      bn(Tensor<double>{{5, 1}, {5, 2}, {5, 6}});
      EXPECT_EQ(bn.running_var().data()[0], 0) << a << ", batch " << t;
      EXPECT_NEAR(bn.running_mean().data()[0], 5, 1e-14) << a << ", batch " << t;
      EXPECT_NEAR(bn.running_var().data()[1], 7, 1e-14) << a << ", batch " << t;
      bn.load_state_dict(bn.state_dict());
    }
  }
}

}  // namespace
}  // namespace xtgrad
