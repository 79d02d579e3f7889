#include "xtgrad/ops/rearrange.hpp"

#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;

Double counting(const Shape& shape) {
  Double x = Double::zeros(shape);
  double next = 0;
  for (double& value : x.mutable_value().storage()) value = next++;
  return x;
}

TEST(Reshape, KeepsTheOrderOfTheElements) {
  const Double x = counting({2, 6}), y = reshape(x, {3, 2, 2});
  EXPECT_EQ(y.shape(), (Shape{3, 2, 2}));
  EXPECT_EQ(values(y), values(x));
  EXPECT_EQ(y.value()(1, 0, 1), 5);
}

TEST(Reshape, SharesTheValues) {
  Double x = counting({2, 3});
  Double y = reshape(x, {6});
  x.mutable_value()(0, 1) = 100;
  EXPECT_EQ(y.value()(1), 100);
  y.mutable_value()(2) = 200;
  EXPECT_EQ(x.value()(0, 2), 200);
}

TEST(Reshape, ToTheSameShapeIsTheTensorItself) {
  const Double x = variable(counting({2, 3}));
  EXPECT_TRUE(reshape(x, {2, 3}).is_leaf());
}

TEST(Reshape, ThrowsIfTheSizesDiffer) {
  expect_parts(error([] { reshape(counting({2, 3}), {4}); }), {"reshape", "6", "(2, 3)", "(4,)"});
  EXPECT_THROW(reshape(counting({2, 3}), {}), std::invalid_argument);
  EXPECT_THROW(reshape(counting({2, 3}), {0}), std::invalid_argument);
}

TEST(Reshape, OfNothingAndOfAScalar) {
  EXPECT_EQ(reshape(counting({0, 3}), {5, 0}).shape(), (Shape{5, 0}));
  EXPECT_EQ(reshape(Double(3), {1, 1}).shape(), (Shape{1, 1}));
  EXPECT_EQ(reshape(counting({1}), {}).shape(), Shape{});
}

TEST(Transpose, ExchangesTheLastTwoAxes) {
  for (const Shape& shape : {Shape{2, 3}, Shape{1, 5}, Shape{16, 16}, Shape{17, 33}, Shape{40, 15}, Shape{3, 4, 5},
                             Shape{2, 3, 17, 18}, Shape{2, 1, 1}}) {
    const Double x = counting(shape), y = transpose(x);
    const std::size_t rank = shape.size(), M = shape[rank - 2], N = shape[rank - 1];
    Shape expected = shape;
    std::swap(expected[rank - 2], expected[rank - 1]);
    ASSERT_EQ(y.shape(), expected);
    for (std::size_t b = 0; b < x.size() / (M * N); ++b)
      for (std::size_t i = 0; i < M; ++i)
        for (std::size_t j = 0; j < N; ++j)
          ASSERT_EQ(y.data()[b * M * N + j * M + i], x.data()[b * M * N + i * N + j]) << to_string(shape);
  }
}

TEST(Transpose, CopiesTheValues) {
  Double x = counting({1, 3});
  const Double y = transpose(x);
  x.mutable_value()(0, 0) = 100;
  EXPECT_EQ(y.value()(0, 0), 0);
}

TEST(Transpose, MayHaveNoElements) {
  EXPECT_EQ(transpose(counting({0, 3})).shape(), (Shape{3, 0}));
  EXPECT_EQ(transpose(counting({2, 3, 0})).shape(), (Shape{2, 0, 3}));
  EXPECT_EQ(transpose(counting({0, 0})).shape(), (Shape{0, 0}));
}

TEST(Transpose, ThrowsForFewerThanTwoAxes) {
  expect_parts(error([] { transpose(counting({3})); }), {"transpose", "(3,)", "two axes"});
  EXPECT_THROW(transpose(Double(1)), std::invalid_argument);
}

TEST(Transpose, GradientIsTransposedBack) {
  const Double x = variable(counting({2, 3}));
  transpose(x).backward(Double{{1, 2}, {3, 4}, {5, 6}});
  EXPECT_EQ(values(x.grad()), (std::vector<double>{1, 3, 5, 2, 4, 6}));
}

TEST(Slice, TakesARangeOfAnAxis) {
  const Tensor<> x{{1, 2, 3}, {4, 5, 6}};
  EXPECT_EQ(slice(x, 1, 1, 3).value(), (Array<float>{{2, 3}, {5, 6}}));
  EXPECT_EQ(slice(x, -2, 1, 2).value(), (Array<float>{{4, 5, 6}}));
  EXPECT_THROW(slice(x, 1, 2, 4), std::invalid_argument);
  EXPECT_THROW(slice(x, 2, 0, 1), std::invalid_argument);
}

TEST(Concat, JoinsAlongAnAxis) {
  const Tensor<> a{{1, 2}, {3, 4}}, b{{5}, {6}};
  EXPECT_EQ(concat({a, b}, 1).value(), (Array<float>{{1, 2, 5}, {3, 4, 6}}));
  EXPECT_EQ(concat({a, a}, 0).value(), (Array<float>{{1, 2}, {3, 4}, {1, 2}, {3, 4}}));
  EXPECT_THROW(concat({a, b}, 0), std::invalid_argument);
  EXPECT_THROW(concat({a, Tensor<>(1)}, 0), std::invalid_argument);
}

TEST(Gather, TakesRowsByIndex) {
  const Tensor<> x{{1, 2}, {3, 4}, {5, 6}};
  EXPECT_EQ(gather(x, Labels{2, 0, 2}).value(), (Array<float>{{5, 6}, {1, 2}, {5, 6}}));
  EXPECT_THROW(gather(x, Labels{3}), std::invalid_argument);
  EXPECT_THROW(gather(x, Labels{-1}), std::invalid_argument);
}

TEST(ScatterAdd, AddsRowsThatMeet) {
  const Tensor<> x{{1, 2}, {3, 4}, {5, 6}};
  EXPECT_EQ(scatter_add(x, Labels{1, 0, 1}, 3).value(), (Array<float>{{3, 4}, {6, 8}, {0, 0}}));
}

TEST(OneHot, HasAOneAtTheLabel) {
  EXPECT_EQ(one_hot(Labels{2, 0}, 3).value(), (Array<float>{{0, 0, 1}, {1, 0, 0}}));
  EXPECT_THROW(one_hot(Labels{3}, 3), std::invalid_argument);
}

}  // namespace
}  // namespace xtgrad
