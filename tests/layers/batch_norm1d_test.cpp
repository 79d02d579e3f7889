// BatchNorm1d's numbers: a batch whose results are known, and every formula against the oracle.
#include "xtgrad/layers/batch_norm1d.hpp"

#include "batch_norm1d.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using oracle::Axes3;
using oracle::Case;
using oracle::close;
using oracle::Real;
using oracle::Reals;
using oracle::reals;
using oracle::tensor;
using oracle::trained;
using oracle::within_an_ulp;
using oracle::words;

// A user's question: why is this not (x - mean) / std?
template <class T> Tensor<T> users_x() {
  return {{T(-0.3176), T(-1.0842)}, {T(-1.1290), T(-0.0545)}, {T(-1.7591), T(-0.5150)}};
}

TEST(BatchNorm1d, NormalisesTheUsersBatchWithTheBiasedVariance) {
  BatchNorm1d bn(2, {.affine = false});
  EXPECT_TRUE(close(bn(users_x<float>()), {1.2727, -1.2655, -0.1024, 1.1794, -1.1703, 0.0860}, 5.1e-5));
}

TEST(BatchNorm1d, DoesNotNormaliseTheUsersBatchWithTheUnbiasedVariance) {
  BatchNorm1d bn(2, {.affine = false});
  EXPECT_FALSE(close(bn(users_x<float>()), {1.0392, -1.0333, -0.0836, 0.9630, -0.9556, 0.0702}, 1e-2));
}

TEST(BatchNorm1d, RunningStatisticsOfTheUsersBatch) {
  BatchNorm1d bn(2, {.affine = false});
  bn(users_x<float>());
  EXPECT_TRUE(close(bn.running_mean(), {-0.1069, -0.0551}, 5.1e-5));
  EXPECT_TRUE(close(bn.running_var(), {0.9522, 0.9266}, 5.1e-5));
  EXPECT_EQ(bn.num_batches_tracked(), 1);
}

TEST(BatchNorm1d, MomentumOneTakesOverTheUsersBatch) {
  BatchNorm1d<double> bn(2, {.momentum = 1});
  bn(users_x<double>());
  EXPECT_TRUE(close(bn.running_mean(), {-1.0686, -0.5512}, 5.1e-5));
  EXPECT_TRUE(close(bn.running_var(), {0.5222, 0.2660}, 2e-4));  // known as the square of 0.7227 and 0.5158
}

TEST(BatchNorm1d, StartsWithGammaOneBetaZeroMeanZeroVarianceOne) {
  BatchNorm1d bn(2);
  EXPECT_TRUE(close(bn.gamma(), {1, 1}, 0));
  EXPECT_TRUE(close(bn.beta(), {0, 0}, 0));
  EXPECT_TRUE(close(bn.running_mean(), {0, 0}, 0));
  EXPECT_TRUE(close(bn.running_var(), {1, 1}, 0));
  EXPECT_EQ(bn.num_batches_tracked(), 0);
}

TEST(BatchNorm1d, HasPyTorchsDefaults) {
  const BatchNorm1dOptions options;
  EXPECT_EQ(options.eps, 1e-5);
  EXPECT_EQ(options.momentum, 0.1);
  EXPECT_TRUE(options.affine);
  EXPECT_TRUE(options.track_running_stats);
  EXPECT_EQ(options.non_finite, NonFinite::skip);
}

TEST(BatchNorm1d, WithoutAffineHasNeitherGammaNorBeta) {
  BatchNorm1d bn(2, {.affine = false});
  EXPECT_FALSE(bn.gamma().defined());
  EXPECT_FALSE(bn.beta().defined());
  EXPECT_EQ(bn.parameter_count(), 0U);
}

TEST(BatchNorm1d, PrintsItsChannelsAndWhatIsUnusual) {
  EXPECT_EQ(BatchNorm1d(3).name(), "BatchNorm1d(3)");
  EXPECT_EQ(BatchNorm1d(3, {.affine = false, .track_running_stats = false}).name(),
            "BatchNorm1d(3, not affine, no running statistics)");
}

// Every formula against the oracle, in both precisions.

std::string name_of(const Case& c) {
  return words(c.shape) + (c.affine ? "_affine" : "_plain") +
         (c.eps == 0   ? "_eps0"
          : c.eps == 1 ? "_eps1"
                       : "_eps1em5") +
         (c.statistics == Statistics::batch ? "_batch" : "_running");
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const Shape& shape :
       {Shape{5, 3}, Shape{9, 1}, Shape{34, 9}, Shape{4, 3, 5}, Shape{2, 7, 3}, Shape{1, 2, 3}, Shape{7, 2, 1}})
    for (const bool affine : {true, false})
      for (const double eps : {0.0, 1e-5, 1.0})
        for (const Statistics statistics : {Statistics::batch, Statistics::running})
          list.push_back({shape, affine, eps, statistics});
  return list;
}

