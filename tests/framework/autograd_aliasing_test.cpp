// Gradients that would share memory, and do not.
#include "autograd.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using test::Double;
using test::scalar;
using test::Values;
using test::values;
using test::variable;
using test::vector;

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

TEST(Aliasing, WithCreateGraphLeavesShareNeitherTheSeedNorAGradientWithoutHistory) {
  const Double a = vector({1, 2}), b = vector({3, 4});
  const Double seed{5, 6};
  (a + b).backward(seed, {.create_graph = true});
  Double(a.grad()).mutable_value().fill(0);
  EXPECT_EQ(values(b.grad()), (Values{5, 6}));
  EXPECT_EQ(values(seed), (Values{5, 6}));
}

TEST(Aliasing, ASeedThatRequiresGradIsCopied) {
  const Double a = vector({1, 2}), seed = vector({5, 6});
  a.backward(seed);
  Double(a.grad()).mutable_value().fill(0);
  EXPECT_EQ(values(seed), (Values{5, 6}));
}

TEST(Aliasing, AGradientMayBeItsOwnSeed) {
  const Double a = vector({1, 2}), b = vector({3, 4});
  a.backward(Double{5, 6});
  (a + b).backward(a.grad());
  EXPECT_EQ(values(a.grad()), (Values{10, 12}));
  EXPECT_EQ(values(b.grad()), (Values{5, 6}));
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

TEST(Aliasing, AGradientThatNobodyHoldsIsMovedNotCopied) {
  Double x = variable(Double{1, 2});
  const double* seen = nullptr;
  x.add_hook([&seen](const Double& g) {
    seen = g.data();
    return Double();
  });
  const Double d = grad(sum(x * x), {x})[0];
  EXPECT_EQ(d.data(), seen);
  sum(x * x).backward();
  EXPECT_EQ(x.grad().data(), seen);
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

}  // namespace
}  // namespace xtgrad
