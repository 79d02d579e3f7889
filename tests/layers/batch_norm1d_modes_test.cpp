// BatchNorm1d's two switches: which statistics normalise, and whether the running ones are updated.
#include <gtest/gtest.h>

#include "oracle.hpp"
#include "xtgrad/layers/activations.hpp"
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
using oracle::trained;
using oracle::within_an_ulp;

const Shape kShape{6, 2};

Tensor<double> batch(std::uint64_t seed = 1) { return Generator(seed).normal<double>(kShape, 3, 2); }
Tensor<double> cotangent() { return Generator(99).normal<double>(kShape); }

void set_running(BatchNorm1d<double>& bn) {
  bn.set_running_statistics(Tensor<double>{1, -2}.value(), Tensor<double>{4, 0.25}.value());
}

// What the layer's gamma, beta and eps make of x with the batch's or its own running statistics.
oracle::BatchNorm expected(BatchNorm1d<double>& bn, const Tensor<double>& x, Statistics which) {
  const bool of_batch = which == Statistics::batch;
  const oracle::Moments moments = oracle::moments(reals(x), Axes3(x.shape()));
  return oracle::batch_norm(reals(x), Axes3(x.shape()), of_batch ? moments.mean : reals(bn.running_mean()),
                            of_batch ? moments.biased : reals(bn.running_var()), reals(bn.gamma()), reals(bn.beta()),
                            static_cast<Real>(bn.options().eps), reals(cotangent()), of_batch);
}

// The table: PyTorch's four rows of training and tracking, freeze(), and every position of the two switches set by hand.

struct Mode {
  const char* name;
  bool track;
  void (*enter)(BatchNorm1d<double>&);
  Statistics statistics;  // what normalises
  bool update;            // whether the running ones change
};

template <Statistics statistics, bool update> constexpr Mode by_hand(const char* name) {
  return {name, true,
          [](BatchNorm1d<double>& bn) {
            bn.statistics(statistics);
            bn.update(update);
          },
          statistics, update};
}

constexpr Mode kModes[] = {
    {"TrainTracking", true, [](BatchNorm1d<double>& bn) { bn.train(); }, Statistics::batch, true},
    {"EvalTracking", true, [](BatchNorm1d<double>& bn) { bn.eval(); }, Statistics::running, false},
    {"TrainNotTracking", false, [](BatchNorm1d<double>& bn) { bn.train(); }, Statistics::batch, false},
    {"EvalNotTracking", false, [](BatchNorm1d<double>& bn) { bn.eval(); }, Statistics::batch, false},
    {"Frozen", true, [](BatchNorm1d<double>& bn) { bn.freeze(); }, Statistics::running, false},
    by_hand<Statistics::batch, true>("BatchUpdatingByHand"),
    by_hand<Statistics::batch, false>("BatchFixedByHand"),
    by_hand<Statistics::running, true>("RunningUpdatingByHand"),
    by_hand<Statistics::running, false>("RunningFixedByHand"),
};

class BatchNorm1dModeTable : public ::testing::TestWithParam<Mode> {
 protected:
  // Momentum 0, so that an update counts and leaves the running statistics as they are.
  BatchNorm1d<double> layer(double momentum) {
    BatchNorm1d<double> bn(2, {.momentum = momentum, .track_running_stats = GetParam().track});
    if (GetParam().track) set_running(bn);
    GetParam().enter(bn);
    return bn;
  }
};

TEST_P(BatchNorm1dModeTable, SaysWhatNormalisesAndWhetherItUpdates) {
  const BatchNorm1d<double> bn = layer(0);
  EXPECT_EQ(bn.statistics(), GetParam().statistics);
  EXPECT_EQ(bn.update(), GetParam().update);
}

TEST_P(BatchNorm1dModeTable, NormalisesWithWhatItSays) {
  BatchNorm1d<double> bn = layer(0);
  const Tensor<double> x = batch();
  EXPECT_TRUE(within_an_ulp(bn(x), expected(bn, x, GetParam().statistics).y, 4));
}

TEST_P(BatchNorm1dModeTable, HasTheGradientOfWhatNormalises) {
  BatchNorm1d<double> bn = layer(0);
  const Tensor<double> x = trained(batch());
  bn(x).backward(cotangent());
  const oracle::BatchNorm want = expected(bn, x, GetParam().statistics);
  EXPECT_TRUE(within_an_ulp(x.grad(), want.dx, 4));
  EXPECT_TRUE(within_an_ulp(bn.gamma().grad(), want.dgamma, 40));
  EXPECT_TRUE(within_an_ulp(bn.beta().grad(), want.dbeta, 40));
}

