// BatchNorm1d with NaN, inf and variances that overflow.
#include "batch_norm1d.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::expect_unchanged;
using oracle::kInf;
using oracle::kNaN;
using oracle::same;
using oracle::Snapshot;
using oracle::tensor;
using oracle::trained;
using oracle::used_layer;

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

}  // namespace
}  // namespace xtgrad
