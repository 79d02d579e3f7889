#include "xtgrad/array.hpp"

#include <numeric>

#include "support.hpp"

namespace xtgrad {
namespace {

using test::values;

template <class T> Array<T> counting(const Shape& shape) {
  Array<T> a = empty_array<T>(shape);
  std::iota(a.storage().begin(), a.storage().end(), T(0));
  return a;
}

TEST(Array, HasRowMajorStridesAsXtensorExpectsThem) {
  const Array<float> a = counting<float>({2, 3, 4});
  EXPECT_EQ(a(1, 2, 3), 23);
  EXPECT_EQ(a(1, 0, 0), 12);
  const Array<float> with_ones = counting<float>({2, 1, 3});
  EXPECT_EQ(with_ones(1, 0, 2), 5);
  EXPECT_EQ(with_ones.strides()[1], 0);
  EXPECT_EQ(counting<float>({})(), 0);
}

TEST(Array, OfNoElementsHasItsShape) {
  const Array<float> a = empty_array<float>({2, 0, 3});
  EXPECT_EQ(a.size(), 0U);
  EXPECT_EQ(a.shape(), (Shape{2, 0, 3}));
}

TEST(Array, IsFilledWhenAskedTo) { EXPECT_EQ(values(full_array<float>({2, 2}, 7)), (std::vector<float>(4, 7))); }

TEST(Array, TakesPartInXtensorExpressions) {
  const Array<double> a = counting<double>({2, 3});
  const Array<double> b = a * 2.0 + 1.0;
  EXPECT_EQ(values(b), (std::vector<double>{1, 3, 5, 7, 9, 11}));
  const Array<double> broadcast = a + counting<double>({3});
  EXPECT_EQ(values(broadcast), (std::vector<double>{0, 2, 4, 3, 5, 7}));
}

TEST(Array, GrowsLikeAnyXtensorContainer) {
  Array<double> a = counting<double>({2, 3});
  a.resize({4, 5});
  EXPECT_EQ(a.size(), 20U);
  a.fill(1);
  EXPECT_EQ(a(3, 4), 1);
}

TEST(Array, SharesItsBlockInAnotherShape) {
  Array<double> a = counting<double>({2, 3});
  const Array<double> b = shared_array(a, {3, 2});
  a(0, 1) = 100;
  EXPECT_EQ(b(0, 1), 100);
  EXPECT_EQ(b(2, 1), 5);
  const Array<double> with_ones = shared_array(a, {3, 1, 2});
  EXPECT_EQ(with_ones(2, 0, 1), 5);
  EXPECT_EQ(with_ones.strides(), (Array<double>::strides_type{2, 0, 1}));
}

TEST(Array, MovesWithoutCopying) {
  Array<double> a = counting<double>({2, 3});
  const double* const block = a.data();
  const Array<double> b = std::move(a);
  EXPECT_EQ(b.data(), block);
}

}  // namespace
}  // namespace xtgrad
