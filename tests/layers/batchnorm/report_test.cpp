#include "xtgrad/batchnorm/report.hpp"

#include <cmath>

#include "../../framework/support.hpp"
#include "xtgrad/batchnorm/recalibrate.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

Dataset<double> rows(std::size_t N, std::size_t columns = 3) {
  Generator generator(1);
  Dataset<double> data{generator.normal<double>({N, columns}, 2, 1.5), full_array<std::int64_t>({N}, 0)};
  for (std::size_t n = 0; n < N; ++n) data.y(n) = data.x.value()(n, 0) > data.x.value()(n, 1) ? 1 : 0;
  return data;
}

Sequential<double> network(BatchNorm1dOptions bn = {}, std::size_t columns = 3) {
  manual_seed(2);
  return Sequential<double>{Linear<double>(columns, 64, {.bias = false}), BatchNorm1d<double>(64, bn), Relu<double>(),
                            Linear<double>(64, 2)};
}

DataLoader<double> loader(std::size_t N = 640, std::size_t m = 16, std::size_t columns = 3) {
  return DataLoader<double>(rows(N, columns), {.batch_size = m, .shuffle = true});
}

// t forward passes in training mode: the running statistics move, the weights do not.
void warm(Sequential<double>& net, DataLoader<double>& data, std::size_t t) {
  while (true)
    for (auto [x, y] : data) {
      if (t-- == 0) return;
      net(x);
    }
}

const LayerPart& part(const BatchNormReport& report, const std::string& name, std::size_t which = 0) {
  for (const LayerPart& p : report.layers)
    if (p.part == name && which-- == 0) return p;
  throw std::out_of_range(name);
}

TEST(Report, PartsAddUpToTheGap) {
  DataLoader<double> data = loader();
  Sequential<double> net = network();
  warm(net, data, 7);
  const BatchNormReport report = batch_norm_report(net, data);
  double loss = 0, accuracy = 0;
  for (const GapPart& p : report.parts) {
    loss += p.loss;
    accuracy += p.accuracy;
  }
  EXPECT_EQ(report.parts.size(), 5u);
  EXPECT_NEAR(loss, report.loss_gap, 1e-14);
  EXPECT_NEAR(accuracy, report.accuracy_gap, 1e-14);
  EXPECT_EQ(report.loss_gap, report.statistics[1].loss - report.statistics[0].loss);
  EXPECT_NE(report.loss_gap, 0);
}

TEST(Report, EvaluatesEachChoiceAsTheModesDo) {
  DataLoader<double> data(rows(640), {.batch_size = 640});
  Sequential<double> net = network();
  warm(net, data, 3);
  const BatchNormReport report = batch_norm_report(net, data);
  const Dataset<double> all = rows(640);
  net.eval();
  EXPECT_NEAR(report.statistics[1].loss, cross_entropy(net(all.x), all.y).item(), 1e-12);
  EXPECT_EQ(report.statistics[1].statistics, "EMA");
  EXPECT_EQ(report.statistics[1].distance, 0);
  net.train();
  net.get<BatchNorm1d<double>>(1).update(false);
  EXPECT_NEAR(report.statistics[0].loss, cross_entropy(net(all.x), all.y).item(), 1e-12);
}

TEST(Report, AgreesWithTheoryWhereRowsAreIndependentAndWeightsStandStill) {
  for (const std::size_t m : {8U, 32U}) {
    // An epoch much longer than the running mean remembers: its batches are then as good as independent.
    DataLoader<double> data = loader(160 * m, m, 64);
    Sequential<double> net = network({.eps = 0.01}, 64);
    warm(net, data, 40);
    const BatchNormReport report = batch_norm_report(net, data);
    for (const auto& [name, which] :
         {std::pair{"eps", 0}, {"sampling noise", 0}, {"Bessel", 0}, {"initial residue", 0}, {"eps", 1}}) {
      const LayerPart& p = part(report, name, static_cast<std::size_t>(which));
      EXPECT_NEAR(p.measured.scale, p.theory.scale, 0.01 * p.theory.scale) << name << ", m " << m;
      EXPECT_NEAR(p.measured.shift, p.theory.shift, 0.01) << name << ", m " << m;
    }
    // The weights stood still, so the running mean is an average of batch means: root mean square of 64 channels, which
    // are functions of as many columns, so that they scatter each for itself.
    EXPECT_NEAR(part(report, "EMA lag").measured.shift / part(report, "EMA lag").theory.shift, 1, 0.4);
  }
}

