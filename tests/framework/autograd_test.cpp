#include "xtgrad/autograd.hpp"

#include <pthread.h>

#include <functional>
#include <memory>
#include <thread>

#include "support.hpp"
#include "xtgrad/memory.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"
#include "xtgrad/record.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;
using Values = std::vector<double>;

Double scalar(double x) { return variable(Double(x)); }
Double vector(std::initializer_list<double> x) { return variable(Double(x)); }

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

// --- Gradients that share memory

TEST(Aliasing, AddOfATensorToItselfGivesTwo) {
  const Double x = scalar(1);
  add(x, x).backward();
  EXPECT_EQ(x.grad().item(), 2);
}

TEST(Aliasing, DiamondsAddUp) {
  const Double x = scalar(3), y = x * 2.0, left = y + 1.0, right = y + 2.0;
  (left + right).backward();
  EXPECT_EQ(x.grad().item(), 4);
}

TEST(Aliasing, OneGradientToManyDoesNotGrowWhenOneOfThemDoes) {
  // dz reaches a and b as one tensor; b gets more on the way. Every order of arrival is tried.
  for (int order = 0; order < 4; ++order) {
    const Double a = scalar(1), b = scalar(1);
    const Double first = order % 2 == 0 ? a + b : b + a;
    const Double more = b * 10.0;
    (order / 2 == 0 ? first + more : more + first).backward();
    EXPECT_EQ(a.grad().item(), 1) << order;
    EXPECT_EQ(b.grad().item(), 11) << order;
  }
}

TEST(Aliasing, LeavesThatGotTheSameGradientDoNotShareIt) {
  const Double a = scalar(1), b = scalar(2);
  add(a, b).backward();
  Double grad_of_a = a.grad();
  grad_of_a.mutable_value()() = 100;
  EXPECT_EQ(b.grad().item(), 1);
}

TEST(Aliasing, LeavesThatGotTheSameGradientInOtherShapesDoNotShareIt) {
  const Double a = vector({1, 2}), b = variable(Double{{3, 4}});
  sum(reshape(a, {1, 2}) + b).backward();
  Double grad_of_a = a.grad();
  grad_of_a.mutable_value().storage()[0] = 100;
  EXPECT_EQ(values(b.grad()), (Values{1, 1}));
}

TEST(Aliasing, GradientsOfLeavesDoNotShareTheSeed) {
  const Double a = vector({1, 2}), b = vector({1, 2});
  Double seed{5, 7};
  add(a, b).backward(seed);
  a.backward(seed);
  seed.mutable_value().storage()[0] = 100;
  EXPECT_EQ(values(a.grad()), (Values{10, 14}));
  EXPECT_EQ(values(b.grad()), (Values{5, 7}));
}

TEST(Aliasing, BackwardDoesNotWriteToTheSeed) {
  const Double a = vector({1, 2});
  const Double seed{5, 7};
  (a + a + a).backward(seed);
  a.backward(seed);
  EXPECT_EQ(values(seed), (Values{5, 7}));
}

TEST(Aliasing, AGradientThatSomebodyHoldsIsNotWrittenTo) {
  const Double x = scalar(1);
  (x * 2.0).backward();
  const Double held = x.grad();
  (x * 3.0).backward();
  EXPECT_EQ(held.item(), 2);
  EXPECT_EQ(x.grad().item(), 5);
}

TEST(Aliasing, AGradientThatSharesItsBlockIsNotWrittenTo) {
  const Double x = vector({1, 2});
  (x * 2.0).backward(Double{1, 1});
  const Double view = reshape(x.grad(), {2, 1});
  (x * 3.0).backward(Double{1, 1});
  EXPECT_EQ(values(view), (Values{2, 2}));
}

TEST(Aliasing, GradsOfDifferentTensorsDoNotShareMemory) {
  const Double a = scalar(1), b = scalar(2);
  std::vector<Double> grads = grad(add(a, b), {a, b});
  grads[0].mutable_value()() = 100;
  EXPECT_EQ(grads[1].item(), 1);
}

TEST(Aliasing, GradsDoNotShareTheSeed) {
  const Double a = scalar(1);
  Double seed(5);
  std::vector<Double> grads = grad(a + 1.0, {a}, {.seed = seed});
  seed.mutable_value()() = 100;
  EXPECT_EQ(grads[0].item(), 5);
}

