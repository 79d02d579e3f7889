// What BatchNorm1d refuses: shapes, running statistics from outside, options.
#include "batch_norm1d.hpp"

namespace xtgrad {
namespace {

using oracle::array;
using oracle::close;
using oracle::error_of;
using oracle::expect_unchanged;
using oracle::kNaN;
using oracle::Snapshot;
using oracle::used_layer;

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

}  // namespace
}  // namespace xtgrad
