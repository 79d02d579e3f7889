#include "xtgrad/ops/reduce.hpp"

#include <cmath>
#include <limits>

#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;
using Values = std::vector<double>;

TEST(Sum, OfAllElementsIsAScalar) {
  const Double s = sum(Double{{1, 2}, {3, 4}});
  EXPECT_EQ(s.shape(), Shape{});
  EXPECT_EQ(s.item(), 10);
}

TEST(Sum, OverAxesDropsThem) {
  const Double x{{1, 2, 3}, {4, 5, 6}};
  EXPECT_EQ(sum(x, {0}).shape(), (Shape{3}));
  EXPECT_EQ(values(sum(x, {0})), (Values{5, 7, 9}));
  EXPECT_EQ(values(sum(x, {1})), (Values{6, 15}));
  EXPECT_EQ(values(sum(x, {-1})), (Values{6, 15}));
  EXPECT_EQ(sum(x, {0, 1}).shape(), Shape{});
  EXPECT_EQ(sum(x, {1, 0}).item(), 21);
}

TEST(Sum, OverAxesKeepsThemIfTold) {
  const Double x{{1, 2, 3}, {4, 5, 6}};
  EXPECT_EQ(sum(x, {0}, {.keepdims = true}).shape(), (Shape{1, 3}));
  EXPECT_EQ(sum(x, {1}, {.keepdims = true}).shape(), (Shape{2, 1}));
  EXPECT_EQ(sum(x, {0, 1}, {.keepdims = true}).shape(), (Shape{1, 1}));
}

TEST(Sum, OverNoAxesIsTheTensorItself) {
  const Double x{{1, 2}, {3, 4}};
  EXPECT_EQ(values(sum(x, {}, {})), values(x));
  EXPECT_EQ(sum(x, {}, {}).shape(), x.shape());
}

TEST(Sum, OverEveryChoiceOfAxesAgreesWithPlainLoops) {
  const Shape shape{2, 3, 4, 5};
  const Double x = Generator(1).normal<double>(shape);
  for (unsigned chosen = 0; chosen < 16; ++chosen) {
    Axes axes;
    Shape rest;
    for (std::size_t a = 0; a < 4; ++a)
      if ((chosen >> a & 1U) != 0)
        axes.push_back(static_cast<std::ptrdiff_t>(a));
      else
        rest.push_back(shape[a]);
    Values expected(size_of(rest), 0);
    for (std::size_t i = 0; i < x.size(); ++i) {
      std::size_t index = i, position = 0, stride = 1;
      for (std::size_t a = 4; a-- > 0;) {
        if ((chosen >> a & 1U) == 0) {
          position += index % shape[a] * stride;
          stride *= shape[a];
        }
        index /= shape[a];
      }
      expected[position] += x.data()[i];
    }
    const Double y = xtgrad::sum(x, axes, ReduceOptions{});
    ASSERT_EQ(y.shape(), rest) << chosen;
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_NEAR(y.data()[i], expected[i], 1e-12) << chosen;
  }
}

TEST(Sum, OfNothingIsZero) {
  EXPECT_EQ(sum(Double::zeros({0, 3})).item(), 0);
  EXPECT_EQ(values(sum(Double::zeros({0, 3}), {0})), (Values{0, 0, 0}));
  EXPECT_EQ(sum(Double::zeros({0, 3}), {1}).shape(), (Shape{0}));
}

TEST(Sum, OfFloatsIsTakenInDouble) {
  // 1e8, 4096 ones and -1e8 in either direction: float sums would lose the ones.
  Tensor<float> x = Tensor<float>::ones({4098});
  x.mutable_value()(0) = 1e8F;
  x.mutable_value()(4097) = -1e8F;
  EXPECT_EQ(sum(x).item(), 4096);
  EXPECT_EQ(values(sum(reshape(x, {4098, 1}), {0})), std::vector<float>{4096});
  EXPECT_EQ(values(sum(expand(reshape(x, {4098, 1}), {4098, 3}), {0})), std::vector<float>(3, 4096));
}

TEST(Sum, OverTwoSeparateAxesIsRoundedOnce) {
  // (2, 1, 2) over axes 0 and 2 by way of partial sums that no float holds.
  const Tensor<float> x{{{1e8F, 1}}, {{-1e8F, 1}}};
  EXPECT_EQ(sum(x, {0, 2}).item(), 2);
}

TEST(Sum, ThrowsForAxesThatDoNotExistOrAreNamedTwice) {
  const Double x = Double::zeros({2, 3});
  expect_parts(error([&] { sum(x, {2}); }), {"sum", "axis 2", "2 axes"});
  expect_parts(error([&] { sum(x, {-3}); }), {"axis -3"});
  expect_parts(error([&] { sum(x, {1, -1}); }), {"sum", "axis -1", "twice"});
  EXPECT_THROW(mean(x, {5}), std::invalid_argument);
}

