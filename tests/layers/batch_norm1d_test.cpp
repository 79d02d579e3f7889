// BatchNorm1d's numbers: the formulas, their gradients, and the laws that follow from them.
#include "xtgrad/layers/batch_norm1d.hpp"

#include <gtest/gtest.h>

#include <memory>

#include "oracle.hpp"
#include "xtgrad/gradcheck.hpp"
#include "xtgrad/layers/linear.hpp"
#include "xtgrad/layers/sequential.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/optim/optimizers.hpp"

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

struct Case {
  Shape shape;
  bool affine;
  double eps;
  Statistics statistics;
};

std::string words(const Shape& shape) {
  std::string text;
  for (const std::size_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

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

TEST(BatchNorm1d, VarianceOfOneQuarterStepsAtAThousandIsExact) {
  // 2281.5 and 2281.25 have the variance 1/64, which float sums of squares turn into 0.
  BatchNorm1d bn(1, {.eps = 0, .momentum = 1, .affine = false});
  EXPECT_TRUE(close(bn(tensor<float>({2, 1}, {2281.5, 2281.25})), {1, -1}, 0));
  EXPECT_TRUE(close(bn.running_var(), {1.0 / 32}, 0));
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

TEST(BatchNorm1d, EpsIsAddedToTheRunningVarianceToo) {
  BatchNorm1d<double> bn(1, {.eps = 3, .affine = false});
  bn.eval();
  EXPECT_TRUE(close(bn(tensor<double>({2, 1}, {1, -1})), {0.5, -0.5}, 1e-16));
}

TEST(BatchNorm1d, EpsIsNotAddedToTheRunningVariance) {
  BatchNorm1d<double> bn(1, {.eps = 3, .momentum = 1});
  bn(tensor<double>({2, 1}, {1, -1}));
  EXPECT_EQ(bn.running_var().value()(0), 2);
}

// Running statistics.

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

TEST(BatchNorm1d, MomentumIsTheWeightOfTheNewValue) {
  BatchNorm1d<double> bn(1, {.momentum = 0.25});
  bn(tensor<double>({2, 1}, {7, 9}));
  EXPECT_EQ(bn.running_mean().value()(0), 0.25 * 8);
  EXPECT_EQ(bn.running_var().value()(0), 0.75 + 0.25 * 2);
}

TEST(BatchNorm1d, RunningVarianceIsUnbiased) {
  BatchNorm1d<double> bn(1, {.momentum = 1});
  bn(tensor<double>({4, 1}, {0, 0, 2, 2}));  // biased: 1
  EXPECT_DOUBLE_EQ(bn.running_var().value()(0), 4.0 / 3);
}

TEST(BatchNorm1d, RunningVarianceCountsValuesNotRows) {
  // N = 2 and L = 2: m / (m - 1) is 4/3, N / (N - 1) would be 2.
  BatchNorm1d<double> bn(1, {.momentum = 1});
  bn(tensor<double>({2, 1, 2}, {0, 2, 0, 2}));
  EXPECT_DOUBLE_EQ(bn.running_var().value()(0), 4.0 / 3);
}

TEST(BatchNorm1d, RunningVarianceOfABatchOfTwoIsNotDampedByEps) {
  // m / (m - 1 + eps) would be 1 here.
  BatchNorm1d<double> bn(1, {.eps = 1, .momentum = 1});
  bn(tensor<double>({2, 1}, {1, -1}));
  EXPECT_EQ(bn.running_var().value()(0), 2);
}

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

TEST(BatchNorm1d, GradientsGoOnlyWhereTheyAreWanted) {
  BatchNorm1d<double> bn(2);
  bn.gamma().requires_grad(false);
  const Tensor<double> x = Generator(1).normal<double>({4, 2});
  bn(x).backward(Generator(2).normal<double>({4, 2}));
  EXPECT_FALSE(x.grad().defined());
  EXPECT_FALSE(bn.gamma().grad().defined());
  EXPECT_TRUE(bn.beta().grad().defined());
}

TEST(BatchNorm1d, GradientsOfParametersAddUpOverBatches) {
  BatchNorm1d<double> bn(1);
  const Tensor<double> x = tensor<double>({2, 1}, {1, -1}), dy = tensor<double>({2, 1}, {3, 5});
  bn(x).backward(dy);
  bn(x).backward(dy);
  EXPECT_EQ(bn.beta().grad().value()(0), 16);
}

// Gradient checks, first and second order, in every mode.

class BatchNorm1dGradcheck : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto& [shape, affine, eps, statistics] = GetParam();
    const std::size_t C = shape[1];
    Generator g(11);
    bn_ = std::make_unique<BatchNorm1d<double>>(C, BatchNorm1dOptions{.eps = eps, .affine = affine});
    bn_->set_running_statistics(g.normal<double>({C}).value(), g.uniform<double>({C}, 0.5, 2).value());
    bn_->statistics(statistics);
    inputs_ = {trained(g.normal<double>(shape, 1, 1))};
    if (affine) {
      inputs_.push_back(trained(g.uniform<double>({C}, 0.5, 2)));
      inputs_.push_back(trained(g.normal<double>({C})));
    }
  }
  DifferentiableFunction layer() {
    return [this](const std::vector<Tensor<double>>& in) {
      if (in.size() == 3) {
        bn_->gamma() = in[1];
        bn_->beta() = in[2];
      }
      return (*bn_)(in[0]);
    };
  }
  void expect_passed(const GradcheckReport& report) {
    EXPECT_TRUE(report.passed) << report.message();
    EXPECT_GE(report.smallest, 1e-2) << report.message();
    EXPECT_TRUE(report.warnings.empty()) << report.message();
  }

  std::unique_ptr<BatchNorm1d<double>> bn_;
  std::vector<Tensor<double>> inputs_;
};

TEST_P(BatchNorm1dGradcheck, FirstOrder) {
  bn_->update(GetParam().statistics == Statistics::batch);  // running ones would change from call to call
  expect_passed(gradcheck("BatchNorm1d", layer(), inputs_));
}

TEST_P(BatchNorm1dGradcheck, SecondOrder) {
  bn_->update(GetParam().statistics == Statistics::batch);
  expect_passed(gradgradcheck("BatchNorm1d", layer(), inputs_));
}

TEST_P(BatchNorm1dGradcheck, TheGraphOfTheGradientHasTheGradientsValue) {
  bn_->update(false);
  const Tensor<double> dy = Generator(3).normal<double>(GetParam().shape);
  const auto plain = grad(layer()(inputs_), inputs_, {.seed = dy});
  const auto graph = grad(layer()(inputs_), inputs_, {.seed = dy, .create_graph = true});
  for (std::size_t i = 0; i < plain.size(); ++i)
    EXPECT_TRUE(close(graph[i], {plain[i].data(), plain[i].data() + plain[i].size()}, 1e-12)) << "input " << i;
}

std::vector<Case> gradcheck_cases() {
  std::vector<Case> list;
  for (const auto& [shape, eps] : {std::pair{Shape{5, 2}, 1e-5},
                                   {Shape{60, 2}, 1e-5},
                                   {Shape{3, 1}, 1e-5},
                                   {Shape{2, 3}, 0.1},
                                   {Shape{2, 3, 2}, 1e-5},
                                   {Shape{1, 2, 4}, 1.0}})
    for (const bool affine : {true, false})
      for (const Statistics statistics : {Statistics::batch, Statistics::running})
        list.push_back({shape, affine, eps, statistics});
  return list;
}

std::string gradcheck_name(const Case& c) {
  return words(c.shape) + (c.affine ? "_affine" : "_plain") +
         (c.statistics == Statistics::batch ? "_batch" : "_running");
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dGradcheck, ::testing::ValuesIn(gradcheck_cases()),
                         [](const auto& one) { return gradcheck_name(one.param); });

TEST(BatchNorm1d, ASumAsCotangentIsReportedAsVacuous) {
  BatchNorm1d<double> bn(2);
  const auto report =
      gradcheck("BatchNorm1d", [&bn](const auto& in) { return bn(in[0]); },
                {trained(Generator(1).normal<double>({5, 2}))}, {.cotangent = Tensor<double>::ones({5, 2})});
  EXPECT_FALSE(report.warnings.empty());
}

// The laws: backward is a projection, dx = (gamma/sigma)(I - 11'/m - xhat xhat'/m) dy.

// One batch through a layer in double, channel by channel.
struct Law {
  static constexpr std::size_t kRows = 7, kChannels = 3;
  double eps;
  Tensor<double> x, dy, y;
  BatchNorm1d<double> bn;
  Reals gamma, xhat, var;

  explicit Law(double e, const Shape& shape = {kRows, kChannels}) : eps(e), bn(shape[1], {.eps = e}) {
    Generator g(21);
    oracle::assign(bn.gamma(), g.uniform<double>({shape[1]}, 0.5, 2));
    x = trained(g.normal<double>(shape, 4, 3));
    dy = g.normal<double>(shape);
    y = bn(x);
    y.backward(dy);
    const oracle::Moments moments = oracle::moments(reals(x), Axes3(shape));
    gamma = reals(bn.gamma());
    var = moments.biased;
    xhat = oracle::batch_norm(reals(x), Axes3(shape), moments.mean, var, gamma, Reals(shape[1], 0),
                              static_cast<Real>(e), reals(dy), true)
               .xhat;
  }
  // Sum over channel c of f(i).
  template <class F> double sum(std::size_t c, F f) const {
    Real total = 0;
    Axes3(x.shape()).each_of_channel(c, [&](std::size_t i) { total += f(i); });
    return static_cast<double>(total);
  }
  double dx_at(std::size_t i) const { return x.grad().data()[i]; }
  double dy_xhat(std::size_t c) const {
    return sum(c, [&](std::size_t i) { return static_cast<Real>(dy.data()[i]) * xhat[i]; });
  }
  // gamma * inv_std of channel c.
  double scale(std::size_t c) const {
    return static_cast<double>(gamma[c] / std::sqrt(var[c] + static_cast<Real>(eps)));
  }
};

TEST(BatchNorm1dLaw, TheInputGradientSumsToZeroInEveryChannel) {
  for (const Shape& shape : {Shape{7, 3}, Shape{3, 2, 4}})
    for (const double eps : {0.0, 1e-5, 1.0}) {
      const Law law(eps, shape);
      for (std::size_t c = 0; c < shape[1]; ++c)
        EXPECT_NEAR(law.sum(c, [&](std::size_t i) { return static_cast<Real>(law.dx_at(i)); }), 0, 1e-14);
    }
}

TEST(BatchNorm1dLaw, TheInputGradientSeesXhatOnlyThroughEps) {
  for (const double eps : {0.0, 1e-5, 1.0}) {
    const Law law(eps);
    for (std::size_t c = 0; c < Law::kChannels; ++c) {
      const double along = law.sum(c, [&](std::size_t i) { return static_cast<Real>(law.dx_at(i)) * law.xhat[i]; });
      const double predicted = law.scale(c) * law.dy_xhat(c) * eps / (static_cast<double>(law.var[c]) + eps);
      EXPECT_NEAR(along, predicted, 1e-14) << "eps " << eps;
      if (eps == 1) {
        EXPECT_GT(std::abs(predicted), 1e-3);  // there is something to see
      }
    }
  }
}

TEST(BatchNorm1dLaw, TheInputGradientHasTheNormOfTheProjection) {
  const Law law(0);
  for (std::size_t c = 0; c < Law::kChannels; ++c) {
    const auto squared = [](double v) { return v * v; };
    const double dx2 = law.sum(c, [&](std::size_t i) { return static_cast<Real>(squared(law.dx_at(i))); });
    const double dy2 = law.sum(c, [&](std::size_t i) { return static_cast<Real>(squared(law.dy.data()[i])); });
    const double dy1 = law.sum(c, [&](std::size_t i) { return static_cast<Real>(law.dy.data()[i]); });
    const double m = static_cast<double>(Law::kRows);
    const double predicted = squared(law.scale(c)) * (dy2 - squared(dy1) / m - squared(law.dy_xhat(c)) / m);
    EXPECT_NEAR(dx2 / predicted, 1, 1e-12);
  }
}

// The rows of dy/dx: one gradient for each element of y.
std::vector<Tensor<double>> jacobian(BatchNorm1d<double>& bn, const Tensor<double>& x) {
  std::vector<Tensor<double>> rows;
  for (std::size_t i = 0; i < x.size(); ++i) {
    Tensor<double> unit = Tensor<double>::zeros(x.shape());
    unit.mutable_value().storage()[i] = 1;
    rows.push_back(grad(bn(x), {x}, {.seed = unit})[0]);
  }
  return rows;
}

TEST(BatchNorm1dLaw, TheJacobianOfAChannelHasRankMMinusTwoAndOneSingularValue) {
  const std::size_t m = Law::kRows, C = Law::kChannels;
  Law law(0);
  const std::vector<Tensor<double>> J = jacobian(law.bn, law.x);
  for (std::size_t c = 0; c < C; ++c) {
    std::vector<double> squared(m * m, 0);  // J J' of the channel
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < m; ++j)
        for (std::size_t k = 0; k < m; ++k)
          squared[i * m + j] += J[i * C + c].data()[k * C + c] * J[j * C + c].data()[k * C + c];
    const std::vector<double> values = oracle::eigenvalues(squared, m);
    EXPECT_NEAR(values[0], 0, 1e-14);
    EXPECT_NEAR(values[1], 0, 1e-14);
    for (std::size_t i = 2; i < m; ++i) EXPECT_NEAR(std::sqrt(values[i]) / law.scale(c), 1, 1e-13);
  }
}