TEST(Aliasing, AccumulatingOverAGradientWithHistoryKeepsTheHistoryRight) {
  // d(1/x)/dx is the result of a division, which its own derivative reads: adding into its values would
  // change the second derivative.
  Double x = scalar(2);
  (1.0 / x).backward({.create_graph = true});
  (5.0 * x).backward();
  ASSERT_EQ(x.grad().item(), 4.75);
  if (x.grad().requires_grad()) {
    const Double g = x.grad();
    EXPECT_EQ(grad(g, {x})[0].item(), 0.25);  // 2 / x^3
  }
  x.zero_grad();
}

// --- Values that changed after the forward pass

TEST(SavedValues, OfAnInputThatChangedThrowNamingTheOp) {
  Double x = vector({1, 2}), y = vector({3, 4});
  const Double z = sum(x * y);
  y.mutable_value()(0) = 5;
  expect_parts(error([&] { z.backward(); }), {"mul", "input", "(2,)", "changed"});
  EXPECT_FALSE(x.grad().defined());
}

TEST(SavedValues, OfAResultThatChangedThrowNamingTheOp) {
  const Double x = vector({1, 2});
  Double y = exp(x);
  const Double z = sum(y);
  y.mutable_value()(0) = 5;
  expect_parts(error([&] { z.backward(); }), {"exp", "result", "(2,)", "changed"});
}

TEST(SavedValues, ThatBackwardDoesNotNeedMayChange) {
  Double x = vector({1, 2});
  const Double plus = sum(x + 1.0), times = sum(x * 3.0);
  Double y = exp(x);
  x.mutable_value()(0) = 5;  // read by neither sum, nor by exp, whose derivative is its result
  plus.backward();
  times.backward();
  sum(y).backward();
  for (std::size_t i = 0; i < 2; ++i) EXPECT_NEAR(x.grad().data()[i], 4 + y.data()[i], 1e-14);
}

TEST(SavedValues, NeededOnlyForAnInputThatWantsNoGradientMayChange) {
  // d(x * w)/dw reads x, d(x * w)/dx reads w.
  const Double w = vector({1, 2});
  Double x{3, 4};
  const Double z = sum(x * w);
  const Double copy = w.detach();
  Double alias = copy;
  alias.mutable_value()(0) = 9;
  z.backward();
  EXPECT_EQ(values(w.grad()), (Values{3, 4}));
}

TEST(SavedValues, AreWatchedThroughDetach) {
  const Double x = vector({1, 2});
  const Double z = sum(x * x);
  x.detach().mutable_value()(0) = 5;
  EXPECT_THROW(z.backward(), std::invalid_argument);
}

TEST(SavedValues, AreWatchedThroughReshape) {
  const Double x = vector({1, 2});
  Double y = reshape(x, {2, 1});
  const Double z = sum(y * y);
  Double alias = x;
  alias.mutable_value()(0) = 5;
  EXPECT_THROW(z.backward(), std::invalid_argument);
}

TEST(SavedValues, AreWatchedThroughTheResultOfReshape) {
  const Double x = vector({1, 2});
  const Double z = sum(x * x);
  Double y = reshape(x, {2, 1});
  y.mutable_value()(0, 0) = 5;
  EXPECT_THROW(z.backward(), std::invalid_argument);
}

TEST(SavedValues, ChangedBeforeTheOpAreFine) {
  Double x = vector({1, 2});
  x.mutable_value()(0) = 5;
  sum(x * x).backward();
  EXPECT_EQ(values(x.grad()), (Values{10, 4}));
}

TEST(SavedValues, ReplacedByAnExpressionThrow) {
  Double x = vector({1, 2});
  const Double z = sum(x * x);
  x.mutable_value() = x.value() * 2.0;
  EXPECT_THROW(z.backward(), std::invalid_argument);
}

TEST(SavedValues, UpdatedByAnExpressionThrow) {
  Double x = vector({1, 2});
  const Double step{1, 1}, z = sum(x * x);
  x.mutable_value() -= step.value() * 0.5;
  EXPECT_THROW(z.backward(), std::invalid_argument);
}

TEST(SavedValues, ReplacedByAnotherArrayThrow) {
  Double x = vector({1, 2});
  const Double z = sum(x * x);
  x.mutable_value() = Array<double>(Double{7, 8}.value());
  EXPECT_THROW(z.backward(), std::invalid_argument);
}

