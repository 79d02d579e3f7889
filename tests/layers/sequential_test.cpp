#include "xtgrad/layers/sequential.hpp"

#include <gtest/gtest.h>

#include "xtgrad/layers/activations.hpp"
#include "xtgrad/layers/batch_norm1d.hpp"
#include "xtgrad/layers/linear.hpp"

namespace xtgrad {
namespace {

TEST(Sequential, DeducesItsPrecisionFromItsModules) {
  Sequential net{Linear(64, 64, {.bias = false}), BatchNorm1d(64), Relu(), Linear(64, 10)};
  static_assert(std::is_same_v<decltype(net)::value_type, float>);
  EXPECT_EQ(net.size(), 4U);
  Sequential doubles{Linear<double>(2, 3), Relu<double>()};
  static_assert(std::is_same_v<decltype(doubles)::value_type, double>);
}

TEST(Sequential, ModulesCanBeConstructedWithParentheses) {
  Sequential net{Relu(), Tanh(), Sigmoid()};
  EXPECT_EQ(net.size(), 3U);
}

TEST(Sequential, OneNestedSequentialDoesNotCollapse) {
  Sequential net{Sequential{Linear(2, 3), Relu()}};
  ASSERT_EQ(net.size(), 1U);
  EXPECT_EQ(net.named_parameters()[0].first, "0.0.weight");
}

TEST(Sequential, NestsAmongOthers) {
  Sequential net{Linear(2, 3), Sequential{Relu(), Linear(3, 1)}};
  EXPECT_EQ(net.named_parameters()[2].first, "1.1.weight");
}

TEST(Sequential, MovesWithoutNesting) {
  auto make = [] {
    Sequential net{Linear(2, 3), Relu()};
    return net;
  };
  Sequential<> a = make();
  Sequential<> b(std::move(a));
  EXPECT_EQ(b.size(), 2U);
}

TEST(Sequential, DeducesWhatAFunctionReturns) {
  const auto make = [] { return Sequential{Linear(2, 3), Relu()}; };
  Sequential net = make();
  EXPECT_EQ(net.size(), 2U);
}

struct Custom : Module<float> {
  Linear<> fc{64, 10};
  Sequential<> head{Relu(), Linear(10, 2)};
  Tensor<> forward(const Tensor<>& x) override { return head(fc(x)); }
  void visit(Visitor<float>& v) override {
    v.child("fc", fc);
    v.child("head", head);
  }
  std::string name() const override { return "Custom"; }
};

TEST(Sequential, HoldsAUsersModule) {
  Sequential net{Custom(), Sigmoid()};
  EXPECT_EQ(net.named_parameters()[2].first, "0.head.1.weight");
  EXPECT_EQ(net(Tensor<>::zeros({3, 64})).shape(), (Shape{3, 2}));
}

TEST(Sequential, TakesNoNullPointer) {
  Sequential net{Relu()};
  EXPECT_THROW(net.add(std::unique_ptr<Module<float>>()), std::invalid_argument);
  EXPECT_EQ(net.size(), 1U);
}

TEST(Sequential, GivesItsModulesByType) {
  Sequential net{Linear(2, 3), BatchNorm1d(3)};
  EXPECT_EQ(net.get<BatchNorm1d<>>(1).num_batches_tracked(), 0);
  EXPECT_THROW(net.get<BatchNorm1d<>>(0), std::bad_cast);
  EXPECT_THROW(net[2], std::out_of_range);
}

}  // namespace
}  // namespace xtgrad