TEST(BatchNorm1dLaw, ChannelsDoNotSeeEachOther) {
  const std::size_t C = Law::kChannels;
  Law law(1e-5);
  const std::vector<Tensor<double>> J = jacobian(law.bn, law.x);
  for (std::size_t i = 0; i < J.size(); ++i)
    for (std::size_t k = 0; k < J.size(); ++k)
      if (i % C != k % C) {
        EXPECT_EQ(J[i].data()[k], 0) << i << ' ' << k;
      }
}

// x (N, I) -> W x -> BatchNorm1d -> <v, y>
struct BeforeBatchNorm {
  Tensor<double> x, v;
  Linear<double> fc;
  BatchNorm1d<double> bn;

  explicit BeforeBatchNorm(double eps, bool bias = false)
      : x(Generator(31).normal<double>({6, 4}, 1, 2)),
        v(Generator(32).normal<double>({6, 3})),
        fc(4, 3, {.bias = bias}),
        bn(3, {.eps = eps}) {
    Generator g(33);
    oracle::assign(fc.weight(), g.normal<double>({3, 4}));
    oracle::assign(bn.gamma(), g.uniform<double>({3}, 0.5, 2));
  }
  Tensor<double> output() { return bn(fc(x)); }
};

double row_dot(const Tensor<double>& a, const Tensor<double>& b, std::size_t row) {
  double total = 0;
  const std::size_t I = a.shape()[1];
  for (std::size_t i = 0; i < I; ++i) total += a.data()[row * I + i] * b.data()[row * I + i];
  return total;
}

