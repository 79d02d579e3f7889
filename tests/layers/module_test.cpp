#include "xtgrad/layers/module.hpp"

#include <gtest/gtest.h>

#include "oracle.hpp"
#include "xtgrad/layers/activations.hpp"
#include "xtgrad/layers/batch_norm1d.hpp"
#include "xtgrad/layers/linear.hpp"
#include "xtgrad/layers/sequential.hpp"
#include "xtgrad/optim/optimizers.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::error_of;
using oracle::same;
using oracle::tensor;

using Names = std::vector<std::string>;

Sequential<> small_net() { return Sequential{Linear(2, 3), BatchNorm1d(3), Relu(), Linear(3, 2, {.bias = false})}; }

Names names_of(const StateDict<float>& state) {
  Names names;
  for (const auto& [name, value] : state) names.push_back(name);
  return names;
}

Tensor<> batch(std::uint64_t seed = 1) { return Generator(seed).normal<float>({5, 2}); }

// Every value of two state dicts.
void expect_same(const StateDict<float>& a, const StateDict<float>& b) {
  ASSERT_EQ(names_of(a), names_of(b));
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].second.index(), b[i].second.index()) << a[i].first;
    if (const auto* count = std::get_if<std::int64_t>(&a[i].second))
      EXPECT_EQ(*count, std::get<std::int64_t>(b[i].second)) << a[i].first;
    else
      EXPECT_TRUE(same(std::get<Tensor<>>(a[i].second), std::get<Tensor<>>(b[i].second))) << a[i].first;
  }
}

template <class V> V& value_of(StateDict<float>& state, const std::string& name) {
  for (auto& [key, value] : state)
    if (key == name) return std::get<V>(value);
  throw std::logic_error(name);
}

TEST(Module, ParametersHavePyTorchsNamesAndOrder) {
  Sequential<> net = small_net();
  Names names;
  for (const auto& [name, p] : net.named_parameters()) names.push_back(name);
  EXPECT_EQ(names, (Names{"0.weight", "0.bias", "1.weight", "1.bias", "3.weight"}));
}

TEST(Module, StateHasPyTorchsNamesAndOrder) {
  Sequential<> net = small_net();
  EXPECT_EQ(names_of(net.state_dict()), (Names{"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean",
                                               "1.running_var", "1.num_batches_tracked", "3.weight"}));
}

TEST(Module, ParametersAreHandlesNotCopies) {
  Linear fc(2, 3);
  fc.parameters()[0].mutable_value()(0, 0) = 42;
  EXPECT_EQ(fc.weight().value()(0, 0), 42);
}

TEST(Module, BuffersAreNotParameters) {
  BatchNorm1d bn(3);
  EXPECT_EQ(bn.parameters().size(), 2U);
}

TEST(Module, ParameterCountIsTheNumberOfTrainedNumbers) {
  EXPECT_EQ(small_net().parameter_count(), 2U * 3 + 3 + 3 + 3 + 3 * 2);
  EXPECT_EQ(Relu().parameter_count(), 0U);
}

struct Tied : Module<float> {
  Linear<> encode{3, 3};
  Linear<> decode{3, 3, {.bias = false}};
  Tied() { decode.weight() = encode.weight(); }
  Tensor<> forward(const Tensor<>& x) override { return decode(encode(x)); }
  void visit(Visitor<float>& v) override {
    v.child("encode", encode);
    v.child("decode", decode);
  }
  std::string name() const override { return "Tied"; }
};

TEST(Module, TiedParametersAppearOnceUnderTheirFirstName) {
  Tied net;
  Names names;
  for (const auto& [name, p] : net.named_parameters()) names.push_back(name);
  EXPECT_EQ(names, (Names{"encode.weight", "encode.bias"}));
  EXPECT_EQ(net.parameters().size(), 2U);
  EXPECT_EQ(net.parameter_count(), 12U);
}

TEST(Module, TiedParametersAppearTwiceInTheState) {
  Tied net;
  EXPECT_EQ(names_of(net.state_dict()), (Names{"encode.weight", "encode.bias", "decode.weight"}));
}

TEST(Module, TiedParametersStayTiedWhenLoaded) {
  Tied net, other;
  net.load_state_dict(other.state_dict());
  EXPECT_TRUE(same(net.encode.weight(), other.encode.weight()));
  EXPECT_EQ(net.encode.weight().data(), net.decode.weight().data());
}

