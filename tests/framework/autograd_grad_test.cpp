// grad(): with respect to any tensors, and of any order.
#include "autograd.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using test::Double;
using test::error;
using test::expect_parts;
using test::faulty;
using test::scalar;
using test::Values;
using test::values;
using test::variable;
using test::vector;

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

TEST(Grad, ThrowsWhereAFreedGraphLeadsToAnotherTensor) {
  const Double w = scalar(2), h = exp(w);
  h.backward();
  expect_parts(error([&] { grad(h * h, {h, w}); }), {"exp", "already differentiated"});
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

}  // namespace
}  // namespace xtgrad