TEST_P(BatchNorm1dModeTable, ChangesTheRunningStatisticsIfItSaysSo) {
  BatchNorm1d<double> bn = layer(0.5);
  const Tensor<double> x = batch();
  bn(x);
  EXPECT_EQ(bn.num_batches_tracked(), GetParam().update ? 1 : 0);
  EXPECT_EQ(bn.running_mean().defined(), GetParam().track);
  EXPECT_EQ(bn.running_var().defined(), GetParam().track);
  if (!GetParam().track) return;
  const oracle::Moments fresh = oracle::moments(reals(x), Axes3(kShape));
  const Reals mean{1, -2}, var{4, 0.25L};
  const Real a = GetParam().update ? 0.5L : 0;
  for (std::size_t c = 0; c < 2; ++c) {
    EXPECT_NEAR(bn.running_mean().data()[c], static_cast<double>((1 - a) * mean[c] + a * fresh.mean[c]), 1e-14);
    EXPECT_NEAR(bn.running_var().data()[c], static_cast<double>((1 - a) * var[c] + a * fresh.unbiased[c]), 1e-14);
  }
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dModeTable, ::testing::ValuesIn(kModes),
                         [](const auto& one) { return one.param.name; });

// From every position of the switches, set by hand.

struct Switches {
  Statistics statistics;
  bool update;
};

class BatchNorm1dSwitches : public ::testing::TestWithParam<Switches> {
 protected:
  BatchNorm1d<double> layer() {
    BatchNorm1d<double> bn(2);
    bn.statistics(GetParam().statistics);
    bn.update(GetParam().update);
    return bn;
  }
};

TEST_P(BatchNorm1dSwitches, TrainOverwritesThem) {
  BatchNorm1d<double> bn = layer();
  bn.train();
  EXPECT_EQ(bn.statistics(), Statistics::batch);
  EXPECT_TRUE(bn.update());
}

TEST_P(BatchNorm1dSwitches, EvalOverwritesThem) {
  BatchNorm1d<double> bn = layer();
  bn.eval();
  EXPECT_EQ(bn.statistics(), Statistics::running);
  EXPECT_FALSE(bn.update());
}

TEST_P(BatchNorm1dSwitches, FreezeOverwritesThem) {
  BatchNorm1d<double> bn = layer();
  bn.freeze();
  EXPECT_EQ(bn.statistics(), Statistics::running);
  EXPECT_FALSE(bn.update());
  EXPECT_TRUE(bn.frozen());
}

TEST_P(BatchNorm1dSwitches, SetByHandOnAFrozenLayerTheyStay) {
  BatchNorm1d<double> bn(2);
  bn.freeze();
  bn.statistics(GetParam().statistics);
  bn.update(GetParam().update);
  bn.train();
  bn.eval();
  EXPECT_EQ(bn.statistics(), GetParam().statistics);
  EXPECT_EQ(bn.update(), GetParam().update);
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dSwitches,
                         ::testing::Values(Switches{Statistics::batch, true}, Switches{Statistics::batch, false},
                                           Switches{Statistics::running, true}, Switches{Statistics::running, false}),
                         [](const auto& one) {
                           return std::string(one.param.statistics == Statistics::batch ? "Batch" : "Running") +
                                  (one.param.update ? "Updating" : "Fixed");
                         });

// The presets.

TEST(BatchNorm1dModes, StartInTraining) {
  const BatchNorm1d bn(2);
  EXPECT_EQ(bn.statistics(), Statistics::batch);
  EXPECT_TRUE(bn.update());
  EXPECT_FALSE(bn.frozen());
  EXPECT_TRUE(bn.training());
}

TEST(BatchNorm1dModes, EvalNormalisesWithTheRunningStatisticsAndChangesNothing) {
  BatchNorm1d<double> bn(2);
  set_running(bn);
  bn.eval();
  const Tensor<double> x = batch(), y = bn(x);
  EXPECT_TRUE(within_an_ulp(y, expected(bn, x, Statistics::running).y, 20));
  EXPECT_TRUE(close(bn.running_mean(), {1, -2}, 0));
  EXPECT_TRUE(close(bn.running_var(), {4, 0.25}, 0));
  EXPECT_EQ(bn.num_batches_tracked(), 0);
}

