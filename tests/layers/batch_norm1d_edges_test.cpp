// BatchNorm1d where batches are tiny, constant, not finite or of the wrong shape, and the bugs that other
// libraries shipped there.
#include <gtest/gtest.h>

#include <limits>

#include "oracle.hpp"
#include "xtgrad/layers/batch_norm1d.hpp"
#include "xtgrad/layers/linear.hpp"
#include "xtgrad/layers/sequential.hpp"

namespace xtgrad {
namespace {

using oracle::Axes3;
using oracle::close;
using oracle::error_of;
using oracle::Real;
using oracle::Reals;
using oracle::reals;
using oracle::same;
using oracle::tensor;
using oracle::trained;
using oracle::within_an_ulp;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class T> Array<T> array(const std::vector<double>& values) {
  return tensor<T>({values.size()}, values).value();
}

// The running statistics and counts of a layer, to be compared later.
template <class T> struct Snapshot {
  Tensor<T> mean, var;
  std::int64_t tracked, skipped;
  explicit Snapshot(const BatchNorm1d<T>& bn)
      : mean(Array<T>(bn.running_mean().value())),
        var(Array<T>(bn.running_var().value())),
        tracked(bn.num_batches_tracked()),
        skipped(bn.skipped_batches()) {}
};

template <class T> void expect_unchanged(const BatchNorm1d<T>& bn, const Snapshot<T>& before) {
  EXPECT_TRUE(same(bn.running_mean(), before.mean));
  EXPECT_TRUE(same(bn.running_var(), before.var));
  EXPECT_EQ(bn.num_batches_tracked(), before.tracked);
  EXPECT_EQ(bn.skipped_batches(), before.skipped);
}

// A layer that has seen one batch.
template <class T> BatchNorm1d<T> used_layer(std::size_t C, BatchNorm1dOptions options = {}) {
  BatchNorm1d<T> bn(C, options);
  bn(Generator(1).normal<T>({8, C}, 1, 2));
  return bn;
}

// m = 1

TEST(BatchNorm1dEdge, OneRowIsAnErrorThatSaysWhatToDo) {
  BatchNorm1d bn(4);
  EXPECT_EQ(error_of([&] {
              bn(Tensor<>::ones({1, 4}));
            }),
            "BatchNorm1d: needs more than one value per channel with batch statistics, got input (1, 4); in a "
            "loader, use drop_last or min_batch = 2");
}

TEST(BatchNorm1dEdge, OneRowOfOnePositionIsAnErrorToo) {
  BatchNorm1d bn(4);
  EXPECT_NE(error_of([&] { bn(Tensor<>::ones({1, 4, 1})); }).find("got input (1, 4, 1)"), std::string::npos);
}

TEST(BatchNorm1dEdge, OneRowLeavesEverythingAsItWas) {
  for (const Shape& shape : {Shape{1, 4}, Shape{1, 4, 1}}) {
    BatchNorm1d<float> bn = used_layer<float>(4);
    const Snapshot<float> before(bn);
    EXPECT_THROW(bn(Tensor<>::ones(shape)), std::invalid_argument);
    expect_unchanged(bn, before);
  }
}

TEST(BatchNorm1dEdge, OneRowWithBatchStatisticsIsAnErrorAlsoWithoutUpdates) {
  BatchNorm1d bn(4);
  bn.update(false);
  EXPECT_THROW(bn(Tensor<>::ones({1, 4})), std::invalid_argument);
  BatchNorm1d untracked(4, {.track_running_stats = false});
  untracked.eval();
  EXPECT_THROW(untracked(Tensor<>::ones({1, 4})), std::invalid_argument);
}

TEST(BatchNorm1dEdge, OneRowCannotUpdateAVarianceEither) {
  BatchNorm1d<float> bn = used_layer<float>(4);
  bn.statistics(Statistics::running);
  const Snapshot<float> before(bn);
  EXPECT_THROW(bn(Tensor<>::ones({1, 4})), std::invalid_argument);
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, OneRowIsFineWithRunningStatistics) {
  BatchNorm1d<double> bn(2, {.eps = 0});
  bn.set_running_statistics(array<double>({1, 2}), array<double>({4, 0.25}));
  bn.eval();
  EXPECT_TRUE(close(bn(tensor<double>({1, 2}, {5, 3})), {2, 2}, 1e-15));
  EXPECT_TRUE(close(bn(tensor<double>({1, 2, 1}, {5, 3})), {2, 2}, 1e-15));
}

TEST(BatchNorm1dEdge, OneRowOfSeveralPositionsIsABatch) {
  BatchNorm1d<double> bn(1, {.eps = 0});
  EXPECT_TRUE(close(bn(tensor<double>({1, 1, 4}, {1, 1, 3, 3})), {-1, -1, 1, 1}, 1e-15));
}

TEST(BatchNorm1dEdge, ALastBatchOfOneRowDoesNotPutNaNIntoTheRunningVariance) {
  BatchNorm1d bn(2);
  EXPECT_THROW(bn(Tensor<>::ones({1, 2})), std::invalid_argument);
  EXPECT_TRUE(close(bn.running_var(), {1, 1}, 0));
}

// m = 0

class BatchNorm1dEmpty : public ::testing::TestWithParam<Shape> {};

TEST_P(BatchNorm1dEmpty, GivesAnEmptyOutput) {
  for (const bool training : {true, false})
    for (const double eps : {0.0, 1e-5}) {
      BatchNorm1d bn(2, {.eps = eps});
      bn.train(training);
      EXPECT_EQ(bn(Tensor<>::zeros(GetParam())).shape(), GetParam());
    }
}

TEST_P(BatchNorm1dEmpty, GivesZeroGradients) {
  for (const bool training : {true, false})
    for (const double eps : {0.0, 1e-5}) {
      BatchNorm1d bn(2, {.eps = eps});
      bn.train(training);
      const Tensor<> x = trained(Tensor<>::zeros(GetParam()));
      bn(x).backward(Tensor<>::zeros(GetParam()));
      EXPECT_EQ(x.grad().shape(), GetParam());
      EXPECT_TRUE(close(bn.gamma().grad(), {0, 0}, 0));
      EXPECT_TRUE(close(bn.beta().grad(), {0, 0}, 0));
    }
}

TEST_P(BatchNorm1dEmpty, GivesZeroGradientsThatCanBeDifferentiated) {
  BatchNorm1d bn(2);
  const Tensor<> x = trained(Tensor<>::zeros(GetParam()));
  const auto gradients =
      grad(bn(x), {x, bn.gamma(), bn.beta()}, {.seed = Tensor<>::zeros(GetParam()), .create_graph = true});
  EXPECT_TRUE(close(gradients[1], {0, 0}, 0));
  EXPECT_TRUE(close(gradients[2], {0, 0}, 0));
}

TEST_P(BatchNorm1dEmpty, ChangesNoRunningStatistics) {
  BatchNorm1d<float> bn = used_layer<float>(2);
  const Snapshot<float> before(bn);
  bn(Tensor<>::zeros(GetParam()));
  expect_unchanged(bn, before);
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dEmpty,
                         ::testing::Values(Shape{0, 2}, Shape{0, 2, 3}, Shape{3, 2, 0}, Shape{1, 2, 0}, Shape{0, 2, 1},
                                           Shape{0, 2, 0}),
                         [](const auto& one) {
                           std::string text;
                           for (const std::size_t extent : one.param)
                             text += (text.empty() ? "" : "x") + std::to_string(extent);
                           return text;
                         });

// var = 0

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

TEST(BatchNorm1dEdge, AConstantTenMillionIsNotMinusOneOrOne) {
  BatchNorm1d bn(1);
  EXPECT_TRUE(close(bn(Tensor<>::full({100, 1}, 1e7F)), std::vector<double>(100, 0), 0));
  EXPECT_NEAR(oracle::wide(bn.running_var().value()(0)), 0.9, 1e-6);
}

TEST(BatchNorm1dEdge, ALargeMeanDoesNotMakeTheVarianceNegative) {
  // E[x^2] - E[x]^2 in float is far below zero here; the values are exact in float.
  for (const double mean : {1e4, 1e6, 8e6}) {
    BatchNorm1d bn(1, {.eps = 0, .momentum = 1, .affine = false});
    EXPECT_TRUE(close(bn(tensor<float>({4, 1}, {mean - 1, mean + 1, mean + 1, mean - 1})), {-1, 1, 1, -1}, 0));
    EXPECT_NEAR(oracle::wide(bn.running_var().value()(0)), 4.0 / 3, 1e-7);
  }
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

// NaN and inf

// Two batches that differ in channel 1 only, where the second holds `bad` in one row.
struct Poisoned {
  Tensor<> clean = Generator(1).normal<float>({9, 3}), dirty;
  explicit Poisoned(float bad, std::size_t row = 4) : dirty(Array<float>(clean.value())) {
    dirty.mutable_value()(row, 1) = bad;
  }
};

using BadElement = std::pair<float, std::size_t>;  // and its row

class BatchNorm1dNonFinite : public ::testing::TestWithParam<BadElement> {
 protected:
  Poisoned data_{GetParam().first, GetParam().second};
};

TEST_P(BatchNorm1dNonFinite, MakesItsOwnChannelNaN) {
  BatchNorm1d bn(3);
  const Tensor<> y = bn(data_.dirty);
  for (std::size_t n = 0; n < 9; ++n) EXPECT_TRUE(std::isnan(y.value()(n, 1))) << n;
}

TEST_P(BatchNorm1dNonFinite, LeavesTheBitsOfOtherChannelsAlone) {
  BatchNorm1d bn(3), other(3);
  const Tensor<> dirty = bn(data_.dirty), clean = other(data_.clean);
  for (std::size_t n = 0; n < 9; ++n) {
    EXPECT_EQ(dirty.value()(n, 0), clean.value()(n, 0));
    EXPECT_EQ(dirty.value()(n, 2), clean.value()(n, 2));
  }
}

TEST_P(BatchNorm1dNonFinite, LeavesTheGradientsOfOtherChannelsAlone) {
  BatchNorm1d bn(3), other(3);
  const Tensor<> dirty = trained(data_.dirty), clean = trained(data_.clean), dy = Generator(2).normal<float>({9, 3});
  bn(dirty).backward(dy);
  other(clean).backward(dy);
  for (const std::size_t c : {0U, 2U}) {
    for (std::size_t n = 0; n < 9; ++n) EXPECT_EQ(dirty.grad().value()(n, c), clean.grad().value()(n, c));
    EXPECT_EQ(bn.gamma().grad().value()(c), other.gamma().grad().value()(c));
  }
}

TEST_P(BatchNorm1dNonFinite, CommitsNothingOfTheBatchAndCountsIt) {
  BatchNorm1d<float> bn = used_layer<float>(3);
  Snapshot<float> before(bn);
  bn(data_.dirty);
  bn(data_.dirty);
  before.skipped = 2;
  expect_unchanged(bn, before);
}

TEST_P(BatchNorm1dNonFinite, DoesNotPoisonTheBatchesAfterIt) {
  BatchNorm1d bn(3), other(3);
  bn(data_.dirty);
  bn(data_.clean);
  other(data_.clean);
  EXPECT_TRUE(same(bn.running_mean(), other.running_mean()));
  EXPECT_TRUE(same(bn.running_var(), other.running_var()));
  EXPECT_EQ(bn.num_batches_tracked(), 1);
}

TEST_P(BatchNorm1dNonFinite, PropagatesIntoItsChannelWhereAsked) {
  BatchNorm1d bn(3, {.non_finite = NonFinite::propagate}), other(3);
  bn(data_.dirty);
  other(data_.clean);
  EXPECT_TRUE(std::isnan(bn.running_var().value()(1)));
  EXPECT_FALSE(std::isfinite(bn.running_mean().value()(1)));
  for (const std::size_t c : {0U, 2U}) {
    EXPECT_EQ(bn.running_mean().value()(c), other.running_mean().value()(c));
    EXPECT_EQ(bn.running_var().value()(c), other.running_var().value()(c));
  }
  EXPECT_EQ(bn.num_batches_tracked(), 1);
  EXPECT_EQ(bn.skipped_batches(), 0);
}

TEST_P(BatchNorm1dNonFinite, InEvalStaysInItsElement) {
  BatchNorm1d<float> bn = used_layer<float>(3);
  bn.eval();
  const Tensor<> dirty = bn(data_.dirty), clean = bn(data_.clean);
  for (std::size_t i = 0; i < dirty.size(); ++i) {
    if (i == GetParam().second * 3 + 1)
      EXPECT_FALSE(std::isfinite(dirty.data()[i]));
    else
      EXPECT_EQ(dirty.data()[i], clean.data()[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dNonFinite,
                         ::testing::Values(BadElement(kNaN, 4), BadElement(kInf, 4), BadElement(-kInf, 4),
                                           BadElement(kNaN, 0), BadElement(kInf, 0), BadElement(kInf, 8)),
                         [](const auto& one) {
                           const float bad = one.param.first;
                           return std::string(std::isnan(bad) ? "NaN"
                                              : bad > 0       ? "Inf"
                                                              : "MinusInf") +
                                  "InRow" + std::to_string(one.param.second);
                         });

TEST(BatchNorm1dEdge, AVarianceThatOverflowsFloatIsNotCommitted) {
  BatchNorm1d<float> bn = used_layer<float>(1);
  Snapshot<float> before(bn);
  bn(tensor<float>({2, 1}, {3e38, -3e38}));
  before.skipped = 1;
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, AVarianceThatOverflowsFloatStillNormalises) {
  BatchNorm1d bn(1, {.affine = false});
  EXPECT_TRUE(close(bn(tensor<float>({2, 1}, {3e38, -3e38})), {1, -1}, 0));
}

TEST(BatchNorm1dEdge, AVarianceThatFitsDoubleIsCommittedThere) {
  BatchNorm1d<double> bn(1, {.momentum = 1});
  bn(tensor<double>({2, 1}, {3e38, -3e38}));
  EXPECT_DOUBLE_EQ(bn.running_var().value()(0), 18e76);
  EXPECT_EQ(bn.skipped_batches(), 0);
}

TEST(BatchNorm1dEdge, WithoutUpdatesNothingIsSkippedEither) {
  BatchNorm1d bn(1);
  bn.update(false);
  bn(tensor<float>({2, 1}, {1, std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_EQ(bn.skipped_batches(), 0);
}

TEST(BatchNorm1dEdge, ABatchIsSkippedAlsoWhereRunningStatisticsNormalise) {
  BatchNorm1d bn(1);
  bn.statistics(Statistics::running);
  bn(tensor<float>({2, 1}, {1, std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_EQ(bn.skipped_batches(), 1);
  EXPECT_EQ(bn.num_batches_tracked(), 0);
}

TEST(BatchNorm1dEdge, NaNInGammaStaysInItsChannel) {
  BatchNorm1d bn(2), clean(2);
  bn.gamma().mutable_value()(1) = kNaN;
  const Tensor<> x = Generator(1).normal<float>({5, 2});
  const Tensor<> y = bn(x), want = clean(x);
  for (std::size_t n = 0; n < 5; ++n) {
    EXPECT_EQ(y.value()(n, 0), want.value()(n, 0));
    EXPECT_TRUE(std::isnan(y.value()(n, 1)));
  }
  EXPECT_TRUE(same(bn.running_var(), clean.running_var()));
}

// m = 2: the shapes differ from test to test, because each warning is given once in a process.

TEST(BatchNorm1dEdge, TwoValuesPerChannelWarnOnce) {
  const oracle::Warnings warnings;
  BatchNorm1d bn(101);
  const Tensor<> x = trained(Generator(1).normal<float>({2, 101}));
  bn(x);
  bn(x);
  ASSERT_EQ(warnings.texts.size(), 1U);
  EXPECT_EQ(warnings.texts[0],
            "BatchNorm1d: two values per channel: xhat is +-1 whatever they are, and no gradient gets through "
            "to the input but what eps leaks; got input (2, 101)");
}

TEST(BatchNorm1dEdge, OneRowOfTwoPositionsWarnsToo) {
  const oracle::Warnings warnings;
  BatchNorm1d bn(102);
  bn(trained(Generator(1).normal<float>({1, 102, 2})));
  EXPECT_EQ(warnings.texts.size(), 1U);
}

TEST(BatchNorm1dEdge, TwoValuesDoNotWarnWhereTheInputNeedsNoGradient) {
  const oracle::Warnings warnings;
  BatchNorm1d bn(103);
  const Tensor<> x = Generator(1).normal<float>({2, 103});
  bn(x);
  {
    const NoGrad guard;
    bn(trained(Tensor<>(x)));
  }
  bn.eval();
  bn(trained(Tensor<>(x)));
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(BatchNorm1dEdge, ThreeValuesDoNotWarn) {
  const oracle::Warnings warnings;
  BatchNorm1d bn(104);
  bn(trained(Generator(1).normal<float>({3, 104})));
  bn(trained(Generator(1).normal<float>({2, 104, 2})));
  EXPECT_TRUE(warnings.texts.empty());
}

// Shapes

TEST(BatchNorm1dEdge, AWrongNumberOfChannelsNamesTheAxis) {
  BatchNorm1d bn(4);
  EXPECT_EQ(error_of([&] {
              bn(Tensor<>::ones({8, 5}));
            }),
            "BatchNorm1d: input is (8, 5), with 5 channels on axis 1, expected 4");
  EXPECT_EQ(error_of([&] {
              bn(Tensor<>::ones({8, 5, 3}));
            }),
            "BatchNorm1d: input is (8, 5, 3), with 5 channels on axis 1, expected 4");
}

TEST(BatchNorm1dEdge, ChannelsOnTheLastAxisSuggestTheTranspose) {
  BatchNorm1d bn(4);
  EXPECT_EQ(error_of([&] {
              bn(Tensor<>::ones({8, 5, 4}));
            }),
            "BatchNorm1d: input is (8, 5, 4), with 5 channels on axis 1, expected 4; if it is (N, L, C), exchange "
            "its last two axes with transpose(x)");
}

TEST(BatchNorm1dEdge, OtherRanksAreErrors) {
  BatchNorm1d bn(4);
  EXPECT_EQ(error_of([&] { bn(Tensor<>::ones({4})); }), "BatchNorm1d: input is (4,), expected (N, C) or (N, C, L)");
  EXPECT_EQ(error_of([&] {
              bn(Tensor<>::ones({2, 4, 3, 3}));
            }),
            "BatchNorm1d: input is (2, 4, 3, 3), expected (N, C) or (N, C, L)");
  EXPECT_EQ(error_of([&] { bn(Tensor<>(1)); }), "BatchNorm1d: input is (), expected (N, C) or (N, C, L)");
}

TEST(BatchNorm1dEdge, AWrongShapeChangesNothing) {
  BatchNorm1d<float> bn = used_layer<float>(4);
  const Snapshot<float> before(bn);
  for (const Shape& shape : {Shape{8, 5}, Shape{8, 5, 4}, Shape{4}, Shape{2, 4, 3, 3}, Shape{0, 5}})
    EXPECT_THROW(bn(Tensor<>::ones(shape)), std::invalid_argument);
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, AnEmptyBatchOfTheWrongWidthIsStillAnError) {
  BatchNorm1d bn(4);
  EXPECT_THROW(bn(Tensor<>::zeros({0, 5})), std::invalid_argument);
}

// Running statistics from outside

TEST(BatchNorm1dEdge, ANegativeRunningVarianceIsRefused) {
  BatchNorm1d<float> bn = used_layer<float>(2);
  const Snapshot<float> before(bn);
  EXPECT_EQ(error_of([&] {
              bn.set_running_statistics(array<float>({5, 6}), array<float>({1, -0.5}));
            }),
            "BatchNorm1d: a running variance is -0.5, expected a number that is not negative");
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, ANaNRunningVarianceIsRefused) {
  BatchNorm1d<float> bn = used_layer<float>(2);
  const Snapshot<float> before(bn);
  EXPECT_NE(
      error_of([&] {
        bn.set_running_statistics(array<float>({5, 6}), array<float>({1, std::numeric_limits<double>::quiet_NaN()}));
      }).find("a running variance is nan"),
      std::string::npos);
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, RunningStatisticsOfTheWrongShapeAreRefused) {
  BatchNorm1d<float> bn = used_layer<float>(2);
  const Snapshot<float> before(bn);
  const Array<float> good = array<float>({1, 1}), bad = array<float>({1, 1, 1});
  EXPECT_EQ(error_of([&] { bn.set_running_statistics(bad, good); }),
            "BatchNorm1d: a running statistic is (3,), expected (2,)");
  EXPECT_THROW(bn.set_running_statistics(good, bad), std::invalid_argument);
  EXPECT_THROW(bn.set_running_statistics(good, Tensor<>::ones({1, 2}).value()), std::invalid_argument);
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, ARunningVarianceOfZeroIsAccepted) {
  BatchNorm1d bn(2);
  EXPECT_NO_THROW(bn.set_running_statistics(array<float>({5, 6}), array<float>({0, -0.0})));
  EXPECT_TRUE(close(bn.running_mean(), {5, 6}, 0));
}

TEST(BatchNorm1dEdge, SettingRunningStatisticsCopiesThem) {
  BatchNorm1d bn(1);
  Array<float> mean = array<float>({5}), var = array<float>({2});
  bn.set_running_statistics(mean, var);
  mean(0) = 7;
  var(0) = 7;
  EXPECT_TRUE(close(bn.running_mean(), {5}, 0));
  EXPECT_TRUE(close(bn.running_var(), {2}, 0));
}

// The state dict with one value replaced.
template <class T> StateDict<T> edited(BatchNorm1d<T>& bn, const std::string& name, T value) {
  StateDict<T> state = bn.state_dict();
  for (auto& [key, entry] : state)
    if (key == name) std::get<Tensor<T>>(entry).mutable_value().storage()[1] = value;
  return state;
}

TEST(BatchNorm1dEdge, LoadingABadRunningVarianceIsRefusedAndChangesNothing) {
  BatchNorm1d<float> source = used_layer<float>(2), bn(2);
  const Snapshot<float> before(bn);
  EXPECT_EQ(error_of([&] { bn.load_state_dict(edited(source, "running_var", -1.0F)); }),
            "load_state_dict: running_var holds -1, expected values that are not negative");
  EXPECT_EQ(error_of([&] { bn.load_state_dict(edited(source, "running_var", kNaN)); }),
            "load_state_dict: running_var holds nan, expected values that are not negative");
  expect_unchanged(bn, before);
}

TEST(BatchNorm1dEdge, ANegativeRunningMeanCanBeLoaded) {
  BatchNorm1d<float> bn = used_layer<float>(2);
  EXPECT_NO_THROW(bn.load_state_dict(edited(bn, "running_mean", -1.0F)));
}

TEST(BatchNorm1dEdge, LoadingANegativeNumberOfBatchesIsRefused) {
  // With a cumulative average the next batch but one would divide by zero.
  BatchNorm1d<double> bn(1, {.momentum = std::nullopt});
  StateDict<double> state = bn.state_dict();
  std::get<std::int64_t>(state.back().second) = -1;
  EXPECT_NE(error_of([&] { bn.load_state_dict(state); }).find("num_batches_tracked"), std::string::npos);
  EXPECT_EQ(bn.num_batches_tracked(), 0);
}

// Options

TEST(BatchNorm1dEdge, BadOptionsAreErrors) {
  const auto error = [](std::size_t C, BatchNorm1dOptions options) {
    return error_of([&] { BatchNorm1d<float>(C, options); });
  };
  EXPECT_EQ(error(0, {}), "BatchNorm1d: 0 channels");
  EXPECT_EQ(error(1, {.eps = -1}), "BatchNorm1d: eps is -1, expected a number from 0 up");
  EXPECT_NE(error(1, {.eps = std::nan("")}).find("eps is nan"), std::string::npos);
  EXPECT_NE(error(1, {.eps = HUGE_VAL}).find("eps is inf"), std::string::npos);
  EXPECT_EQ(error(1, {.momentum = 1.5}),
            "BatchNorm1d: momentum is 1.5, expected the weight of the new value, from 0 to 1, or nullopt");
  EXPECT_NE(error(1, {.momentum = -0.1}).find("momentum is -0.1"), std::string::npos);
  EXPECT_NE(error(1, {.momentum = std::nan("")}).find("momentum is nan"), std::string::npos);
}

// What others got wrong elsewhere: the statistics are written in training and only there, and eps counts in
// both modes (batch_norm1d_test.cpp, batch_norm1d_modes_test.cpp); here the rest.

TEST(BatchNorm1dEdge, TheNormaliserAndTheGradientUseTheSameVariance) {
  // A biased gradient under an unbiased normaliser is 19 % off at m = 4.
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

TEST(BatchNorm1dEdge, ABatchOfANetworkEndingInOneRowIsNamedByItsShape) {
  Sequential net{Linear(2, 3), BatchNorm1d(3)};
  EXPECT_NE(error_of([&] { net(Tensor<>::ones({1, 2})); }).find("got input (1, 3)"), std::string::npos);
  EXPECT_EQ(net.get<BatchNorm1d<>>(1).num_batches_tracked(), 0);
}

}  // namespace
}  // namespace xtgrad
