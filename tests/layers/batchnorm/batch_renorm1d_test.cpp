#include "xtgrad/batchnorm/batch_renorm1d.hpp"

#include <cmath>

#include "../../framework/support.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

Tensor<double> random(const Shape& shape, std::uint64_t seed, double mean = 0, double std = 1) {
  return Generator(seed).normal<double>(shape, mean, std);
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance = 1e-12) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance * (1 + std::abs(want[i]))) << i;
}

// A layer that has seen batches, with gamma and beta that are not 1 and 0.
BatchRenorm1d<double> used_layer(BatchRenorm1dOptions options = {}) {
  BatchRenorm1d<double> layer(3, options);
  for (std::uint64_t t = 0; t < 5; ++t) layer(random({8, 3}, t, 2, 3));
  layer.gamma().mutable_value() = Array<double>{0.5, -2, 3};
  layer.beta().mutable_value() = Array<double>{1, 0.25, -4};
  return layer;
}

// The paper's lines in plain ops; r and d are detached.
Tensor<double> by_the_paper(const Tensor<double>& x, BatchRenorm1d<double>& layer) {
  const BatchRenorm1dOptions& o = layer.options();
  const Axes axes = x.shape().size() == 3 ? Axes{0, 2} : Axes{0};
  const auto per_channel = [&](const Tensor<double>& t) { return x.shape().size() == 3 ? reshape(t, {3, 1}) : t; };
  const Tensor<double> mu = mean(x, axes, {.keepdims = true}),
                       sigma = sqrt(mean((x - mu) * (x - mu), axes, {.keepdims = true}) + o.eps);
  const Tensor<double> running_std = per_channel(layer.running_std()), running_mean = per_channel(layer.running_mean());
  const Tensor<double> r = clamp(sigma.detach() / running_std, 1 / o.r_max, o.r_max);
  const Tensor<double> d = clamp((mu.detach() - running_mean) / running_std, -o.d_max, o.d_max);
  return per_channel(layer.gamma()) * ((x - mu) / sigma * r + d) + per_channel(layer.beta());
}

class BatchRenorm1dLimits : public ::testing::TestWithParam<std::pair<double, double>> {};

// Limits that nothing reaches, that some channels reach, and that all do.
INSTANTIATE_TEST_SUITE_P(Some, BatchRenorm1dLimits,
                         ::testing::Values(std::pair(1e6, 1e6), std::pair(1.5, 0.3), std::pair(1.0, 0.0)));

TEST_P(BatchRenorm1dLimits, OutputsAndGradientsAreThoseOfThePaper) {
  const auto [r_max, d_max] = GetParam();
  for (const Shape& shape : {Shape{6, 3}, Shape{4, 3, 5}}) {
    BatchRenorm1d<double> layer = used_layer({.momentum = 0.2, .r_max = r_max, .d_max = d_max});
    const Tensor<double> x = variable(random(shape, 10, -1, 2)), dy = random(shape, 11);
    const std::vector<Tensor<double>> inputs{x, layer.gamma(), layer.beta()};
    const Tensor<double> expected = by_the_paper(x, layer), y = layer(x);  // the second moves the statistics
    expect_near(values(y), values(expected));
    const auto got = grad(y, inputs, {.seed = dy}), want = grad(expected, inputs, {.seed = dy});
    for (std::size_t i = 0; i < inputs.size(); ++i) expect_near(values(got[i]), values(want[i]), 1e-11);
  }
}

TEST(BatchRenorm1d, StatisticsMoveTowardsMeanAndBiasedStd) {
  BatchRenorm1d<double> layer(1, {.eps = 0.5, .momentum = 0.25});
  layer(Tensor<double>{{1}, {4}});  // mean 2.5, biased variance 2.25
  EXPECT_DOUBLE_EQ(layer.running_mean().item(), 0.25 * 2.5);
  EXPECT_DOUBLE_EQ(layer.running_std().item(), 0.75 + 0.25 * std::sqrt(2.75));
  EXPECT_EQ(layer.num_batches_tracked(), 1);
}

TEST(BatchRenorm1d, WithoutClippingTrainingGivesWhatEvaluationGivesBeforeTheBatch) {
  BatchRenorm1d<double> layer = used_layer({.r_max = 1e6, .d_max = 1e6});
  const Tensor<double> x = random({4, 3}, 20, 5, 0.5);
  layer.eval();
  const Tensor<double> in_evaluation = layer(x);
  layer.train();
  expect_near(values(layer(x)), values(in_evaluation));
  layer.eval();
  EXPECT_NE(values(layer(x)), values(in_evaluation)) << "the batch has moved the statistics";
}

TEST(BatchRenorm1d, WhereThePaperBeginsItIsBatchNorm) {
  for (const bool affine : {true, false}) {
    BatchRenorm1d<float> renorm(4, {.r_max = 1, .d_max = 0, .affine = affine});
    BatchNorm1d<float> norm(4, {.affine = affine});
    const Tensor<> x = Generator(1).normal<float>({9, 4}, 3, 2), dy = Generator(2).normal<float>({9, 4});
    const Tensor<> a = variable(Tensor<>(x.value())), b = variable(Tensor<>(x.value()));
    const Tensor<> y = renorm(a), z = norm(b);
    EXPECT_EQ(values(y), values(z));
    y.backward(dy);
    z.backward(dy);
    EXPECT_EQ(values(a.grad()), values(b.grad()));
  }
}