// Two BatchNorm layers, an uneven last batch, and weights that move: the statistics still say what the outputs show.
TEST(Report, PredictsEveryPartOfALayerFromItsStatistics) {
  DataLoader<double> data(rows(150), {.batch_size = 16, .min_batch = 2});
  manual_seed(2);
  Sequential<double> net{Linear<double>(3, 16), BatchNorm1d<double>(16), Relu<double>(),
                         Linear<double>(16, 8), BatchNorm1d<double>(8),  Linear<double>(8, 2)};
  SGD<double> sgd(net.parameters(), {.lr = 0.5});
  for (auto [x, y] : data) {
    sgd.zero_grad();
    cross_entropy(net(x), y).backward();
    sgd.step();
  }
  const BatchNormReport report = batch_norm_report(net, data);
  ASSERT_EQ(report.layers.size(), 12u);
  for (const LayerPart& p : report.layers) {
    const double tolerance = p.part == "eps" ? 1e-3 : 1e-9;  // eps is predicted at the mean variance of the batches
    EXPECT_NEAR(p.measured.scale / p.predicted.scale, 1, tolerance) << p.layer << ", " << p.part;
    EXPECT_NEAR(p.measured.shift, p.predicted.shift, tolerance) << p.layer << ", " << p.part;
  }
  EXPECT_GT(part(report, "EMA lag").measured.shift, 2 * part(report, "EMA lag").theory.shift);
}

TEST(Report, SeesBesselsFactorAndTheInitialResidueExactly) {
  DataLoader<double> data = loader(640, 4);
  Sequential<double> net = network();
  warm(net, data, 5);
  const BatchNormReport report = batch_norm_report(net, data);
  EXPECT_NEAR(part(report, "Bessel").measured.scale, std::sqrt(3.0 / 4), 1e-12);
  const LayerPart& residue = part(report, "initial residue");
  EXPECT_NEAR(residue.measured.scale, residue.theory.scale, 1e-12);
  EXPECT_GT(std::abs(residue.measured.scale - 1), 0.01);  // 0.9^5 of the variance is still 1
}

TEST(Report, CumulativeStatisticsHaveNoResidueAndLayersWithoutThemNoParts) {
  DataLoader<double> data = loader();
  Sequential<double> net = network({.momentum = std::nullopt});
  warm(net, data, 40);
  EXPECT_NEAR(part(batch_norm_report(net, data), "initial residue").measured.scale, 1, 1e-12);
  Sequential<double> untracked = network({.track_running_stats = false});
  const BatchNormReport report = batch_norm_report(untracked, data);
  EXPECT_TRUE(report.layers.empty());
  EXPECT_EQ(report.loss_gap, 0);
}

TEST(Report, ChangesNothing) {
  DataLoader<double> data = loader();
  Sequential<double> net = network();
  warm(net, data, 3);
  const auto mean = test::values(net.get<BatchNorm1d<double>>(1).running_mean());
  batch_norm_report(net, data);
  EXPECT_EQ(test::values(net.get<BatchNorm1d<double>>(1).running_mean()), mean);
  EXPECT_EQ(net.get<BatchNorm1d<double>>(1).num_batches_tracked(), 3);
  EXPECT_TRUE(net.get<BatchNorm1d<double>>(1).update());
  EXPECT_TRUE(net.training());
}

// The share of the initial variance, taken off a running variance that is nothing else, may leave a little less than 0.
TEST(Report, OfAConstantChannelIsFinite) {
  for (std::size_t t = 1; t <= 12; ++t) {
    Dataset<float> data{Generator(1).normal<float>({24, 2}), full_array<std::int64_t>({24}, 0)};
    for (std::size_t n = 0; n < 24; ++n) data.x.mutable_value()(n, 0) = 5;
    DataLoader<float> batches(data, {.batch_size = 8});
    Sequential<float> net{BatchNorm1d<float>(2), Linear<float>(2, 2)};
    for (std::size_t i = 0; i < t; ++i) net(data.x);
    for (const auto& p : batch_norm_report(net, batches).parts) EXPECT_TRUE(std::isfinite(p.loss)) << t << p.part;
  }
}

// The count of batches stays, but nothing of the initial values is left.
TEST(Report, AfterRecalibrationHasNoInitialResidue) {
  Sequential<double> net = network();
  DataLoader<double> data = loader();
  warm(net, data, 3);
  recalibrate(net, data);
  const BatchNormReport report = batch_norm_report(net, data);
  double sum = 0;
  for (const auto& p : report.parts) {
    sum += p.loss;
    EXPECT_TRUE(p.part != "initial residue" || p.loss == 0) << p.loss;
  }
  EXPECT_NEAR(sum, report.loss_gap, 1e-12);
}

}  // namespace
}  // namespace xtgrad