TEST(BatchNorm1dLaw, ABiasBeforeItHasNoGradient) {
  BeforeBatchNorm net(1e-5, true);
  net.output().backward(net.v);
  EXPECT_TRUE(close(net.fc.bias().grad(), {0, 0, 0}, 1e-14));
  EXPECT_GT(oracle::largest(reals(net.fc.weight().grad())), 1e-2L);
}

TEST(BatchNorm1dLaw, WeightsBeforeItAreOrthogonalToTheirGradientUpToEps) {
  for (const double eps : {0.0, 1e-5, 1.0}) {
    BeforeBatchNorm net(eps);
    net.output().backward(net.v);
    const Tensor<double> z = net.fc(net.x);
    const Axes3 axes(z.shape());
    const oracle::Moments moments = oracle::moments(reals(z), axes);
    const oracle::BatchNorm want =
        oracle::batch_norm(reals(z), axes, moments.mean, moments.biased, reals(net.bn.gamma()), Reals(3, 0),
                           static_cast<Real>(eps), reals(net.v), true);
    for (std::size_t c = 0; c < 3; ++c) {
      const Real var = moments.biased[c], e = static_cast<Real>(eps);
      const double predicted = static_cast<double>(reals(net.bn.gamma())[c] * want.dgamma[c] * e / (var + e));
      EXPECT_NEAR(row_dot(net.fc.weight(), net.fc.weight().grad(), c), predicted, 1e-13) << "eps " << eps;
      if (eps == 1) {
        EXPECT_GT(std::abs(predicted), 1e-3);
      }
    }
  }
}

