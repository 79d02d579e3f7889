#include "xtgrad/autograd.hpp"

#include <memory>
#include <thread>

#include "autograd.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using test::Broken;
using test::Double;
using test::error;
using test::expect_parts;
using test::faulty;
using test::scalar;
using test::Values;
using test::values;
using test::variable;
using test::vector;

// --- Backward

TEST(Backward, FollowsTheChainRule) {
  const Double x = vector({1, -2});
  sum(x * x * x).backward();
  EXPECT_EQ(values(x.grad()), (Values{3, 12}));
}

TEST(Backward, AddsIntoTheGradientsOfLeaves) {
  const Double x = vector({1, 2});
  sum(x * 3.0).backward();
  sum(x * 5.0).backward();
  EXPECT_EQ(values(x.grad()), (Values{8, 8}));
}

TEST(Backward, ContractsWithTheSeed) {
  const Double x = vector({1, 2, 3});
  (x * x).backward(Double{1, 10, 100});
  EXPECT_EQ(values(x.grad()), (Values{2, 40, 600}));
}

TEST(Backward, OfALeafIsItsSeed) {
  const Double x = vector({1, 2});
  x.backward(Double{5, 7});
  EXPECT_EQ(values(x.grad()), (Values{5, 7}));
}

TEST(Backward, GivesNothingToLeavesThatDoNotRequireGrad) {
  const Double x = scalar(2), constant(3);
  (x * constant).backward();
  EXPECT_FALSE(constant.grad().defined());
  EXPECT_EQ(x.grad().item(), 3);
}

TEST(Backward, KeepsNoGradientsOfResults) {
  const Double x = scalar(2), y = x * x;
  (y * 3.0).backward();
  EXPECT_FALSE(y.grad().defined());
}

TEST(Backward, GivesGradientsWithoutHistory) {
  const Double x = scalar(2);
  (x * x).backward();
  EXPECT_TRUE(x.grad().is_leaf());
  EXPECT_FALSE(x.grad().requires_grad());
}

TEST(Backward, StopsAtDetach) {
  const Double x = scalar(3);
  (x * x.detach()).backward();
  EXPECT_EQ(x.grad().item(), 3);
}

TEST(Backward, ThrowsForMoreThanOneElementWithoutASeed) {
  const Double y = vector({1, 2}) * 2.0;
  expect_parts(error([&] { y.backward(); }), {"backward", "(2,)", "seed"});
}

TEST(Backward, NeedsNoSeedForOneElementOfAnyShape) {
  const Double x = variable(Double::full({1, 1}, 3));
  (x * x).backward();
  EXPECT_EQ(x.grad().shape(), (Shape{1, 1}));
  EXPECT_EQ(x.grad().item(), 6);
}

TEST(Backward, ThrowsForASeedOfAnotherShape) {
  const Double x = vector({1, 2}), y = x * 2.0;
  expect_parts(error([&] { y.backward(Double{1, 2, 3}); }), {"backward", "seed", "(3,)", "(2,)"});
  expect_parts(error([&] { y.backward(Double{{1, 2}}); }), {"(1, 2)"});
  EXPECT_FALSE(x.grad().defined());
  y.backward(Double{1, 1});  // the failed calls freed nothing
  EXPECT_EQ(values(x.grad()), (Values{2, 2}));
}

TEST(Backward, ThrowsIfNothingRequiresGrad) {
  expect_parts(error([] { (Double(2) * 3.0).backward(); }), {"backward", "requires grad"});
}

TEST(Backward, ThrowsForAnUndefinedTensor) { EXPECT_THROW(Double().backward(), std::invalid_argument); }

TEST(Backward, TwiceThrowsWithTheRemedy) {
  const Double x = scalar(2), y = exp(x);
  y.backward();
  expect_parts(error([&] { y.backward(); }), {"exp", "retain_graph"});
}

TEST(Backward, ThrowsWhereASharedPartIsFreed) {
  const Double x = scalar(2), shared = exp(x), first = shared * 2.0, second = shared * 3.0;
  first.backward();
  expect_parts(error([&] { second.backward(); }), {"exp", "retain_graph"});
  EXPECT_EQ(x.grad().item(), 2 * std::exp(2.0));
}

TEST(Backward, TwiceRetainedGivesExactlyTwice) {
  const auto twice = [](bool again) {
    const Double x = vector({0.1, 0.7}), y = sum(tanh(x) * exp(x) / (x + 3.0));
    y.backward({.retain_graph = true});
    if (again) y.backward({.retain_graph = true});
    return values(x.grad());
  };
  const Values once = twice(false), both = twice(true);
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_EQ(both[i], 2 * once[i]);
}

template <class T>
concept TakesBracedOptions = requires(T t) {
  t.backward({.retain_graph = true});
};

TEST(Backward, TakesItsOptionsInBraces) { EXPECT_TRUE(TakesBracedOptions<Double>); }

TEST(Backward, AfterARetainedOneFreesTheGraph) {
  const Double x = scalar(2), y = exp(x);
  y.backward({.retain_graph = true});
  y.backward();
  EXPECT_THROW(y.backward(), std::invalid_argument);
}

TEST(Backward, LeavesTheValuesOfResultsReadable) {
  const Double x = scalar(2), inner = exp(x), y = inner * 3.0;
  y.backward();
  EXPECT_EQ(inner.item(), std::exp(2.0));
  EXPECT_EQ(y.item(), 3 * std::exp(2.0));
}