TEST(Module, EqualParametersOfTwoLayersAreTwo) {
  Sequential net{BatchNorm1d(3), BatchNorm1d(3)};
  EXPECT_EQ(net.parameters().size(), 4U);
}

TEST(Module, AnUndefinedParameterIsPassedOver) {
  Linear fc(2, 3, {.bias = false});
  EXPECT_EQ(fc.named_parameters().size(), 1U);
  EXPECT_EQ(names_of(fc.state_dict()), (Names{"weight"}));
}

// State

TEST(Module, NumBatchesTrackedIsAnInteger) {
  BatchNorm1d bn(2);
  bn(batch());
  bn(batch());
  StateDict<float> state = bn.state_dict();
  EXPECT_EQ(value_of<std::int64_t>(state, "num_batches_tracked"), 2);
}

TEST(Module, TheStateIsACopy) {
  Sequential<> net = small_net();
  net(batch());
  const StateDict<float> state = net.state_dict();
  Sequential<> twin = small_net();
  twin.load_state_dict(state);  // holds the values now

  SGD sgd(net.parameters(), {.lr = 0.5});
  net(batch(2)).backward(Tensor<>::ones({5, 2}));
  sgd.step();
  EXPECT_FALSE(same(net.parameters()[0], twin.parameters()[0]));
  expect_same(state, twin.state_dict());
}

TEST(Module, ChangingTheStateDoesNotChangeTheModule) {
  Linear fc(2, 3);
  StateDict<float> state = fc.state_dict();
  const float before = fc.weight().value()(0, 0);
  value_of<Tensor<>>(state, "weight").mutable_value()(0, 0) = before + 1;
  EXPECT_EQ(fc.weight().value()(0, 0), before);
}

TEST(Module, LoadingTheStateOfATwinGivesItsOutputs) {
  Sequential<> net = small_net(), twin = small_net();
  net(batch());
  twin.load_state_dict(net.state_dict());
  expect_same(twin.state_dict(), net.state_dict());
  net.eval();
  twin.eval();
  EXPECT_TRUE(same(twin(batch(3)), net(batch(3))));
}

TEST(Module, LoadingCopiesTheState) {
  Linear fc(2, 3);
  StateDict<float> state = fc.state_dict();
  fc.load_state_dict(state);
  const float before = fc.weight().value()(0, 0);
  value_of<Tensor<>>(state, "weight").mutable_value()(0, 0) = before + 1;
  EXPECT_EQ(fc.weight().value()(0, 0), before);
}

TEST(Module, LoadingWorksInAnyOrder) {
  Sequential<> net = small_net(), twin = small_net();
  StateDict<float> state = net.state_dict();
  std::reverse(state.begin(), state.end());
  twin.load_state_dict(state);
  expect_same(twin.state_dict(), net.state_dict());
}

TEST(Module, LoadingKeepsTheOptimizersHandles) {
  Linear fc(1, 1, {.bias = false});
  SGD sgd(fc.parameters(), {.lr = 1});
  Linear source(1, 1, {.bias = false});
  source.weight().mutable_value()(0, 0) = 5;
  fc.load_state_dict(source.state_dict());
  fc(tensor<float>({1, 1}, {2})).backward();
  sgd.step();
  EXPECT_EQ(fc.weight().value()(0, 0), 3);
}

TEST(Module, LoadingBetweenForwardAndBackwardIsAnError) {
  Linear fc(2, 3);
  const Tensor<> x = oracle::trained(batch());
  const Tensor<> y = fc(x);
  fc.load_state_dict(Linear(2, 3).state_dict());
  EXPECT_NE(error_of([&] { y.backward(Tensor<>::ones({5, 3})); }).find("linear"), std::string::npos);
}

TEST(Module, LoadingListsAllThatIsWrong) {
  Sequential<> net = small_net();
  StateDict<float> state = net.state_dict();
  state.erase(state.begin() + 1);                                      // 0.bias
  value_of<Tensor<>>(state, "0.weight") = Tensor<>::ones({3, 5});      // wrong shape
  value_of<Tensor<>>(state, "1.running_var").mutable_value()(1) = -2;  // not a variance
  state[5].second = Tensor<>(1);                                       // 1.num_batches_tracked, not integer
  state.emplace_back("4.weight", Tensor<>::ones({1}));                 // unexpected
  state.emplace_back("1.bias", Tensor<>::ones({3}));                   // twice
  ASSERT_EQ(state[5].first, "1.num_batches_tracked");
  EXPECT_EQ(
      error_of([&] { net.load_state_dict(state); }),
      "load_state_dict: 1.bias is there twice; 0.weight is (3, 5), expected (3, 2); 0.bias is missing; "
      "1.running_var holds -2, expected values that are not negative; 1.num_batches_tracked is a tensor, expected "
      "an integer; 4.weight is unexpected");
}

