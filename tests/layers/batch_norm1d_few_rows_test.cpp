// BatchNorm1d with one value per channel, with none, and with two.
#include "batch_norm1d.hpp"
#include "xtgrad/layers/linear.hpp"
#include "xtgrad/layers/sequential.hpp"

namespace xtgrad {
namespace {

using oracle::array;
using oracle::close;
using oracle::error_of;
using oracle::expect_unchanged;
using oracle::Snapshot;
using oracle::tensor;
using oracle::trained;
using oracle::used_layer;
using oracle::words;

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

TEST(BatchNorm1dEdge, ABatchOfANetworkEndingInOneRowIsNamedByItsShape) {
  Sequential net{Linear(2, 3), BatchNorm1d(3)};
  EXPECT_NE(error_of([&] { net(Tensor<>::ones({1, 2})); }).find("got input (1, 3)"), std::string::npos);
  EXPECT_EQ(net.get<BatchNorm1d<>>(1).num_batches_tracked(), 0);
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
                         [](const auto& one) { return words(one.param); });

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
            "to the input, but for spikes where the two are within sqrt(eps) of each other; got input (2, 101)");
}

TEST(BatchNorm1dEdge, GroupsOfTwoRowsWarnToo) {
  const oracle::Warnings warnings;
  BatchNorm1d bn(105, {.virtual_batch = 2});
  bn(trained(Generator(1).normal<float>({8, 105})));
  ASSERT_EQ(warnings.texts.size(), 1U);
  EXPECT_TRUE(warnings.texts[0].ends_with("got input (8, 105) in groups of 2 rows"));
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

}  // namespace
}  // namespace xtgrad