TEST(BatchRenorm1d, ABatchThatIsNotFiniteLeavesTheStatisticsAndOtherChannelsAlone) {
  BatchRenorm1d<double> layer = used_layer(), other = used_layer();
  const std::vector<double> mean = values(layer.running_mean()), std = values(layer.running_std());
  Tensor<double> x = random({4, 3}, 30);
  const Tensor<double> clean = other(Tensor<double>(x.value()));
  for (const double bad : {std::nan(""), HUGE_VAL, 1e200}) {  // the square of the last overflows
    x.mutable_value()(2, 1) = bad;
    const Tensor<double> y = layer(x);
    EXPECT_TRUE(std::isnan(y.value()(0, 1)));
    for (std::size_t n = 0; n < 4; ++n) EXPECT_EQ(y.value()(n, 0), clean.value()(n, 0));
  }
  EXPECT_EQ(values(layer.running_mean()), mean);
  EXPECT_EQ(values(layer.running_std()), std);
  EXPECT_EQ(layer.num_batches_tracked(), 5);
}

TEST(BatchRenorm1d, RefusesOneValueAndOtherChannelsWithNothingChanged) {
  BatchRenorm1d<double> layer = used_layer();
  const std::vector<double> mean = values(layer.running_mean());
  expect_parts(error([&] { layer(random({1, 3}, 1)); }), {"BatchRenorm1d", "more than one value", "(1, 3)"});
  expect_parts(error([&] { layer(random({4, 2}, 1)); }), {"(4, 2)", "2 channels", "expected 3"});
  EXPECT_EQ(values(layer.running_mean()), mean);
  EXPECT_EQ(layer.num_batches_tracked(), 5);
  layer.eval();
  EXPECT_EQ(layer(random({1, 3}, 1)).shape(), (Shape{1, 3}));
}

TEST(BatchRenorm1d, AnEmptyBatchChangesNothing) {
  BatchRenorm1d<double> layer = used_layer();
  EXPECT_EQ(layer(Tensor<double>::zeros({0, 3})).shape(), (Shape{0, 3}));
  EXPECT_EQ(layer.num_batches_tracked(), 5);
}

TEST(BatchRenorm1d, RefusesOptionsOutOfTheirRange) {
  const auto refused = [](BatchRenorm1dOptions options) { return error([&] { BatchRenorm1d<>(2, options); }); };
  expect_parts(refused({.eps = 0}), {"eps is 0"});
  expect_parts(refused({.momentum = 1.5}), {"momentum is 1.5"});
  expect_parts(refused({.r_max = 0.9}), {"r_max is 0.9"});
  expect_parts(refused({.d_max = -1}), {"d_max -1"});
  expect_parts(error([] { BatchRenorm1d<>(0); }), {"0 channels"});
  BatchRenorm1d<> layer(2);
  expect_parts(error([&] { layer.limits(std::nan(""), 0); }), {"r_max is nan"});
  EXPECT_EQ(layer.options().r_max, 3);
}

TEST(BatchRenorm1d, AStdOfZeroThatWasLoadedCountsAsTheLeastThereCanBe) {
  BatchRenorm1d<double> layer(1, {.eps = 0.25, .r_max = 1e6, .d_max = 1e6});
  auto state = layer.state_dict();
  for (auto& [name, value] : state)
    if (name == "running_std") std::get<Tensor<double>>(value).mutable_value()(0) = 0;
  layer.load_state_dict(state);
  layer.eval();
  EXPECT_DOUBLE_EQ(layer(Tensor<double>{{3}}).item(), 6);  // 3 / sqrt(0.25)
}

TEST(BatchRenorm1d, ACloneAndAStateDictCarryEverything) {
  Sequential<double> net;
  net.add(used_layer({.momentum = 0.2, .r_max = 2}));
  Sequential<double> copy = net.clone();
  const Tensor<double> x = random({5, 3}, 40);
  EXPECT_EQ(values(copy(x)), values(net(x)));
  std::vector<std::string> names;
  for (const auto& [name, value] : net.state_dict()) names.push_back(name);
  EXPECT_EQ(names, (std::vector<std::string>{"0.weight", "0.bias", "0.running_mean", "0.running_std",
                                             "0.num_batches_tracked"}));
  EXPECT_EQ(net[0].name(), "BatchRenorm1d(3)");
}

// A standard deviation whose square is beyond the largest float would make eval mode an affine map of slope 0.
TEST(BatchRenorm1d, ABatchWhoseVarianceIsBeyondTheLargestFloatLeavesTheStatisticsAlone) {
  BatchRenorm1d<float> layer(1, {.momentum = 1});
  layer(Tensor<float>{{1e20F}, {-1e20F}, {3e20F}});
  EXPECT_EQ(layer.num_batches_tracked(), 0);
  layer(Tensor<float>{{1e18F}, {-1e18F}, {3e18F}});
  EXPECT_EQ(layer.num_batches_tracked(), 1);
  layer.eval();
  EXPECT_NEAR(layer(Tensor<float>{{3e18F}}).item(), std::sqrt(1.5F), 1e-5F);
}

}  // namespace
}  // namespace xtgrad
