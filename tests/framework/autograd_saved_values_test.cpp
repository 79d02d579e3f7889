// Values that change between the forward pass and the backward pass that reads them.
#include "autograd.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using test::Double;
using test::error;
using test::expect_parts;
using test::Values;
using test::values;
using test::variable;
using test::vector;

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

}  // namespace
}  // namespace xtgrad
