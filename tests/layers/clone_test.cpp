// Copies of modules: clone() and convert(), and what they must not share.
#include "oracle.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using oracle::reals;

template <class T> Sequential<T> every_layer() {
  return Sequential<T>{Flatten<T>(),      Linear<T>(6, 4, {.bias = false}),
                       BatchNorm1d<T>(4), Relu<T>(),
                       Dropout<T>(0.3),   Linear<T>(4, 4),
                       Tanh<T>(),         BatchNorm1d<T>(4, {.momentum = std::nullopt, .affine = false}),
                       Sigmoid<T>(),      LayerNorm<T>(4),
                       LeakyRelu<T>(0.2), Gelu<T>(),
                       Softplus<T>(),     Sequential<T>{Linear<T>(4, 3), Softmax<T>()},
                       Identity<T>(),     LayerNorm<T>(3, {.affine = false})};
}

template <class T> Tensor<T> batch(std::uint64_t seed = 1) { return Generator(seed).normal<T>({8, 2, 3}); }

// Every value of both, as numbers.
template <class T> std::vector<std::pair<std::string, oracle::Reals>> numbers(Module<T>& module) {
  std::vector<std::pair<std::string, oracle::Reals>> all;
  for (const auto& [name, value] : module.state_dict())
    all.emplace_back(name, std::holds_alternative<std::int64_t>(value)
                               ? oracle::Reals{static_cast<oracle::Real>(std::get<std::int64_t>(value))}
                               : reals(std::get<Tensor<T>>(value)));
  return all;
}

TEST(Clone, HasTheSameStateAndTheSameOutputs) {
  Sequential<> net = every_layer<float>();
  net(batch<float>());
  Sequential<> copy = net.clone();
  EXPECT_EQ(numbers(copy), numbers(net));
  EXPECT_EQ(summary(copy, {2, 3}), summary(net, {2, 3}));
  manual_seed(3);
  const auto y = reals(net(batch<float>(2)));
  manual_seed(3);
  EXPECT_EQ(reals(copy(batch<float>(2))), y);  // dropout draws and batch statistics included
  EXPECT_EQ(numbers(copy), numbers(net));
}

TEST(Clone, SharesNothing) {
  Sequential<> net = every_layer<float>();
  Sequential<> copy = net.clone();
  const auto before = numbers(net);
  for (Tensor<>& p : copy.parameters()) p.mutable_value().fill(9);
  copy(batch<float>());
  EXPECT_EQ(numbers(net), before);
}

TEST(Clone, DrawsNoRandomNumber) {
  Sequential<> net = every_layer<float>();
  manual_seed(4);
  net.clone();
  convert<double>(net);
  EXPECT_EQ(default_generator().uniform(), Generator(4).uniform());
}

TEST(Clone, CarriesSwitchesModesAndFlags) {
  Sequential net{BatchNorm1d(2), BatchNorm1d(2), BatchNorm1d(2, {.non_finite = NonFinite::skip}), Linear(2, 2)};
  net.get<BatchNorm1d<>>(0).freeze();
  net.get<BatchNorm1d<>>(1).statistics(Statistics::running);
  net.get<BatchNorm1d<>>(2)(Tensor<>{{1, 2}, {3, INFINITY}, {5, 6}});
  net.get<Linear<>>(3).weight().requires_grad(false);
  net[3].eval();
  Sequential<> copy = net.clone();
  EXPECT_TRUE(copy.get<BatchNorm1d<>>(0).frozen());
  EXPECT_FALSE(copy.get<BatchNorm1d<>>(0).update());
  EXPECT_EQ(copy.get<BatchNorm1d<>>(1).statistics(), Statistics::running);
  EXPECT_TRUE(copy.get<BatchNorm1d<>>(1).update());
  EXPECT_EQ(copy.get<BatchNorm1d<>>(2).skipped_batches(), 1);
  EXPECT_FALSE(copy.get<Linear<>>(3).weight().requires_grad());
  EXPECT_TRUE(copy.get<Linear<>>(3).bias().requires_grad());
  EXPECT_TRUE(copy.training());
  EXPECT_FALSE(copy[3].training());
}

TEST(Clone, LeavesGradientsAndHooksBehind) {
  Sequential net{Linear(2, 2)};
  int calls = 0;
  net.add_hook([&](Module<float>&, const Tensor<>&, Tensor<>&) { ++calls; });
  net(Tensor<>{{1, 2}}).backward(Tensor<>::ones({1, 2}));
  Sequential<> copy = net.clone();
  EXPECT_FALSE(copy.parameters()[0].grad().defined());
  copy(Tensor<>{{1, 2}});
  EXPECT_EQ(calls, 1);
}

TEST(Clone, KeepsTheNestingOfSequentials) {
  Sequential net{Sequential{Relu()}};
  auto copy = net.clone();
  static_assert(std::is_same_v<decltype(copy), decltype(net)>);
  EXPECT_EQ(copy.size(), 1u);
  EXPECT_NO_THROW(copy.get<Sequential<>>(0));
}