TEST(SavedValues, OfBatchNormThatChangedThrow) {
  Double x = variable(Double{{1, 2}, {3, 5}});
  const Double z = sum(batch_norm<double>(x, {}, {}, 1e-5).y * Double{{1, 2}, {3, 4}});
  x.mutable_value()(0, 0) = 5;
  expect_parts(error([&] { z.backward(); }), {"batch_norm", "input"});
}

TEST(SavedValues, OfTheRunningStatisticsAreACopy) {
  const Double x = variable(Double{{1, 2}, {3, 5}});
  Array<double> mu = full_array<double>({2}, 0), var = full_array<double>({2}, 4);
  const Double z = sum(batch_norm<double>(x, {}, {}, 0, mu, var));
  var(0) = 100;
  const Values before = values(grad(z, {x}, {.retain_graph = true})[0]);
  EXPECT_EQ(before, (Values{0.5, 0.5, 0.5, 0.5}));
  EXPECT_EQ(values(grad(z, {x}, {.create_graph = true})[0]), before);
}

TEST(SavedValues, OfLabelsAreACopy) {
  const Double x = variable(Double{{0, 0}});
  Labels labels = full_array<std::int64_t>({1}, 0);
  const Double z = cross_entropy(x, labels);
  labels(0) = 1;
  EXPECT_EQ(values(grad(z, {x})[0]), (Values{-0.5, 0.5}));
}

// --- Exceptions

struct Broken : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// x + 1, whose backward throws where it is told to.
Double faulty(const Double& x, bool broken) {
  return record("faulty", Array<double>(add(x.detach(), Double(1)).value()), {&x}, [broken](Backward<double>& b) {
    if (broken) throw Broken("broken");
    b.add(0, b.dz());
  });
}

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

// --- grad()

TEST(Grad, LeavesTheGradientsOfLeavesAlone) {
  const Double x = scalar(3), other = scalar(1);
  const Double g = grad(x * x * other, {x})[0];
  EXPECT_EQ(g.item(), 6);
  EXPECT_FALSE(x.grad().defined());
  EXPECT_FALSE(other.grad().defined());
}

TEST(Grad, OfResultsOfOps) {
  const Double x = scalar(3), y = x * x, z = y * y;
  const std::vector<Double> grads = grad(z, {x, y});
  EXPECT_EQ(grads[0].item(), 4 * 27);
  EXPECT_EQ(grads[1].item(), 18);
}

TEST(Grad, OfAResultIncludesAllItsPaths) {
  const Double x = scalar(2), y = x * 3.0, z = y * y + y * 5.0;
  EXPECT_EQ(grad(z, {y})[0].item(), 17);
}

TEST(Grad, OfTheSameTensorTwice) {
  const Double x = scalar(3);
  const std::vector<Double> grads = grad(x * x, {x, x});
  EXPECT_EQ(grads[0].item(), 6);
  EXPECT_EQ(grads[1].item(), 6);
}

TEST(Grad, OfATensorThatNothingDependsOnIsZeros) {
  const Double x = scalar(3), other = variable(Double::ones({2, 3}));
  const std::vector<Double> grads = grad(x * x, {other, x});
  EXPECT_EQ(grads[0].shape(), (Shape{2, 3}));
  EXPECT_EQ(values(grads[0]), Values(6, 0));
  EXPECT_EQ(grads[1].item(), 6);
}

TEST(Grad, WhereNoneOfTheTensorsMattersIsZeros) {
  const Double x = scalar(3), other = scalar(4);
  EXPECT_EQ(grad(x * x, {other})[0].item(), 0);
}

TEST(Grad, OfATensorWithRespectToItselfIsTheSeed) {
  const Double x = scalar(3), y = x * x;
  EXPECT_EQ(grad(y, {y})[0].item(), 1);
  EXPECT_EQ(grad(x, {x})[0].item(), 1);
  EXPECT_EQ(grad(y, {y}, {.seed = Double(5)})[0].item(), 5);
}

TEST(Grad, OfATensorWithRespectToItselfAndItsInputs) {
  const Double x = scalar(3), y = x * x;
  const std::vector<Double> grads = grad(y, {x, y});
  EXPECT_EQ(grads[0].item(), 6);
  EXPECT_EQ(grads[1].item(), 1);
}

TEST(Grad, OfNothingIsNothing) {
  const Double x = scalar(3), y = x * x;
  EXPECT_TRUE(grad(y, std::vector<Double>{}).empty());
  EXPECT_EQ(grad(y, {x})[0].item(), 6);  // and the graph is still there
}