// A layer with random gamma, beta and running statistics, and what the oracle says about one batch.
template <class T> struct Trial {
  Tensor<T> x, y, dy;
  BatchNorm1d<T> bn;
  oracle::BatchNorm want;
  Real scale;  // the size of the terms of dx, per unit of dy

  explicit Trial(const Case& c, double mean = 3, double std = 2) : bn(c.shape[1], options_of(c)) {
    Generator g(c.shape[0] * 100 + c.shape[1]);
    const std::size_t C = c.shape[1];
    Reals gamma(C, 1), beta(C, 0);
    if (c.affine) {
      oracle::assign(bn.gamma(), g.uniform<T>({C}, -2, 2));
      oracle::assign(bn.beta(), g.normal<T>({C}));
      gamma = reals(bn.gamma());
      beta = reals(bn.beta());
    }
    bn.set_running_statistics(g.normal<T>({C}, mean, std).value(), g.uniform<T>({C}, 0.5, 3).value());
    const Reals running_mean = reals(bn.running_mean()), running_var = reals(bn.running_var());
    bn.statistics(c.statistics);
    bn.update(false);

    x = trained(g.normal<T>(c.shape, mean, std));
    dy = g.normal<T>(c.shape);
    y = bn(x);
    y.backward(dy);

    const Axes3 axes(c.shape);
    const bool batch = c.statistics == Statistics::batch;
    const oracle::Moments moments = oracle::moments(reals(x), axes);
    const Reals& var = batch ? moments.biased : running_var;
    want = oracle::batch_norm(reals(x), axes, batch ? moments.mean : running_mean, var, gamma, beta,
                              static_cast<Real>(c.eps), reals(dy), batch);
    scale = 0;
    for (std::size_t i = 0; i < C; ++i)
      scale = std::max(scale, std::abs(gamma[i]) / std::sqrt(var[i] + static_cast<Real>(c.eps)) * axes.m());
  }
  static BatchNorm1dOptions options_of(const Case& c) { return {.eps = c.eps, .affine = c.affine}; }
};

class BatchNorm1dFormula : public ::testing::TestWithParam<Case> {};

template <class T> void expect_output(const Case& c) {
  const Trial<T> t(c);
  EXPECT_EQ(t.y.shape(), c.shape);
  EXPECT_TRUE(within_an_ulp(t.y, t.want.y, oracle::largest(t.want.xhat) * 4));
}

TEST_P(BatchNorm1dFormula, Output) {
  expect_output<float>(GetParam());
  expect_output<double>(GetParam());
}

template <class T> void expect_gradients(const Case& c) {
  Trial<T> t(c);
  EXPECT_EQ(t.x.grad().shape(), c.shape);
  EXPECT_TRUE(within_an_ulp(t.x.grad(), t.want.dx, t.scale));
  if (!c.affine) return;
  const Real terms = static_cast<Real>(t.x.size()) * oracle::largest(t.want.xhat);
  EXPECT_TRUE(within_an_ulp(t.bn.gamma().grad(), t.want.dgamma, terms));
  EXPECT_TRUE(within_an_ulp(t.bn.beta().grad(), t.want.dbeta, terms));
}

TEST_P(BatchNorm1dFormula, Gradients) {
  expect_gradients<float>(GetParam());
  expect_gradients<double>(GetParam());
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dFormula, ::testing::ValuesIn(cases()),
                         [](const auto& one) { return name_of(one.param); });

TEST(BatchNorm1d, FloatIsWithinAnUlpAtMeansFarFromZero) {
  for (const double mean : {1e3, 1e6, 1e7})
    for (const Shape& shape : {Shape{33, 9}, Shape{8, 3, 5}}) {
      const Trial<float> t({shape, true, 1e-5, Statistics::batch}, mean, 1);
      EXPECT_TRUE(within_an_ulp(t.y, t.want.y, oracle::largest(t.want.xhat))) << mean;
      EXPECT_TRUE(within_an_ulp(t.x.grad(), t.want.dx, t.scale)) << mean;
    }
}

TEST(BatchNorm1d, FloatIsWithinAnUlpAtExtremeScales) {
  for (const double std : {1e-18, 1e18, 1e37})
    for (const double eps : {0.0, 1e-5}) {
      const Trial<float> t({{9, 3}, true, eps, Statistics::batch}, 0, std);
      EXPECT_TRUE(within_an_ulp(t.y, t.want.y, oracle::largest(t.want.xhat))) << std << ' ' << eps;
      EXPECT_TRUE(within_an_ulp(t.x.grad(), t.want.dx, t.scale)) << std << ' ' << eps;
    }
}

TEST(BatchNorm1d, TheMeanOfTheSquaredOutputIsOne) {
  // Only the biased variance makes it so; with the unbiased one it is (m - 1) / m.
  BatchNorm1d<double> bn(1, {.eps = 0, .affine = false});
  const Tensor<double> y = bn(Generator(1).normal<double>({4, 1}, 5, 3));
  EXPECT_NEAR(mean(y * y).item(), 1, 1e-14);
}

TEST(BatchNorm1d, EpsIsInsideTheRoot) {
  // var = 1, eps = 3: x / sqrt(1 + 3), not x / (1 + 3), x / (1 + sqrt(3)) or x.
  BatchNorm1d<double> bn(1, {.eps = 3, .affine = false});
  EXPECT_TRUE(close(bn(tensor<double>({2, 1}, {1, -1})), {0.5, -0.5}, 1e-16));
}

TEST(BatchNorm1d, EpsIsNotAddedToTheRunningVariance) {
  BatchNorm1d<double> bn(1, {.eps = 3, .momentum = 1});
  bn(tensor<double>({2, 1}, {1, -1}));
  EXPECT_EQ(bn.running_var().value()(0), 2);
}

}  // namespace
}  // namespace xtgrad