// Two layers with one weight.
template <class T> class Tied final : public Layer<Tied<T>, T> {
 public:
  explicit Tied(std::size_t width) : a_{width, width}, b_{width, width} { b_.weight() = a_.weight(); }
  Tensor<T> forward(const Tensor<T>& x) override { return b_(a_(x)); }
  void visit(Visitor<T>& v) override {
    v.child("a", a_);
    v.child("b", b_);
  }
  std::string name() const override { return "Tied"; }
  template <class U> Tied<U> rebuilt() const { return Tied<U>(3); }
  void untie() { b_.weight() = Tensor<T>::ones({3, 3}).requires_grad(true); }

 private:
  Linear<T> a_, b_;
};

TEST(Clone, TiesWhatWasTied) {
  Tied<float> layer(3);
  Tied<float> copy = layer.clone();
  EXPECT_EQ(copy.parameters().size(), 3u);
  EXPECT_EQ(numbers(copy), numbers(layer));
  SGD sgd(copy.parameters(), {.lr = 0.1});
  copy(Tensor<>{{1, 2, 3}}).backward(Tensor<>::ones({1, 3}));
  sgd.step();
  const auto state = numbers(copy);
  EXPECT_EQ(state[0].second, state[2].second);  // a.weight and b.weight
}

TEST(Clone, DoesNotShareWithAStructureThatTiesMore) {
  Tied<float> layer(3);
  layer.untie();
  EXPECT_THROW(layer.clone(), std::invalid_argument);  // rebuilt() ties what is not tied here: values would be lost
}

TEST(Convert, KeepsEveryValueOnTheWayUpAndBack) {
  Sequential<> net = every_layer<float>();
  net(batch<float>());
  Sequential<double> twice = convert<double>(net);
  EXPECT_EQ(numbers(twice), numbers(net));
  Sequential<float> back = convert<float>(twice);
  EXPECT_EQ(numbers(back), numbers(net));
}

TEST(Convert, GivesTheSameFunctionToRounding) {
  Sequential<> net = every_layer<float>();
  net(batch<float>());
  net.eval();
  Sequential<double> twice = convert<double>(net);
  EXPECT_FALSE(twice.training());
  const auto y = reals(net(batch<float>(2)));
  const auto z = reals(twice(Tensor<double>(xt::cast<double>(batch<float>(2).value()))));
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(static_cast<double>(y[i]), static_cast<double>(z[i]), 2e-5);
}

TEST(Convert, TakesASingleLayer) {
  Linear fc(2, 3);
  Linear<double> twice = convert<double>(fc);
  EXPECT_EQ(numbers(twice), numbers(fc));
}

class Custom : public Module<float> {
 public:
  Tensor<> forward(const Tensor<>& x) override { return x; }
  std::string name() const override { return "Custom"; }
};

TEST(Clone, OfAModuleThatDoesNotSayHowNamesItAndTheRemedy) {
  Sequential net{Linear(2, 2), Custom()};
  try {
    net.clone();
    FAIL();
  } catch (const std::invalid_argument& e) {
    EXPECT_STREQ(e.what(), "clone: Custom does not say how; derive its class from Layer and write rebuilt()");
  }
}

// As its author would write it: how it is built, and nothing else.
template <class T> class Block : public Layer<Block<T>, T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return bn(x); }
  void visit(Visitor<T>& v) override { v.child("bn", bn); }
  std::string name() const override { return "Block"; }
  template <class U> Block<U> rebuilt() const { return Block<U>(); }

  BatchNorm1d<T> bn{4};
};

TEST(Clone, OfALayerThatHoldsABatchNormIsInTheSameMode) {
  Block<float> block;
  block.eval();
  auto copy = block.clone();
  EXPECT_FALSE(copy.training());
  EXPECT_FALSE(copy.bn.training());
  EXPECT_EQ(copy.bn.statistics(), Statistics::running);
  EXPECT_FALSE(copy.bn.update());
  auto twice = block.to<double>();
  EXPECT_EQ(twice.bn.statistics(), Statistics::running);
}

TEST(Clone, HasTheSwitchesThatWereSetByHandInEitherMode) {
  for (const bool training : {false, true})
    for (const bool update : {false, true})
      for (const Statistics statistics : {Statistics::batch, Statistics::running}) {
        Sequential net{BatchNorm1d(4)};
        net.train(training);
        net.get<BatchNorm1d<>>(0).statistics(statistics);
        net.get<BatchNorm1d<>>(0).update(update);
        Sequential<> copy = net.clone();
        EXPECT_EQ(copy.get<BatchNorm1d<>>(0).statistics(), statistics) << training << update;
        EXPECT_EQ(copy.get<BatchNorm1d<>>(0).update(), update) << training;
        EXPECT_EQ(copy.get<BatchNorm1d<>>(0).training(), training);
      }
}

}  // namespace
}  // namespace xtgrad
