// Hooks of modules, and the labels that modules give.
#include <thread>

#include "oracle.hpp"
#include "xtgrad/inspect/dot.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

TEST(ModuleHook, SeesInputAndOutputInTheOrderOfTheLayers) {
  Sequential net{Linear(2, 3), Relu()};
  std::vector<std::string> seen;
  const auto note = [&](Module<float>& m, const Tensor<>& x, Tensor<>& y) {
    seen.push_back(fmt::format("{} {} {}", m.name(), x.shape(), y.shape()));
  };
  net.add_hook(note);
  net[0].add_hook(note);
  net[1].add_hook(note);
  net(Tensor<>{{1, 2}});
  EXPECT_EQ(seen,
            (std::vector<std::string>{"Linear(2, 3) (1, 2) (1, 3)", "ReLU (1, 3) (1, 3)", "Sequential (1, 2) (1, 3)"}));
}

TEST(ModuleHook, MayReplaceTheOutput) {
  Sequential net{Identity(), Relu()};
  net[0].add_hook([](Module<float>&, const Tensor<>&, Tensor<>& y) { y = y * 10; });
  EXPECT_EQ(net(Tensor<>{1, 2}).data()[1], 20);
}

TEST(ModuleHook, ReachesGradientsThroughTheOutput) {
  Sequential net{Linear(2, 2), Linear(2, 1)};
  Tensor<> seen;
  net[0].add_hook([&](Module<float>&, const Tensor<>&, Tensor<>& y) {
    y.add_hook([&](const Tensor<>& g) {
      seen = g;
      return Tensor<>();
    });
  });
  net(Tensor<>{{1, 2}}).backward();
  EXPECT_EQ(oracle::reals(seen), oracle::reals(net.get<Linear<>>(1).weight()));
}

TEST(ModuleHook, IsRemovedById) {
  Relu layer;
  int calls = 0;
  const std::size_t id = layer.add_hook([&](Module<float>&, const Tensor<>&, Tensor<>&) { ++calls; });
  layer(Tensor<>{1});
  layer.remove_hook(id);
  layer(Tensor<>{1});
  EXPECT_EQ(calls, 1);
  EXPECT_THROW(layer.remove_hook(id), std::invalid_argument);
}

TEST(ModuleHook, MovesWithItsModule) {
  Relu layer;
  int calls = 0;
  layer.add_hook([&](Module<float>&, const Tensor<>&, Tensor<>&) { ++calls; });
  Sequential net{std::move(layer)};
  net(Tensor<>{1});
  EXPECT_EQ(calls, 1);
}

TEST(ModuleHook, OfSummaryAreGoneAfterwards) {
  Sequential net{Linear(2, 2)};
  EXPECT_THROW(summary(net, {3}), std::invalid_argument);
  summary(net, {2});
  EXPECT_EQ(net[0].add_hook([](Module<float>&, const Tensor<>&, Tensor<>&) {}), 2u);
  EXPECT_NO_THROW(net(Tensor<>{{1, 2}}));
}

TEST(Summary, DrawsNoRandomNumber) {
  Sequential net{Dropout()};
  manual_seed(9);
  summary(net, {4});
  EXPECT_EQ(default_generator().uniform(), Generator(9).uniform());
}

TEST(LayerLabels, NamePlaceAndLayer) {
  Sequential net{Linear(2, 3), Sequential{BatchNorm1d(3), Relu()}};
  const Tensor<> y = net(Tensor<>{{1, 2}, {3, 4}, {5, 7}});
  EXPECT_EQ(y.label(), "1.1 ReLU");
  EXPECT_EQ(net.get<Linear<>>(0).weight().label(), "0.weight");
  EXPECT_EQ(net.parameters()[2].label(), "1.0.weight");
}

TEST(LayerLabels, AreInErrorsAndAnomalies) {
  Sequential net{Linear(2, 3), Sequential{BatchNorm1d(3)}};
  net.get<Linear<>>(0).weight().mutable_value()(1, 0) = NAN;
  const Anomaly guard;
  try {
    net(Tensor<>{{1, 2}, {3, 4}, {5, 7}});
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(
        e.what(),
        "anomaly: linear in 0 Linear(2, 3) gave nan in row 0, column 1 of (3, 3); its input 1 was nan in row 1, "
        "column 0 of (3, 2) already");
  }
}

TEST(LayerLabels, OfOpsBetweenChildrenAreThoseOfTheModuleAround) {
  struct Residual : Module<float> {
    Linear<> fc{2, 2};
    Tensor<> forward(const Tensor<>& x) override { return x + fc(x); }
    void visit(Visitor<float>& v) override { v.child("fc", fc); }
    std::string name() const override { return "Residual"; }
  };
  Sequential net{Relu(), Residual()};
  EXPECT_EQ(net(Tensor<>{{1, 2}}).label(), "1 Residual");
}

TEST(LayerLabels, AreFoundAnewWhenALayerGetsANewPlace) {
  Linear fc(2, 2);
  EXPECT_EQ(fc(Tensor<>{{1, 2}}).label(), "Linear(2, 2)");
  Sequential net{Relu(), std::move(fc)};
  EXPECT_EQ(net(Tensor<>{{1, 2}}).label(), "1 Linear(2, 2)");
  net.add(Linear(2, 1));
  EXPECT_EQ(net(Tensor<>{{1, 2}}).label(), "2 Linear(2, 1)");
  Sequential<> outer{std::move(net), Identity()};
  EXPECT_EQ(outer(Tensor<>{{1, 2}}).label(), "0.2 Linear(2, 1)");
}

TEST(LayerLabels, AreFoundOnceByThreadsThatStartTogether) {
  Sequential net{Linear(2, 2), BatchNorm1d(2)};
  net.eval();
  std::thread threads[2];
  for (std::thread& t : threads) t = std::thread([&] { EXPECT_EQ(net(Tensor<>{{1, 2}}).label(), "1 BatchNorm1d(2)"); });
  for (std::thread& t : threads) t.join();
}

TEST(ToDot, OfANetworkNamesItsLayersAndParameters) {
  Sequential net{Linear(2, 3), Relu()};
  const std::string dot = to_dot(net(Tensor<>{{1, 2}}));
  for (const char* part :
       {R"dot(label = "relu\n1 ReLU\n(1, 3)")dot", R"dot(label = "linear\n0 Linear(2, 3)\n(1, 3)")dot",
        R"dot(label = "leaf\n0.weight\n(3, 2)", shape = box, style = filled)dot"})
    EXPECT_NE(dot.find(part), std::string::npos) << part << " is not in\n" << dot;
}

}  // namespace
}  // namespace xtgrad