TEST(BatchNorm1dLaw, AStepOfSgdLengthensTheWeightsBeforeItByTheStep) {
  BeforeBatchNorm net(0);
  const double lr = 0.5;
  SGD<double> sgd({net.fc.weight()}, {.lr = lr});
  double before[3], growth[3];
  net.output().backward(net.v);
  for (std::size_t c = 0; c < 3; ++c) {
    before[c] = row_dot(net.fc.weight(), net.fc.weight(), c);
    growth[c] = lr * lr * row_dot(net.fc.weight().grad(), net.fc.weight().grad(), c);
  }
  sgd.step();
  for (std::size_t c = 0; c < 3; ++c)
    EXPECT_NEAR(row_dot(net.fc.weight(), net.fc.weight(), c), before[c] + growth[c], 1e-13);
}

TEST(BatchNorm1dLaw, TheScaleOfTheWeightsBeforeItDoesNotMatter) {
  const double a = 3.7;
  BeforeBatchNorm net(0);
  const Tensor<double> y = net.output();
  y.backward(net.v);
  BeforeBatchNorm scaled(0);
  oracle::assign(scaled.fc.weight(), Tensor<double>(net.fc.weight().detach() * a));
  const Tensor<double> y_scaled = scaled.output();
  y_scaled.backward(scaled.v);
  EXPECT_TRUE(close(y_scaled, {y.data(), y.data() + y.size()}, 1e-13));
  const Tensor<double> expected = net.fc.weight().grad() / a;
  EXPECT_TRUE(close(scaled.fc.weight().grad(), {expected.data(), expected.data() + expected.size()}, 1e-13));
}

