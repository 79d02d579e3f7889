#include "xtgrad/batchnorm/recalibrate.hpp"

#include <cmath>
#include <limits>

#include "../../framework/support.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;

Dataset<double> rows(std::size_t N, double mean = 3, std::uint64_t seed = 1) {
  return {Generator(seed).normal<double>({N, 2}, mean, 2), full_array<std::int64_t>({N}, 0)};
}

TEST(Recalibrate, GivesTheMeanAndUnbiasedVarianceOfAllRows) {
  const Dataset<double> data = rows(23);  // batches of 5, 5, 5, 5 and 3
  DataLoader<double> loader(data, {.batch_size = 5, .shuffle = true});
  Sequential<double> net{BatchNorm1d<double>(2)};
  EXPECT_EQ(recalibrate(net, loader), 23u);
  const auto& bn = net.get<BatchNorm1d<double>>(0);
  for (std::size_t c = 0; c < 2; ++c) {
    long double mean = 0, m2 = 0;
    for (std::size_t n = 0; n < 23; ++n) mean += static_cast<long double>(data.x.value()(n, c)) / 23;
    for (std::size_t n = 0; n < 23; ++n) m2 += std::pow(static_cast<long double>(data.x.value()(n, c)) - mean, 2.0L);
    EXPECT_NEAR(bn.running_mean().value()(c), static_cast<double>(mean), 1e-14);
    EXPECT_NEAR(bn.running_var().value()(c), static_cast<double>(m2 / 22), 1e-13);
  }
}

// What reaches the second layer was normalised with the batch's statistics: of mean 0 in every batch, whatever the first
// layer's running ones are.
TEST(Recalibrate, NormalisesAsInTraining) {
  DataLoader<double> loader(rows(40), {.batch_size = 8});
  Sequential<double> net{BatchNorm1d<double>(2, {.eps = 0}), BatchNorm1d<double>(2)};
  recalibrate(net, loader);
  const auto& second = net.get<BatchNorm1d<double>>(1);
  for (std::size_t c = 0; c < 2; ++c) {
    EXPECT_NEAR(second.running_mean().value()(c), 0, 1e-14);
    EXPECT_NEAR(second.running_var().value()(c), 40.0 / 39, 1e-13);
  }
}

TEST(Recalibrate, ChangesNothingElse) {
  DataLoader<double> loader(rows(20), {.batch_size = 5});
  Sequential<double> net{Linear<double>(2, 2), Dropout<double>(), BatchNorm1d<double>(2)};
  net.eval();
  const auto weights = test::values(net.parameters()[0]);
  manual_seed(3);
  recalibrate(net, loader);
  EXPECT_EQ(default_generator().uniform(), Generator(3).uniform());
  EXPECT_EQ(test::values(net.parameters()[0]), weights);
  EXPECT_FALSE(net.training());
  EXPECT_EQ(net.get<BatchNorm1d<double>>(2).num_batches_tracked(), 0);
  EXPECT_EQ(net.get<BatchNorm1d<double>>(2).statistics(), Statistics::running);
}

// One layer in two places.
class Twice : public Module<double> {
 public:
  Tensor<double> forward(const Tensor<double>& x) override { return bn(bn(x)); }
  void visit(Visitor<double>& v) override {
    v.child("a", bn);
    v.child("b", bn);
  }
  std::string name() const override { return "Twice"; }

  BatchNorm1d<double> bn{2};
};

TEST(Recalibrate, LeavesTheSwitchesOfALayerInTwoPlacesAsTheyWere) {
  DataLoader<double> loader(rows(12), {.batch_size = 4});
  for (const bool training : {false, true}) {
    Twice net;
    net.train(training);
    recalibrate(net, loader);
    EXPECT_EQ(net.bn.statistics(), training ? Statistics::batch : Statistics::running);
    EXPECT_EQ(net.bn.update(), training);
  }
}

TEST(Recalibrate, OfDataThatIsNotFiniteChangesNothing) {
  Dataset<double> data = rows(20);
  data.x.mutable_value()(17, 1) = std::numeric_limits<double>::infinity();
  DataLoader<double> loader(data, {.batch_size = 5});
  Sequential<double> net{BatchNorm1d<double>(2)};
  expect_parts(error([&] { recalibrate(net, loader); }), {"recalibrate", "channel 1", "0 BatchNorm1d(2)"});
  EXPECT_EQ(test::values(net.get<BatchNorm1d<double>>(0).running_mean()), (std::vector<double>{0, 0}));
}

TEST(Recalibrate, OfABatchThatDoesNotGoThroughChangesNothing) {
  DataLoader<double> loader(rows(11), {.batch_size = 5});  // the last batch has one row
  Sequential<double> net{BatchNorm1d<double>(2)};
  expect_parts(error([&] { recalibrate(net, loader); }), {"needs more than one value", "min_batch = 2"});
  EXPECT_EQ(test::values(net.get<BatchNorm1d<double>>(0).running_mean()), (std::vector<double>{0, 0}));
  EXPECT_EQ(net.get<BatchNorm1d<double>>(0).statistics(), Statistics::batch);
  EXPECT_TRUE(net.get<BatchNorm1d<double>>(0).update());
}

}  // namespace
}  // namespace xtgrad