TEST(BatchNorm1dModes, TrainAfterEvalGoesOnWithTheRunningStatistics) {
  BatchNorm1d<double> bn(2), plain(2);
  bn(batch(1));
  bn.eval();
  bn(batch(2));
  bn.train();
  bn(batch(3));
  plain(batch(1));
  plain(batch(3));
  EXPECT_TRUE(same(bn.running_mean(), plain.running_mean()));
  EXPECT_TRUE(same(bn.running_var(), plain.running_var()));
  EXPECT_EQ(bn.num_batches_tracked(), 2);
}

TEST(BatchNorm1dModes, ARowHasTheSameBitsAloneAndInABatchInEval) {
  BatchNorm1d<float> bn(5);
  bn(Generator(3).normal<float>({8, 5}));
  bn.eval();
  const Tensor<float> x = Generator(4).normal<float>({9, 5}), y = bn(x);
  for (std::size_t n = 0; n < 9; ++n) {
    Array<float> row = empty_array<float>({1, 5});
    std::copy_n(x.data() + n * 5, 5, row.data());
    const Tensor<float> alone = bn(Tensor<float>(std::move(row)));
    for (std::size_t c = 0; c < 5; ++c) EXPECT_EQ(alone.data()[c], y.data()[n * 5 + c]);
  }
}

TEST(BatchNorm1dModes, FreezeSurvivesAParentsTrain) {
  Sequential net{Linear<double>(2, 2), BatchNorm1d<double>(2), Sequential{BatchNorm1d<double>(2)}};
  auto& frozen = net.get<BatchNorm1d<double>>(1);
  auto& free = net.get<Sequential<double>>(2).get<BatchNorm1d<double>>(0);
  frozen.freeze();
  net.eval();
  net.train();
  EXPECT_EQ(frozen.statistics(), Statistics::running);
  EXPECT_FALSE(frozen.update());
  EXPECT_EQ(free.statistics(), Statistics::batch);
  EXPECT_TRUE(free.update());
  net(batch());
  EXPECT_EQ(frozen.num_batches_tracked(), 0);
  EXPECT_EQ(free.num_batches_tracked(), 1);
}

TEST(BatchNorm1dModes, AFrozenLayerStillTrainsGammaAndBeta) {
  BatchNorm1d<double> bn(2);
  set_running(bn);
  bn.freeze();
  const Tensor<double> x = trained(batch());
  bn(x).backward(cotangent());
  const oracle::BatchNorm want = expected(bn, x, Statistics::running);
  EXPECT_TRUE(within_an_ulp(bn.gamma().grad(), want.dgamma, 40));
  EXPECT_TRUE(within_an_ulp(bn.beta().grad(), want.dbeta, 40));
}

TEST(BatchNorm1dModes, UnfreezeInTrainingTrains) {
  BatchNorm1d bn(2);
  bn.freeze();
  bn.unfreeze();
  EXPECT_FALSE(bn.frozen());
  EXPECT_EQ(bn.statistics(), Statistics::batch);
  EXPECT_TRUE(bn.update());
}

TEST(BatchNorm1dModes, UnfreezeGoesBackToWhatTheParentSaidLast) {
  Sequential net{BatchNorm1d(2)};
  auto& bn = net.get<BatchNorm1d<>>(0);
  bn.freeze();
  net.eval();
  bn.unfreeze();
  EXPECT_EQ(bn.statistics(), Statistics::running);
  EXPECT_FALSE(bn.update());
  net.train();
  EXPECT_EQ(bn.statistics(), Statistics::batch);
  EXPECT_TRUE(bn.update());
}

TEST(BatchNorm1dModes, FreezingTwiceIsThawedOnce) {
  BatchNorm1d bn(2);
  bn.freeze();
  bn.freeze();
  bn.unfreeze();
  bn.train();
  EXPECT_TRUE(bn.update());
}

TEST(BatchNorm1dModes, FreezeSurvivesAMove) {
  BatchNorm1d<double> bn(2);
  set_running(bn);
  bn.freeze();
  BatchNorm1d<double> moved(std::move(bn));
  moved.train();
  EXPECT_TRUE(moved.frozen());
  EXPECT_EQ(moved.statistics(), Statistics::running);
  EXPECT_TRUE(close(moved.running_mean(), {1, -2}, 0));
}

// Without running statistics.

TEST(BatchNorm1dModes, WithoutTrackingThereAreNoBuffers) {
  BatchNorm1d<double> bn(2, {.track_running_stats = false});
  bn(batch());
  EXPECT_FALSE(bn.running_mean().defined());
  EXPECT_FALSE(bn.running_var().defined());
  EXPECT_EQ(bn.num_batches_tracked(), 0);
  std::vector<std::string> names;
  for (const auto& [name, value] : bn.state_dict()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"weight", "bias"}));
}