TEST(Backward, WithCreateGraphGivesGradientsThatCanBeDifferentiated) {
  Double x = scalar(2);
  (x * x * x).backward({.create_graph = true});
  EXPECT_EQ(x.grad().item(), 12);
  const Double g = x.grad();
  EXPECT_EQ(grad(g, {x})[0].item(), 12);  // 6x
  x.zero_grad();
}

TEST(Backward, WithCreateGraphMakesACycleThatZeroGradBreaks) {
  const auto token = std::make_shared<int>(1);
  {
    Double x = scalar(2);
    const Double y =
        record("holds", Array<double>(x.value()), {&x}, [token](Backward<double>& b) { b.add(0, b.dz()); });
    (y * y).backward({.create_graph = true});
    EXPECT_TRUE(x.grad().requires_grad());
    x.zero_grad();
  }
  EXPECT_EQ(token.use_count(), 1);
}

// --- Exceptions

TEST(Exceptions, InAnyNodesBackwardLeaveAllGradientsOfLeavesUnchanged) {
  constexpr int kNodes = 12;
  for (int broken = 0; broken < kNodes; ++broken) {
    const Double first = scalar(1), last = scalar(1), fresh = scalar(1);
    (first * 5.0 + last * 7.0).backward();
    // A leaf joins at every node, so that some have their gradients before the fault and some after.
    std::vector<Double> joined;
    Double y = first;
    for (int k = 0; k < kNodes; ++k) {
      joined.push_back(scalar(k));
      y = faulty(y, k == broken) + joined.back() + fresh;
    }
    y = y + last;
    EXPECT_THROW(y.backward(), Broken);
    EXPECT_EQ(first.grad().item(), 5) << broken;
    EXPECT_EQ(last.grad().item(), 7) << broken;
    EXPECT_FALSE(fresh.grad().defined()) << broken;
    for (const Double& leaf : joined) EXPECT_FALSE(leaf.grad().defined()) << broken;
  }
}

TEST(Exceptions, InGradLeaveRecordingAsItWas) {
  const Double x = scalar(1);
  EXPECT_THROW(grad(faulty(x, true), {x}), Broken);
  EXPECT_TRUE(grad_enabled());
}

TEST(Exceptions, AChangedValueDeepInTheGraphLeavesGradientsUnchanged) {
  const Double a = scalar(2), b = scalar(3);
  Double inner = a * a;
  const Double z = inner * inner * b;
  inner.mutable_value()() = 1;
  EXPECT_THROW(z.backward(), std::invalid_argument);
  EXPECT_FALSE(b.grad().defined());
  EXPECT_FALSE(a.grad().defined());
}

TEST(Exceptions, AGradientOfAnotherShapeThanThatOfItsLeafLeavesAllUnchanged) {
  Double x{1, 2};
  x.requires_grad(true);
  const Double other = scalar(3);
  const auto backward = [&] { (sum(x * x) * other).backward(); };
  backward();
  x.mutable_value() = Double{1, 2, 3}.value();
  const std::string message = error(backward);
  expect_parts(message, {"(2,)", "(3,)", "zero_grad"});
  EXPECT_EQ(x.grad().shape(), Shape{2});
  EXPECT_EQ(other.grad().item(), 5);
  x.zero_grad();
  backward();
  EXPECT_EQ(x.grad().shape(), Shape{3});
}

// --- NoGrad

TEST(NoGrad, BuildsNoGraph) {
  const Double x = scalar(1);
  const NoGrad guard;
  EXPECT_FALSE(grad_enabled());
  EXPECT_FALSE((x * 2.0).requires_grad());
  EXPECT_TRUE((x * 2.0).is_leaf());
  EXPECT_TRUE(x.requires_grad());
}

TEST(NoGrad, Nests) {
  {
    const NoGrad outer;
    {
      const NoGrad inner;
      {
        const GradMode on(true);
        EXPECT_TRUE(grad_enabled());
      }
      EXPECT_FALSE(grad_enabled());
    }
    EXPECT_FALSE(grad_enabled());
  }
  EXPECT_TRUE(grad_enabled());
}

TEST(NoGrad, EndsWithAnException) {
  try {
    const NoGrad guard;
    throw Broken("inside");
  } catch (const Broken&) {
    EXPECT_TRUE(grad_enabled());
  }
}

TEST(NoGrad, ConcernsItsOwnThreadOnly) {
  const NoGrad guard;
  bool elsewhere = false;
  std::thread([&] { elsewhere = grad_enabled(); }).join();
  EXPECT_TRUE(elsewhere);
}

TEST(NoGrad, DoesNotStopBackwardOfAGraphThatExists) {
  const Double x = scalar(3), y = x * x;
  const NoGrad guard;
  y.backward();
  EXPECT_EQ(x.grad().item(), 6);
}

TEST(NoGrad, BackwardRestoresTheMode) {
  Double x = scalar(3);
  (x * x).backward();
  EXPECT_TRUE(grad_enabled());
  const Double y = x * x;
  const NoGrad guard;
  y.backward({.create_graph = true});
  EXPECT_FALSE(grad_enabled());
  x.zero_grad();
}

}  // namespace
}  // namespace xtgrad