TEST(Grad, TakesAVector) {
  const std::vector<Double> xs{scalar(3), scalar(4)};
  EXPECT_EQ(grad(xs[0] * xs[1], xs)[1].item(), 3);
}

TEST(Grad, ThrowsForATensorThatDoesNotRequireGrad) {
  const Double x = scalar(3);
  expect_parts(error([&] { grad(x * x, {Double{1, 2}}); }), {"grad", "(2,)", "require"});
  EXPECT_THROW(grad(x * x, {Double()}), std::invalid_argument);
}

TEST(Grad, ThrowsLikeBackwardForAMissingOrWrongSeed) {
  const Double x = vector({1, 2});
  expect_parts(error([&] { grad(x * x, {x}); }), {"grad", "(2,)", "seed"});
  expect_parts(error([&] { grad(x * x, {x}, {.seed = Double(1)}); }), {"grad", "seed", "()", "(2,)"});
}

TEST(Grad, FreesTheGraphUnlessToldToRetainIt) {
  const Double x = scalar(2), y = exp(x);
  grad(y, {x}, {.retain_graph = true});
  grad(y, {x});
  expect_parts(error([&] { grad(y, {x}); }), {"exp", "retain_graph"});
}

TEST(Grad, WithoutCreateGraphHasNoHistory) {
  const Double x = scalar(2);
  EXPECT_FALSE(grad(x * x, {x})[0].requires_grad());
}

TEST(Grad, DoesNotRunThroughBranchesThatAreNotWanted) {
  const Double x = scalar(2), other = scalar(1);
  const Double z = x * x + faulty(other, true);
  EXPECT_EQ(grad(z, {x})[0].item(), 4);
}

TEST(Grad, DoesNotRunBelowTheTensorsThatAreWanted) {
  const Double x = scalar(2), y = faulty(x, true), z = y * y;
  EXPECT_EQ(grad(z, {y})[0].item(), 6);
}

TEST(Grad, OfAResultWhoseOwnGraphIsFreed) {
  const Double x = scalar(2), y = exp(x);
  y.backward();
  EXPECT_EQ(grad(y * y, {y})[0].item(), 2 * y.item());
}

TEST(CreateGraph, GivesExactHigherDerivatives) {
  // x^4, 4x^3, 12x^2, 24x, 24, 0
  const Double x = scalar(3);
  Double y = (x * x) * (x * x);
  const double expected[] = {108, 108, 72, 24};
  for (const double d : expected) {
    y = grad(y, {x}, {.create_graph = true})[0];
    EXPECT_EQ(y.item(), d);
  }
  EXPECT_EQ(grad(y * x, {x})[0].item(), 24);  // y is constant by now
}

TEST(CreateGraph, GivesThirdDerivativesThroughEveryKindOfOp) {
  // (sum of exp(x_i w))''' = sum x_i^3 exp(x_i w)
  const Double w = scalar(0.5), x{1, 2, -1};
  Double y = sum(exp(matmul(reshape(x, {3, 1}), reshape(w, {1, 1}))));
  for (int order = 0; order < 3; ++order) y = grad(y, {w}, {.create_graph = true})[0];
  EXPECT_NEAR(y.item(), std::exp(0.5) + 8 * std::exp(1.0) - std::exp(-0.5), 1e-12);
}

TEST(CreateGraph, GivesMixedDerivatives) {
  const Double x = scalar(2), y = scalar(5);
  const Double dx = grad(x * x * y * y * y, {x}, {.create_graph = true})[0];  // 2 x y^3
  const std::vector<Double> second = grad(dx, {x, y}, {.create_graph = true});
  EXPECT_EQ(second[0].item(), 250);
  EXPECT_EQ(second[1].item(), 300);                // 6 x y^2
  EXPECT_EQ(grad(second[1], {y})[0].item(), 120);  // 12 x y
}

TEST(CreateGraph, DifferentiatesWithRespectToTheSeed) {
  const Double x = scalar(3);
  const Double seed = scalar(2);
  const Double dx = grad(x * x, {x}, {.seed = seed, .create_graph = true})[0];  // 2 x seed
  EXPECT_EQ(grad(dx, {seed})[0].item(), 6);
}

TEST(CreateGraph, KeepsTheGraphOfTheFirstOrder) {
  const Double x = scalar(3), y = exp(x);
  grad(y, {x}, {.create_graph = true});
  EXPECT_EQ(grad(y, {x})[0].item(), y.item());
}