TEST(Module, LoadingAnIntegerWhereARealBelongsIsAnError) {
  BatchNorm1d bn(2);
  StateDict<float> state = bn.state_dict();
  state[0].second = std::int64_t{1};
  EXPECT_EQ(error_of([&] { bn.load_state_dict(state); }), "load_state_dict: weight is an integer, expected a tensor");
}

TEST(Module, AFailedLoadChangesNothing) {
  for (const std::string missing : {"0.weight", "1.running_mean", "1.num_batches_tracked", "3.weight"}) {
    Sequential<> net = small_net(), source = small_net();
    source(batch());
    const StateDict<float> before = net.state_dict();
    StateDict<float> state = source.state_dict();
    std::erase_if(state, [&](const auto& entry) { return entry.first == missing; });
    EXPECT_EQ(error_of([&] { net.load_state_dict(state); }), "load_state_dict: " + missing + " is missing");
    expect_same(net.state_dict(), before);
  }
}

TEST(Module, AnotherArchitectureDoesNotLoad) {
  Sequential<> net = small_net();
  Sequential other{Linear(2, 3), Relu()};
  EXPECT_THROW(net.load_state_dict(other.state_dict()), std::invalid_argument);
  EXPECT_THROW(other.load_state_dict(net.state_dict()), std::invalid_argument);
}

TEST(Module, AModuleWithoutStateLoadsAnEmptyState) {
  Relu relu;
  EXPECT_TRUE(relu.state_dict().empty());
  EXPECT_NO_THROW(relu.load_state_dict({}));
}

// Modes

TEST(Module, TrainAndEvalReachEveryDescendant) {
  Sequential net{Sequential{Linear(2, 2), Sequential{BatchNorm1d(2)}}, Relu()};
  auto& inner = net.get<Sequential<>>(0);
  auto& bn = inner.get<Sequential<>>(1).get<BatchNorm1d<>>(0);
  net.eval();
  EXPECT_FALSE(net.training());
  EXPECT_FALSE(inner.training());
  EXPECT_FALSE(inner[0].training());
  EXPECT_FALSE(bn.training());
  EXPECT_EQ(bn.statistics(), Statistics::running);
  EXPECT_FALSE(net[1].training());
  net.train();
  EXPECT_TRUE(bn.training());
  EXPECT_EQ(bn.statistics(), Statistics::batch);
}

TEST(Module, TrainFalseIsEval) {
  Sequential net{BatchNorm1d(2)};
  net.train(false);
  EXPECT_EQ(net.get<BatchNorm1d<>>(0).statistics(), Statistics::running);
}

TEST(Module, AChildCanBeInEvalAlone) {
  Sequential net{BatchNorm1d(2), BatchNorm1d(2)};
  net[0].eval();
  net(batch());
  EXPECT_EQ(net.get<BatchNorm1d<>>(0).num_batches_tracked(), 0);
  EXPECT_EQ(net.get<BatchNorm1d<>>(1).num_batches_tracked(), 1);
  EXPECT_TRUE(net.training());
}

// Summary

TEST(Module, SummaryListsLayersShapesAndParameters) {
  Sequential<> net = small_net();
  EXPECT_EQ(summary(net, {2}),
            "layer                      output  parameters\n"
            "Sequential                 (N, 2)          21\n"
            "  0 Linear(2, 3)           (N, 3)           9\n"
            "  1 BatchNorm1d(3)         (N, 3)           6\n"
            "  2 ReLU                   (N, 3)           0\n"
            "  3 Linear(3, 2, no bias)  (N, 2)           6\n");
}

TEST(Module, SummaryIndentsNestedModulesAndCountsTiedParametersOnce) {
  Sequential net{Tied(), Sequential{Tanh()}};
  EXPECT_EQ(summary(net, {3}),
            "layer                             output  parameters\n"
            "Sequential                        (N, 3)          12\n"
            "  0 Tied                          (N, 3)          12\n"
            "    encode Linear(3, 3)           (N, 3)          12\n"
            "    decode Linear(3, 3, no bias)  (N, 3)           9\n"
            "  1 Sequential                    (N, 3)           0\n"
            "    0 Tanh                        (N, 3)           0\n");
}

