// Gradients on their way: retain_grad() and hooks of tensors.
#include "support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

using Double = Tensor<double>;
using Values = std::vector<double>;

TEST(RetainGrad, KeepsTheGradientOfAResult) {
  const Double x = variable(Double{1, 2});
  Double h = x * 3;
  h.retain_grad();
  sum(h * h).backward();
  EXPECT_EQ(values(h.grad()), (Values{6, 12}));  // 2 h
  EXPECT_EQ(values(x.grad()), (Values{18, 36}));
}

TEST(RetainGrad, AddsUpOverWalksAsALeafDoes) {
  Double h = variable(Double{1, 2}) * 3;
  h.retain_grad();
  const Double y = sum(h);
  y.backward({.retain_graph = true});
  y.backward();
  EXPECT_EQ(values(h.grad()), (Values{2, 2}));
}

TEST(RetainGrad, GivesAGradientOfItsOwn) {
  const Double x = variable(Double{1, 2});
  Double h = x + 0;  // hands its gradient on as it is
  h.retain_grad();
  sum(h * 2).backward();
  Double(h.grad()).mutable_value().fill(7);
  EXPECT_EQ(values(x.grad()), (Values{2, 2}));
}

TEST(RetainGrad, HasNoEffectOnGrad) {
  const Double x = variable(Double{1, 2});
  Double h = x * 3;
  h.retain_grad();
  EXPECT_EQ(values(grad(sum(h), {x})[0]), (Values{3, 3}));
  EXPECT_FALSE(h.grad().defined());
}

TEST(RetainGrad, ThrowsForATensorThatDoesNotRequireGrad) {
  expect_parts(error([] { Double{1, 2}.retain_grad(); }), {"retain_grad", "(2,)"});
}

TEST(Hooks, SeeTheWholeGradientOnce) {
  const Double x = variable(Double{1, 2});
  Double h = x * 3;
  std::vector<Values> seen;
  h.add_hook([&](const Double& g) {
    seen.push_back(values(g));
    return Double();
  });
  sum(h * h + h).backward();
  EXPECT_EQ(seen, (std::vector<Values>{{7, 13}}));  // 2 h + 1, from two consumers
  EXPECT_EQ(values(x.grad()), (Values{21, 39}));
}

TEST(Hooks, ReplaceTheGradientInTheirOrder) {
  const Double x = variable(Double{1, 2});
  Double h = x * 3;
  h.retain_grad();
  h.add_hook([](const Double& g) { return g * 2; });
  h.add_hook([](const Double& g) { return g + 1; });
  sum(h).backward();
  EXPECT_EQ(values(h.grad()), (Values{3, 3}));
  EXPECT_EQ(values(x.grad()), (Values{9, 9}));
}

TEST(Hooks, OfALeafChangeWhatItAccumulates) {
  Double x = variable(Double{1, 2});
  x.add_hook([](const Double& g) { return -g; });
  for (int i = 0; i < 2; ++i) sum(x * 5).backward();
  EXPECT_EQ(values(x.grad()), (Values{-10, -10}));
}

TEST(Hooks, OfALeafThatOnlyTheGraphHoldsSeeItsGradient) {
  Values seen;
  Double y;
  {
    Double x = variable(Double{1, 2});
    x.add_hook([&seen](const Double& g) {
      seen = values(g);
      return Double();
    });
    y = sum(x * x);
  }
  y.backward();
  EXPECT_EQ(seen, (Values{2, 4}));
}

TEST(Hooks, WorkInGrad) {
  const Double x = variable(Double{1, 2});
  Double h = x * 3;
  h.add_hook([](const Double& g) { return g * 10; });
  EXPECT_EQ(values(grad(sum(h), {x})[0]), (Values{30, 30}));
}

TEST(Hooks, AreDifferentiatedWithTheGraphOfTheGradient) {
  const Double x = variable(Double{2});
  Double h = x * 1;
  h.add_hook([&](const Double& g) { return g * x; });
  const Double g = grad(sum(h * h), {x}, {.create_graph = true})[0];  // 2 x * x
  EXPECT_EQ(values(g), (Values{8}));
  EXPECT_EQ(values(grad(sum(g), {x})[0]),
            (Values{12}));  // 2 h from the hook itself; 2 x through h, where it acts again
}

TEST(Hooks, AreRemovedById) {
  Double x = variable(Double{1});
  int first = 0, second = 0;
  const auto count = [](int& n) {
    return [&n](const Double&) {
      ++n;
      return Double();
    };
  };
  const std::size_t id = x.add_hook(count(first));
  x.add_hook(count(second));
  x.remove_hook(id);
  sum(x).backward();
  EXPECT_EQ(first, 0);
  EXPECT_EQ(second, 1);
  expect_parts(error([&] { x.remove_hook(id); }), {"remove_hook", "no hook 0"});
}

TEST(Hooks, MayRemoveThemselves) {
  Double x = variable(Double{1});
  int calls = 0;
  std::size_t id = 0;
  id = x.add_hook([&](const Double&) {
    ++calls;
    Double(x).remove_hook(id);
    return Double();
  });
  for (int i = 0; i < 2; ++i) sum(x).backward();
  EXPECT_EQ(calls, 1);
}

TEST(Hooks, ThatThrowLeaveGradientsUnchanged) {
  const Double x = variable(Double{1}), y = variable(Double{2});
  Double h = x * 1;
  h.add_hook([](const Double&) -> Double { throw std::runtime_error("no"); });
  EXPECT_THROW(sum(h * y).backward(), std::runtime_error);
  EXPECT_FALSE(x.grad().defined());
  EXPECT_FALSE(y.grad().defined());
}

TEST(Hooks, MustKeepTheShape) {
  Double x = variable(Double{1, 2});
  x.add_hook([](const Double& g) { return sum(g); });
  expect_parts(error([&] { sum(x).backward(); }), {"hook", "()", "(2,)"});
}

TEST(Hooks, CannotHangOnATensorThatDoesNotRequireGrad) {
  expect_parts(error([] { Double{1}.add_hook([](const Double& g) { return g; }); }), {"add_hook", "require grad"});
}

}  // namespace
}  // namespace xtgrad