TEST(CreateGraph, AddsUpWhereGradientsMeet) {
  const Double x = scalar(3), y = x * 2.0;
  const Double g = grad(y * y + y * x, {x}, {.create_graph = true})[0];  // 4x^2 + 2x^2 -> 12x
  EXPECT_EQ(g.item(), 36);
  EXPECT_EQ(grad(g, {x})[0].item(), 12);
}

// --- Large graphs

void on_small_stack(std::function<void()> f) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, std::size_t{256} << 10), 0);
  pthread_t thread;
  const auto run = [](void* body) -> void* {
    (*static_cast<std::function<void()>*>(body))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, &f), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(LargeGraphs, AChainIsBuiltDifferentiatedAndFreedOnASmallStack) {
  constexpr long kLength = test::kSanitized ? 1'000'000 : 10'000'000;
  on_small_stack([] {
    const Tensor<float> x = variable(Tensor<float>(1.0F));
    Tensor<float> y = x;
    for (long i = 0; i < kLength; ++i) y = -y;
    y.backward();
    EXPECT_EQ(x.grad().item(), 1);
    memory::trim();
  });
}

TEST(LargeGraphs, AChainThatNobodyDifferentiatesIsFreedOnASmallStack) {
  on_small_stack([] {
    const Tensor<float> x = variable(Tensor<float>(1.0F));
    Tensor<float> y = x;
    for (long i = 0; i < 1'000'000; ++i) y = -y;
    y = {};
    memory::trim();
  });
}