TEST(BatchNorm1dLaw, TwoValuesGetPlusAndMinusOneAndNoGradientAtEpsZero) {
  BatchNorm1d<double> bn(3, {.eps = 0, .affine = false});
  const oracle::Warnings quiet;
  const Tensor<double> x = trained(tensor<double>({2, 3}, {5, -3, 0.25, -1, 3, 0.125}));
  const Tensor<double> y = bn(x);
  y.backward(tensor<double>({2, 3}, {1, 2, -3, 0.5, 7, 11}));
  EXPECT_TRUE(close(y, {1, -1, 1, -1, 1, -1}, 1e-15));
  EXPECT_TRUE(close(x.grad(), {0, 0, 0, 0, 0, 0}, 1e-14));
}

TEST(BatchNorm1dLaw, OfTwoValuesEpsAloneLetsAGradientThrough) {
  // dx = +- gamma * inv_std * (dy1 - dy2) / 2 * eps / (var + eps), in quadruple precision.
  using Quad = __float128;
  const oracle::Warnings quiet;
  const double eps = 1e-5;
  BatchNorm1d<double> bn(1, {.eps = eps, .affine = false});
  for (const double distance : {1e-3, 0.1, 1.0, 100.0}) {
    const Tensor<double> x = trained(tensor<double>({2, 1}, {distance, -distance}));
    bn(x).backward(tensor<double>({2, 1}, {2, -1}));
    const Quad var = static_cast<Quad>(distance) * static_cast<Quad>(distance), total = var + static_cast<Quad>(eps);
    const double inv_std = 1 / std::sqrt(static_cast<double>(total));
    const double predicted = static_cast<double>(static_cast<Quad>(1.5) * static_cast<Quad>(eps) / total);
    EXPECT_NEAR(x.grad().data()[0] / inv_std, predicted, 1e-15) << distance;
    EXPECT_NEAR(x.grad().data()[1] / inv_std, -predicted, 1e-15) << distance;
  }
}

TEST(BatchNorm1dLaw, AChainShrinksInEvalByTheBiasOfTheVariance) {
  // Each layer divides by the unbiased deviation where training divided by the biased one.
  const int layers = 10;
  const std::size_t m = 4;
  Sequential<double> net{BatchNorm1d<double>(2, {.momentum = 1, .affine = false})};
  for (int i = 1; i < layers; ++i) net.add(BatchNorm1d<double>(2, {.momentum = 1, .affine = false}));
  const Tensor<double> x = Generator(41).normal<double>({m, 2});
  const Tensor<double> in_training = net(x);
  net.eval();
  const Tensor<double> ratio = net(x) / in_training;
  const double predicted = std::pow(3.0 / 4, layers / 2.0);
  for (std::size_t i = 0; i < ratio.size(); ++i) EXPECT_NEAR(ratio.data()[i] / predicted, 1, 0.01);
}

TEST(BatchNorm1dLaw, ThreeAxesAreTheSameAsRowsAndPositionsTakenTogether) {
  const std::size_t N = 3, C = 2, L = 4;
  BatchNorm1d<double> deep(C), flat(C);
  const Tensor<double> x = Generator(51).normal<double>({N, C, L}, 3, 2);
  const Tensor<double> rows = reshape(transpose(x), {N * L, C});
  const Tensor<double> y = transpose(reshape(flat(rows), {N, L, C}));
  EXPECT_TRUE(oracle::same(deep(x), y));
  EXPECT_TRUE(oracle::same(deep.running_var(), flat.running_var()));
}

}  // namespace
}  // namespace xtgrad