TEST(Mean, DividesByTheNumberOfElements) {
  const Double x{{1, 2, 3}, {4, 5, 9}};
  EXPECT_EQ(mean(x).item(), 4);
  EXPECT_EQ(values(mean(x, {0})), (Values{2.5, 3.5, 6}));
  EXPECT_EQ(values(mean(x, {1})), (Values{2, 6}));
  EXPECT_EQ(mean(x, {0, 1}, {.keepdims = true}).shape(), (Shape{1, 1}));
  EXPECT_EQ(mean(x, {0, 1}).item(), 4);
}

TEST(Mean, OfNothingIsNaN) {
  EXPECT_TRUE(std::isnan(mean(Double::zeros({0})).item()));
  EXPECT_TRUE(std::isnan(mean(Double::zeros({3, 0}), {1}).data()[2]));
  EXPECT_EQ(mean(Double::zeros({3, 0}), {0}).size(), 0U);
}

TEST(Mean, GradientIsTheSameShareForEveryElement) {
  const Double x = variable(Double{{1, 2}, {3, 4}});
  mean(x).backward();
  EXPECT_EQ(values(x.grad()), Values(4, 0.25));
}

TEST(Expand, RepeatsAlongAxesOfOneElementAndNewOnes) {
  const Double x{1, 2, 3};
  EXPECT_EQ(values(expand(x, {2, 3})), (Values{1, 2, 3, 1, 2, 3}));
  EXPECT_EQ(values(expand(Double{{1, 2}}, {3, 2})), (Values{1, 2, 1, 2, 1, 2}));
  EXPECT_EQ(values(expand(Double(7), {2, 2})), Values(4, 7));
  EXPECT_EQ(expand(Double{7}, {0}).size(), 0U);
}

TEST(Expand, ThrowsIfItDoesNotBroadcast) {
  expect_parts(error([] { expand(Double{1, 2}, {3}); }), {"expand", "(2,)", "(3,)"});
  EXPECT_THROW(expand(Double{{1, 2}}, {2}), std::invalid_argument);
}

TEST(SumTo, IsTheAdjointOfExpand) {
  // <expand(x), y> = <x, sum_to(y)>
  Generator generator(2);
  for (const Shape& from : {Shape{}, Shape{1}, Shape{3}, Shape{2, 1}, Shape{4, 1, 3}, Shape{1, 2, 1}, Shape{4, 2, 3}}) {
    const Shape to{4, 2, 3};
    const Double x = generator.normal<double>(from), y = generator.normal<double>(to);
    EXPECT_EQ(sum_to(y, from).shape(), from);
    EXPECT_NEAR(sum(expand(x, to) * y).item(), sum(x * sum_to(y, from)).item(), 1e-12);
  }
}

TEST(SumTo, ThrowsIfTheTargetDoesNotBroadcast) {
  expect_parts(error([] { sum_to(Double{1, 2}, {3}); }), {"sum_to", "(3,)", "(2,)"});
  EXPECT_THROW(sum_to(Double{1, 2}, {1, 2}), std::invalid_argument);
}

TEST(Var, DividesByMOrByOneLess) {
  const Tensor<double> x{{1, 2}, {3, 2}, {8, 2}};  // means 4 and 2, squares 26 and 0
  EXPECT_EQ(var(x, {0}).value(), (Array<double>{13, 0}));
  EXPECT_NEAR(var(x, {0}, true).value()(0), 26.0 / 3, 1e-15);
}

TEST(Max, SharesTheGradientEvenlyAmongEqualOnes) {
  Tensor<double> x{{1, 7, 7}, {5, 0, 2}};
  x.requires_grad(true);
  const Tensor<double> z = max(x, {1});
  EXPECT_EQ(z.value(), (Array<double>{7, 5}));
  EXPECT_EQ(grad(z, {x}, {.seed = Tensor<double>{4, 3}})[0].value(), (Array<double>{{0, 2, 2}, {3, 0, 0}}));
}

TEST(Max, IsNaNWhereOneValueIs) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_TRUE(std::isnan(max(Tensor<double>{1, nan, 2}, {0}).item()));
}

TEST(Max, OfNothingThrows) { EXPECT_THROW(max(Tensor<double>::zeros({0, 2}), {0}), std::invalid_argument); }

TEST(Argmax, IsTheFirstOfEqualOnes) { EXPECT_EQ(argmax(Tensor<double>{{1, 7, 7}, {5, 0, 2}}), (Labels{1, 0})); }

}  // namespace
}  // namespace xtgrad