TEST(Module, SummaryOfRowsWithPositions) {
  Sequential net{BatchNorm1d(3), Relu()};
  EXPECT_EQ(summary(net, {3, 5}),
            "layer               output     parameters\n"
            "Sequential          (N, 3, 5)           6\n"
            "  0 BatchNorm1d(3)  (N, 3, 5)           6\n"
            "  1 ReLU            (N, 3, 5)           0\n");
}

TEST(Module, SummaryChangesNoState) {
  for (const bool training : {true, false}) {
    Sequential<> net = small_net();
    net(batch());
    net.train(training);
    const StateDict<float> before = net.state_dict();
    summary(net, {2});
    expect_same(net.state_dict(), before);
    const auto& bn = net.get<BatchNorm1d<>>(1);
    EXPECT_EQ(net.training(), training);
    EXPECT_EQ(bn.update(), training);
    EXPECT_EQ(bn.skipped_batches(), 0);
    for (const Tensor<>& p : net.parameters()) EXPECT_FALSE(p.grad().defined());
  }
}

TEST(Module, SummaryLeavesGraphsThatNeedAFrozenWeightAlone) {
  Sequential net{Linear(2, 3), BatchNorm1d(3)};
  net.get<Linear<>>(0).weight().requires_grad(false);
  const Tensor<> loss = sum(net(batch().requires_grad(true)));  // whose gradient needs the weight
  summary(net, {2});
  EXPECT_NO_THROW(loss.backward());
}

TEST(Module, SummaryGivesNoWarning) {
  const oracle::Warnings warnings;
  Sequential<> net = small_net();
  summary(net, {2});
  EXPECT_TRUE(warnings.texts.empty());
}

TEST(Module, SummaryLeavesAWaitingBackwardAlone) {
  Sequential<> net = small_net();
  const Tensor<> y = net(batch());
  summary(net, {2});
  EXPECT_NO_THROW(y.backward(Tensor<>::ones({5, 2})));
}

TEST(Module, SummaryWorksWhereARunningVarianceIsNaN) {
  Sequential net{BatchNorm1d(2, {.non_finite = NonFinite::propagate})};
  net(tensor<float>({3, 2}, {1, 2, 3, std::nan(""), 5, 6}));
  const StateDict<float> before = net.state_dict();
  summary(net, {2});
  expect_same(net.state_dict(), before);
}

TEST(Module, AFailedSummaryChangesNoState) {
  Sequential net{BatchNorm1d(2), Linear(2, 3), Linear(4, 1)};
  const StateDict<float> before = net.state_dict();
  EXPECT_EQ(error_of([&] { summary(net, {2}); }), "linear: input is (3, 3), weight expects (N, 4)");
  expect_same(net.state_dict(), before);
  EXPECT_EQ(summary(net[1], {2}),
            "layer         output  parameters\n"
            "Linear(2, 3)  (N, 3)           9\n");
}

// Moving

TEST(Module, AMovedNetworkKeepsTraining) {
  manual_seed(3);
  Sequential<> net = small_net();
  SGD sgd(net.parameters(), {.lr = 0.1});
  Sequential<> moved(std::move(net));
  const Tensor<> before(Array<float>(moved.parameters()[0].value()));
  sgd.zero_grad();
  moved(batch()).backward(Generator(2).normal<float>({5, 2}));
  sgd.step();
  EXPECT_FALSE(same(moved.parameters()[0], before));
  EXPECT_EQ(moved.get<BatchNorm1d<>>(1).num_batches_tracked(), 1);
}

TEST(Module, AMovedNetworkTrainsToTheSameBits) {
  const auto train = [](bool move) {
    manual_seed(3);
    Sequential<> net = small_net();
    SGD sgd(net.parameters(), {.lr = 0.1, .momentum = 0.9});
    Sequential<> home{Relu()};
    Sequential<>* current = &net;
    for (int step = 0; step < 4; ++step) {
      if (step == 2 && move) {
        home = std::move(net);
        current = &home;
      }
      sgd.zero_grad();
      (*current)(batch(static_cast<std::uint64_t>(step))).backward(Generator(2).normal<float>({5, 2}));
      sgd.step();
    }
    return current->state_dict();
  };
  expect_same(train(true), train(false));
}

TEST(Module, CannotBeCopied) {
  static_assert(!std::is_copy_constructible_v<Linear<>>);
  static_assert(!std::is_copy_assignable_v<BatchNorm1d<>>);
  static_assert(std::is_move_constructible_v<Sequential<>>);
}

}  // namespace
}  // namespace xtgrad
