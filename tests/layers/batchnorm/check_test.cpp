// One failing fixture for each rule, and one without a finding.
#include "xtgrad/batchnorm/check.hpp"

#include "../../framework/support.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

DataLoader<> loader(std::size_t N, LoaderOptions options = {.batch_size = 8, .min_batch = 3}) {
  return DataLoader<>({Generator(1).normal<float>({N, 2}), full_array<std::int64_t>({N}, 0)}, options);
}

Sequential<> network(LinearOptions linear = {.bias = false}, BatchNorm1dOptions bn = {}) {
  manual_seed(0);
  return Sequential<>{Linear(2, 4, linear), BatchNorm1d(4, bn), Relu(), Linear(4, 2)};
}

// The reasons and remedies found, layer by layer.
std::string findings(Module<float>& net, const DataLoader<>& data, const Optimizer<float>* optimizer = nullptr) {
  std::string text;
  for (const Finding& f : check(net, data, optimizer)) text += f.layer + ": " + f.reason + "; " + f.remedy + "\n";
  return text;
}

void expect_finding(const std::string& text, const std::vector<std::string>& parts) {
  test::expect_parts(text, parts);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST(Check, FindsNothingInAGoodSetUp) {
  Sequential<> net = network();
  SGD<> sgd(net.parameters());
  EXPECT_EQ(findings(net, loader(24), &sgd), "");
  Sequential<> plain{Linear(2, 2)};
  EXPECT_EQ(findings(plain, loader(9, {.batch_size = 2})), "");
}

TEST(Check, FindsADeadBias) {
  Sequential<> net = network({.bias = true});
  expect_finding(findings(net, loader(24)),
                 {"1 BatchNorm1d(4): ", "bias of 0 Linear(2, 4)", "gradient is zero", ".bias = false"});
}

TEST(Check, FindsALastBatchOfOneOrTwoRows) {
  Sequential<> net = network();
  expect_finding(findings(net, loader(25, {.batch_size = 8})),
                 {"loader: 25 rows in batches of 8", "batch of 1", "min_batch = 2"});
  expect_finding(findings(net, loader(26, {.batch_size = 8})),
                 {"loader: 26 rows in batches of 8", "batch of 2", "min_batch = 3"});
  EXPECT_EQ(findings(net, loader(25, {.batch_size = 8, .min_batch = 2})), "");
  EXPECT_EQ(findings(net, loader(26, {.batch_size = 8, .drop_last = true})), "");
}

TEST(Check, FindsBatchesOfTwo) {
  Sequential<> net = network();
  expect_finding(findings(net, loader(24, {.batch_size = 2})), {"loader: batches of 2 rows", "no gradient"});
}

TEST(Check, FindsBatchesThatAreASingleRow) {
  Sequential<> net = network();
  expect_finding(findings(net, loader(24, {.batch_size = 1})), {"loader: batches of 1 row", "batch_size = 8"});
  expect_finding(findings(net, loader(1, {.batch_size = 8})), {"loader: 1 rows in batches of 8", "batch of 1"});
}

TEST(Check, FindsWeightDecayOnGammaAndBeta) {
  Sequential<> net = network();
  SGD<> sgd(net.parameters(), {.weight_decay = 0.01});
  expect_finding(findings(net, loader(24), &sgd),
                 {"1 BatchNorm1d(4): weight decay 0.01 on gamma and 0.01 on beta", "group"});
}

TEST(Check, FindsStatisticsThatAreNeverUpdated) {
  Sequential<> net = network();
  net.get<BatchNorm1d<>>(1).update(false);
  expect_finding(findings(net, loader(24)), {"1 BatchNorm1d(4): ", "not updated", "update(true)"});
  Sequential<> still = network({.bias = false}, {.momentum = 0});
  expect_finding(findings(still, loader(24)), {"momentum 0"});
  Sequential<> frozen = network();
  frozen.get<BatchNorm1d<>>(1).freeze();
  EXPECT_EQ(findings(frozen, loader(24)), "");
}

TEST(Check, FindsALayerThatRunsTwiceInAForwardPass) {
  struct Twice : Module<float> {
    BatchNorm1d<> bn{2};
    Tensor<float> forward(const Tensor<float>& x) override { return bn(relu(bn(x))); }
    void visit(Visitor<float>& v) override { v.child("bn", bn); }
    std::string name() const override { return "Twice"; }
  } net;
  expect_finding(findings(net, loader(24)), {"bn BatchNorm1d(2): it runs more than once"});
}

TEST(Check, FindsAChannelWithoutVariance) {
  Sequential<> net = network();
  net.get<Linear<>>(0).weight().mutable_value()(2, 0) = 0;
  net.get<Linear<>>(0).weight().mutable_value()(2, 1) = 0;
  expect_finding(findings(net, loader(24)), {"1 BatchNorm1d(4): channel 2 has the variance 0", "1 / sqrt(eps) = 316"});
}

TEST(Check, FindsEvaluationInTrainingMode) {
  Sequential<> net = network();
  const NoGrad guard;
  expect_finding(findings(net, loader(24)), {"1 BatchNorm1d(4): evaluation", "net.eval()"});
  net.eval();
  EXPECT_EQ(findings(net, loader(24)), "");
}

TEST(Check, ChangesNothing) {
  Sequential<> net = network();
  const auto mean = test::values(net.get<BatchNorm1d<>>(1).running_mean());
  manual_seed(5);
  findings(net, loader(24));
  EXPECT_EQ(default_generator().uniform(), Generator(5).uniform());
  EXPECT_EQ(test::values(net.get<BatchNorm1d<>>(1).running_mean()), mean);
  EXPECT_TRUE(net.get<BatchNorm1d<>>(1).update());
  EXPECT_THROW(net[1].remove_hook(0), std::invalid_argument);
}

TEST(Check, CountsTheValuesOfAChannelAndNotTheRows) {
  Sequential<> net{BatchNorm1d(3)};
  for (const std::size_t size : {1U, 2U, 3U}) {
    const DataLoader<> series({Generator(1).normal<float>({4, 3, 10}), full_array<std::int64_t>({4}, 0)},
                              {.batch_size = size});
    EXPECT_EQ(findings(net, series), "") << size;
  }
}

}  // namespace
}  // namespace xtgrad