TEST(BatchNorm1dModes, WithoutTrackingRunningStatisticsCannotBeAskedFor) {
  BatchNorm1d<double> bn(2, {.track_running_stats = false});
  const std::string rest = " needs running statistics; construct it with track_running_stats = true";
  EXPECT_EQ(error_of([&] { bn.statistics(Statistics::running); }), "BatchNorm1d: Statistics::running" + rest);
  EXPECT_EQ(error_of([&] { bn.update(true); }), "BatchNorm1d: update" + rest);
  EXPECT_EQ(error_of([&] { bn.freeze(); }), "BatchNorm1d: freeze" + rest);
  EXPECT_EQ(error_of([&] { set_running(bn); }), "BatchNorm1d: set_running_statistics" + rest);
  EXPECT_EQ(bn.statistics(), Statistics::batch);
  EXPECT_FALSE(bn.update());
  EXPECT_FALSE(bn.frozen());
}

TEST(BatchNorm1dModes, WithoutTrackingTheOtherPositionsOfTheSwitchesAreFine) {
  BatchNorm1d<double> bn(2, {.track_running_stats = false});
  EXPECT_NO_THROW(bn.statistics(Statistics::batch));
  EXPECT_NO_THROW(bn.update(false));
  EXPECT_NO_THROW(bn.unfreeze());
  EXPECT_NO_THROW(bn.train());
  EXPECT_FALSE(bn.update());
}

// Backward belongs to its own forward.

TEST(BatchNorm1dModes, AnEvalForwardInBetweenDoesNotChangeTheGradient) {
  BatchNorm1d<double> bn(2);
  set_running(bn);
  const Tensor<double> x = trained(batch());
  const Tensor<double> y = bn(x);
  bn.eval();
  bn(batch(2));
  y.backward(cotangent());
  EXPECT_TRUE(within_an_ulp(x.grad(), expected(bn, x, Statistics::batch).dx, 4));
}

TEST(BatchNorm1dModes, AnotherTrainingForwardInBetweenDoesNotChangeTheGradient) {
  BatchNorm1d<double> bn(2);
  const Tensor<double> x = trained(batch());
  const Tensor<double> y = bn(x);
  bn(batch(2));
  y.backward(cotangent());
  EXPECT_TRUE(within_an_ulp(x.grad(), expected(bn, x, Statistics::batch).dx, 4));
  EXPECT_TRUE(within_an_ulp(bn.gamma().grad(), expected(bn, x, Statistics::batch).dgamma, 40));
}

TEST(BatchNorm1dModes, TrainBeforeTheBackwardOfAnEvalForwardDoesNotChangeTheGradient) {
  BatchNorm1d<double> bn(2);
  set_running(bn);
  bn.eval();
  const Tensor<double> x = trained(batch());
  const Tensor<double> y = bn(x);
  const oracle::BatchNorm want = expected(bn, x, Statistics::running);
  bn.train();
  bn(batch(2));  // moves the running statistics
  y.backward(cotangent());
  EXPECT_TRUE(within_an_ulp(x.grad(), want.dx, 20));
  EXPECT_TRUE(within_an_ulp(bn.gamma().grad(), want.dgamma, 80));
}

TEST(BatchNorm1dModes, ChangingGammaBeforeBackwardIsAnError) {
  BatchNorm1d<double> bn(2);
  const Tensor<double> x = trained(batch());
  const Tensor<double> y = bn(x);
  bn.gamma().mutable_value()(0) = 2;
  EXPECT_NE(error_of([&] { y.backward(cotangent()); }).find("batch_norm"), std::string::npos);
  EXPECT_FALSE(x.grad().defined());
}

TEST(BatchNorm1dModes, RunningStatisticsNormaliseAsTheyWereBeforeTheBatchThatUpdatesThem) {
  BatchNorm1d<double> bn(1, {.eps = 0, .momentum = 0.5, .affine = false});
  bn.statistics(Statistics::running);
  bn.update(true);
  const Tensor<double> x{{4}, {8}};
  const Tensor<double> y = bn(x);  // with mean 0 and variance 1
  EXPECT_EQ(y.value()(0, 0), 4);
  EXPECT_EQ(y.value()(1, 0), 8);
  EXPECT_EQ(bn.running_mean().value()(0), 3);   // 0.5 * 0 + 0.5 * 6
  EXPECT_EQ(bn.running_var().value()(0), 4.5);  // 0.5 * 1 + 0.5 * 8
}

}  // namespace
}  // namespace xtgrad
