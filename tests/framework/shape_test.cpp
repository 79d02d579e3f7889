#include "xtgrad/shape.hpp"

#include "support.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;

TEST(Shape, HasTheProductOfItsExtentsAsSize) {
  EXPECT_EQ(size_of({}), 1U);
  EXPECT_EQ(size_of({5}), 5U);
  EXPECT_EQ(size_of({2, 3, 4, 5, 6}), 720U);
  EXPECT_EQ(size_of({2, 0, 4}), 0U);
}

TEST(Shape, ThrowsWhereTheElementsCannotBeCounted) {
  constexpr std::size_t half = std::size_t{1} << 32, most = std::size_t{1} << 62;
  for (const Shape& shape :
       {Shape{half, half}, Shape{most, 4}, Shape{most, 2}, Shape{0, half, half}, Shape{half, half, 0}}) {
    expect_parts(error([&] { size_of(shape); }), {"shape: (", "has more elements than can be counted"});
    expect_parts(error([&] { empty_array<float>(shape); }), {"can be counted"});
    expect_parts(error([&] { reshape(Tensor<>::zeros({0}), shape); }), {"can be counted"});
  }
  EXPECT_EQ(size_of({0, most}), 0U);
  expect_parts(error([&] { one_hot<float>(Labels{0, 1, 2, 3}, most); }), {"can be counted"});
}

TEST(Shape, ConvertsFromTheShapesOfOthers) {
  const xt::xarray<float> a = xt::zeros<float>({2, 3});
  const std::array<int, 2> b{2, 3};
  EXPECT_EQ(Shape(a.shape()), (Shape{2, 3}));
  EXPECT_EQ(Shape(b), (Shape{2, 3}));
  EXPECT_TRUE((Shape{2, 3} == a.shape()));
  EXPECT_FALSE((Shape{3, 2} == a.shape()));
  EXPECT_FALSE((Shape{2} == a.shape()));
}

TEST(Shape, OfANumberOfAxesStartsWithZeros) {
  alignas(Shape) std::array<unsigned char, sizeof(Shape)> used;
  used.fill(0xff);
  const Shape* const shape = new (used.data()) Shape(5);
  EXPECT_EQ(*shape, (Shape{0, 0, 0, 0, 0}));
}

TEST(Shape, HasEightAxesAtMost) {
  EXPECT_EQ(Shape(8, 1).size(), 8U);
  const auto is_refused = [](const std::string& message) {
    EXPECT_EQ(message, "shape: 9 axes, and an array has 8 at most");
  };
  is_refused(error<std::invalid_argument>([] { Shape(9, 1); }));
  is_refused(error<std::invalid_argument>([] { Shape{1, 1, 1, 1, 1, 1, 1, 1, 1}; }));
  is_refused(error<std::invalid_argument>([] { Shape(8, 1).push_back(1); }));
  const xt::xarray<float> nine = xt::zeros<float>({1, 1, 1, 1, 1, 1, 1, 1, 1});
  is_refused(error<std::invalid_argument>([&] { Array<float>{nine}; }));
}

TEST(Shape, PrintsAsInNumpy) {
  EXPECT_EQ(to_string(Shape{}), "()");
  EXPECT_EQ(to_string(Shape{4}), "(4,)");
  EXPECT_EQ(to_string(Shape{32, 5}), "(32, 5)");
  EXPECT_EQ(to_string(Shape{1, 0, 2}), "(1, 0, 2)");
}

TEST(Shape, PrintsItselfInMessages) { EXPECT_EQ(fmt::format("<{}>", Shape{2, 3}), "<(2, 3)>"); }

TEST(BroadcastShape, AlignsAtTheLastAxis) {
  EXPECT_EQ(broadcast_shape("op", {2, 3}, {3}), (Shape{2, 3}));
  EXPECT_EQ(broadcast_shape("op", {3}, {2, 3}), (Shape{2, 3}));
  EXPECT_EQ(broadcast_shape("op", {2, 1}, {3}), (Shape{2, 3}));
  EXPECT_EQ(broadcast_shape("op", {4, 1, 3}, {2, 1}), (Shape{4, 2, 3}));
  EXPECT_EQ(broadcast_shape("op", {}, {2, 3}), (Shape{2, 3}));
  EXPECT_EQ(broadcast_shape("op", {}, {}), (Shape{}));
}

TEST(BroadcastShape, KeepsAnEmptyAxis) {
  EXPECT_EQ(broadcast_shape("op", {0}, {1}), (Shape{0}));
  EXPECT_EQ(broadcast_shape("op", {1, 3}, {0, 1}), (Shape{0, 3}));
  EXPECT_EQ(broadcast_shape("op", {}, {0}), (Shape{0}));
}

TEST(BroadcastShape, ThrowsNamingTheOpBothShapesAndTheAxis) {
  expect_parts(error([] {
                 broadcast_shape("mul", {2, 3}, {4, 3});
               }),
               {"mul", "(2, 3)", "(4, 3)", "axis 0", "2 against 4"});
  expect_parts(error([] { broadcast_shape("mul", {3}, {5, 4}); }), {"mul", "(3,)", "(5, 4)", "axis 1", "4 against 3"});
  EXPECT_THROW(broadcast_shape("mul", {0}, {2}), std::invalid_argument);
}

TEST(BroadcastsTo, IsTrueForExactlyTheTarget) {
  EXPECT_TRUE(broadcasts_to({3}, {2, 3}));
  EXPECT_TRUE(broadcasts_to({1, 3}, {2, 3}));
  EXPECT_TRUE(broadcasts_to({}, {2, 3}));
  EXPECT_TRUE(broadcasts_to({1}, {0}));
  EXPECT_TRUE(broadcasts_to({2, 3}, {2, 3}));
  EXPECT_FALSE(broadcasts_to({2, 3}, {3}));
  EXPECT_FALSE(broadcasts_to({2, 3}, {1, 3}));
  EXPECT_FALSE(broadcasts_to({2}, {2, 3}));
  EXPECT_FALSE(broadcasts_to({1, 3}, {3}));
  EXPECT_FALSE(broadcasts_to({0}, {1}));
}

TEST(NormaliseAxis, CountsNegativeAxesFromTheEnd) {
  EXPECT_EQ(normalise_axis("op", 0, 3), 0U);
  EXPECT_EQ(normalise_axis("op", 2, 3), 2U);
  EXPECT_EQ(normalise_axis("op", -1, 3), 2U);
  EXPECT_EQ(normalise_axis("op", -3, 3), 0U);
}

TEST(NormaliseAxis, ThrowsForAxesThatDoNotExist) {
  expect_parts(error([] { normalise_axis("sum", 3, 3); }), {"sum", "axis 3", "3 axes"});
  expect_parts(error([] { normalise_axis("sum", -4, 3); }), {"sum", "axis -4", "3 axes"});
  EXPECT_THROW(normalise_axis("sum", 0, 0), std::invalid_argument);
}

}  // namespace
}  // namespace xtgrad