TEST(LargeGraphs, AChainIsDifferentiatedTwiceOnASmallStack) {
  on_small_stack([] {
    const Double x = scalar(1);
    Double y = x * x;
    for (int i = 0; i < 100'000; ++i) y = y + 1.0;
    const Double g = grad(y, {x}, {.create_graph = true})[0];
    EXPECT_EQ(g.item(), 2);
    EXPECT_EQ(grad(g, {x})[0].item(), 2);
  });
}

// A graph of two inputs to a node, against the adjoints by a loop over plain numbers.
void expect_right_adjoints_of_a_random_graph() {
  constexpr std::size_t kNodes = 100'000, kLeaves = 10;
  Generator generator(1);
  struct Op {
    std::size_t a, b;
    double wa, wb;
  };
  std::vector<Op> ops;
  std::vector<Double> nodes;
  for (std::size_t i = 0; i < kLeaves; ++i) nodes.push_back(scalar(generator.uniform()));
  for (std::size_t i = kLeaves; i < kNodes; ++i) {
    // Mostly recent inputs, some old ones; weights that keep the gradients in range.
    const auto pick = [&] {
      return generator.below(4) == 0 ? generator.below(i) : i - 1 - generator.below(std::min<std::size_t>(i, 50));
    };
    ops.push_back({pick(), pick(), generator.uniform() - 0.5, generator.uniform() - 0.5});
    const Op& op = ops.back();
    nodes.push_back(nodes[op.a] * op.wa + nodes[op.b] * op.wb);
  }
  std::vector<double> adjoint(kNodes, 0);
  adjoint.back() = 1;
  for (std::size_t i = kNodes; i-- > kLeaves;) {
    const Op& op = ops[i - kLeaves];
    adjoint[op.a] += op.wa * adjoint[i];
    adjoint[op.b] += op.wb * adjoint[i];
  }
  const std::vector<Double> leaves(nodes.begin(), nodes.begin() + kLeaves);
  nodes.back().backward();
  double largest = 0;
  for (std::size_t i = 0; i < kLeaves; ++i) largest = std::max(largest, std::abs(adjoint[i]));
  ASSERT_GT(largest, 0);
  for (std::size_t i = 0; i < kLeaves; ++i) {
    const Double& g = leaves[i].grad();
    EXPECT_NEAR(g.defined() ? g.item() : 0, adjoint[i], 1e-9 * largest) << i;
  }
}

TEST(LargeGraphs, ARandomGraphAgreesWithAPlainLoopOnASmallStack) {
  on_small_stack(expect_right_adjoints_of_a_random_graph);
}

TEST(LargeGraphs, AFanOutAddsUpExactlyOnASmallStack) {
  on_small_stack([] {
    constexpr int kFan = 100'000;
    const Double x = scalar(2);
    Double total(0);
    for (int i = 0; i < kFan; ++i) total = total + x * 1.0;
    total.backward();
    EXPECT_EQ(x.grad().item(), kFan);
  });
}

TEST(LargeGraphs, AFanInOfOneResultAddsUpExactly) {
  constexpr int kFan = 100'000;
  const Double x = scalar(2), y = x * 1.0;
  Double total(0);
  for (int i = 0; i < kFan; ++i) total = total + y;
  EXPECT_EQ(grad(total, {y})[0].item(), kFan);
}

TEST(LargeGraphs, TrainingStepsAskTheSystemForNothing) {
  if (test::kSanitized) GTEST_SKIP() << "the pool is off in sanitizer builds";
  Generator generator(2);
  const Tensor<float> x = generator.normal<float>({32, 20});
  const Tensor<float> w1 = variable(generator.normal<float>({30, 20})), b1 = variable(Tensor<float>::zeros({30}));
  const Tensor<float> gamma = variable(Tensor<float>::ones({30})), beta = variable(Tensor<float>::zeros({30}));
  const Tensor<float> w2 = variable(generator.normal<float>({4, 30}));
  Labels labels = full_array<std::int64_t>({32}, 1);
  const auto step = [&] {
    const Tensor<float> h = relu(batch_norm(linear(x, w1, b1), gamma, beta, 1e-5).y);
    const Tensor<float> loss = cross_entropy(linear(h, w2, {}), labels) + mean(w1 * w1, {0, 1});
    for (Tensor<float> p : {w1, b1, gamma, beta, w2}) p.zero_grad();
    loss.backward();
  };
  for (int i = 0; i < 3; ++i) step();
  const std::uint64_t before = memory::misses();
  for (int i = 0; i < 1000; ++i) step();
  EXPECT_EQ(memory::misses(), before);
}

TEST(LargeGraphs, SecondOrderStepsAskTheSystemForNothing) {
  if (test::kSanitized) GTEST_SKIP() << "the pool is off in sanitizer builds";
  const Double x = variable(Generator(3).normal<double>({8, 3}));
  const auto step = [&] {
    const Double y = sum(tanh(batch_norm<double>(x, {}, {}, 1e-5).y));
    const Double g = grad(y, {x}, {.create_graph = true})[0];
    grad(sum(g * g), {x});
  };
  for (int i = 0; i < 3; ++i) step();
  const std::uint64_t before = memory::misses();
  for (int i = 0; i < 1000; ++i) step();
  EXPECT_EQ(memory::misses(), before);
}

// --- Threads

TEST(Threads, WithGraphsOfTheirOwnOverSharedLeavesAgreeBitForBitWithOneThread) {
  Generator generator(4);
  const Tensor<float> w = variable(generator.normal<float>({16, 16})), b = variable(generator.normal<float>({16}));
  const Tensor<float> gamma = variable(generator.normal<float>({16})), beta = variable(generator.normal<float>({16}));
  const Array<float> mu = full_array<float>({16}, 0.25F), var = full_array<float>({16}, 2);
  std::vector<Tensor<float>> inputs;
  for (int i = 0; i < 2; ++i) inputs.push_back(generator.normal<float>({9, 16}));
  constexpr int kRounds = 200;
  const auto work = [&](std::size_t i, std::vector<float>& result) {
    for (int round = 0; round < kRounds; ++round) {
      const Tensor<float> y = batch_norm(tanh(linear(inputs[i], w, b)), gamma, beta, 1e-5, mu, var);
      const std::vector<Tensor<float>> grads = grad(sum(y * y), {w, b, gamma, beta});
      result = values(y);
      for (const Tensor<float>& g : grads) result.insert(result.end(), g.data(), g.data() + g.size());
    }
  };
  std::vector<float> serial[2], parallel[2];
  for (std::size_t i = 0; i < 2; ++i) work(i, serial[i]);
  std::thread other([&] { work(1, parallel[1]); });
  work(0, parallel[0]);
  other.join();
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(parallel[i], serial[i]);
}

TEST(Threads, AGraphMayBeContinuedAndFreedOnAnotherThread) {
  const Double x = scalar(3);
  Double y;
  std::thread([&] {
    Double z = x;
    for (int i = 0; i < 1000; ++i) z = z + 1.0;
    y = z * z;
  }).join();
  // Nodes of this thread have smaller numbers than those of the other, which they depend on.
  const Double w = y * x;
  w.backward();
  EXPECT_EQ(x.grad().item(), 2 * 1003.0 * 3 + 1003.0 * 1003);
}

}  // namespace
}  // namespace xtgrad
