#include "xtgrad/tensor.hpp"

#include <limits>
#include <sstream>
#include <type_traits>

#if __has_include(<xtensor/views/xview.hpp>)
#include <xtensor/core/xmath.hpp>
#include <xtensor/views/xstrided_view.hpp>
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xmath.hpp>
#include <xtensor/xstrided_view.hpp>
#include <xtensor/xview.hpp>
#endif

#include "support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;
using Values = std::vector<double>;

// --- Construction

TEST(Tensor, IsOnePointer) { EXPECT_EQ(sizeof(Tensor<>), sizeof(void*)); }

TEST(Tensor, IsNoneByDefault) {
  const Double t;
  EXPECT_FALSE(t.defined());
  EXPECT_FALSE(t.requires_grad());
  EXPECT_TRUE(t.is_leaf());
}

TEST(Tensor, ThatIsNoneThrowsOnUse) {
  Double t;
  expect_parts(error([&] { t.shape(); }), {"not defined"});
  EXPECT_THROW(t.size(), std::invalid_argument);
  EXPECT_THROW(t.value(), std::invalid_argument);
  EXPECT_THROW(t.mutable_value(), std::invalid_argument);
  EXPECT_THROW(t.data(), std::invalid_argument);
  EXPECT_THROW(t.item(), std::invalid_argument);
  EXPECT_THROW(t.grad(), std::invalid_argument);
  EXPECT_THROW(t.zero_grad(), std::invalid_argument);
  EXPECT_THROW(t.detach(), std::invalid_argument);
  EXPECT_THROW(t.requires_grad(true), std::invalid_argument);
  EXPECT_THROW(t + 1.0, std::invalid_argument);
}

TEST(Tensor, OfAScalarHasNoAxes) {
  const Double t(3);
  EXPECT_EQ(t.shape(), Shape{});
  EXPECT_EQ(t.size(), 1U);
  EXPECT_EQ(t.item(), 3);
}

TEST(Tensor, OfAListHasOneAxis) {
  const Double t{1, 2, 3};
  EXPECT_EQ(t.shape(), (Shape{3}));
  EXPECT_EQ(values(t), (Values{1, 2, 3}));
  EXPECT_EQ(Double{5}.shape(), (Shape{1}));
}

TEST(Tensor, OfNestedListsHasAnAxisForEachLevel) {
  const Double matrix{{1, 2, 3}, {4, 5, 6}};
  EXPECT_EQ(matrix.shape(), (Shape{2, 3}));
  EXPECT_EQ(values(matrix), (Values{1, 2, 3, 4, 5, 6}));
  const Double cube{{{1, 2}, {3, 4}, {5, 6}}, {{7, 8}, {9, 10}, {11, 12}}};
  EXPECT_EQ(cube.shape(), (Shape{2, 3, 2}));
  EXPECT_EQ(values(cube)[7], 8);
  const Tensor<> floats{{1, 2}, {3, 4}};
  EXPECT_EQ(floats.value()(1, 0), 3.0F);
}

template <class T>
concept TakesAColumn = requires {
  Tensor<T>{{T(1)}, {T(2)}};
};

TEST(Tensor, OfRowsOfOneElementIsAColumn) { EXPECT_TRUE(TakesAColumn<float> && TakesAColumn<double>); }

TEST(Tensor, OfRaggedListsThrowsNamingBothLengths) {
  expect_parts(error([] { Double{{1, 2, 3}, {4, 5}}; }), {"Tensor", "3", "2"});
  EXPECT_THROW((Double{{1, 2}, {3, 4, 5}}), std::invalid_argument);
  EXPECT_THROW((Double{{{1, 2}, {3, 4}}, {{5, 6}}}), std::invalid_argument);
  EXPECT_THROW((Double{{{1, 2}, {3, 4}}, {{5, 6}, {7}}}), std::invalid_argument);
  EXPECT_THROW((Double{{{1, 2}, {3}}, {{5, 6}, {7, 8}}}), std::invalid_argument);
}

TEST(Tensor, OfEmptyRowsHasNoElements) {
  const Double t{std::initializer_list<double>{}, std::initializer_list<double>{}};
  EXPECT_EQ(t.shape(), (Shape{2, 0}));
  EXPECT_EQ(Double(std::initializer_list<double>{}).shape(), (Shape{0}));
}

TEST(Tensor, IsFilledOnRequest) {
  EXPECT_EQ(values(Double::zeros({2, 2})), Values(4, 0));
  EXPECT_EQ(values(Double::ones({3})), Values(3, 1));
  EXPECT_EQ(values(Double::full({2}, 7)), Values(2, 7));
  EXPECT_EQ(Double::zeros({2, 0, 3}).size(), 0U);
}

TEST(Tensor, ArangeLeavesOutItsEnd) {
  EXPECT_EQ(values(Tensor<>::arange(4)), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(values(Tensor<double>::arange(1, 2, 0.25)), (std::vector<double>{1, 1.25, 1.5, 1.75}));
  EXPECT_EQ(values(Tensor<double>::arange(3, 0, -2)), (std::vector<double>{3, 1}));
  EXPECT_EQ(Tensor<>::arange(0).shape(), (Shape{0}));
}

TEST(Tensor, ArangeDoesNotAddUpRounding) {
  const Tensor<double> x = Tensor<double>::arange(0, 100, 0.1);
  EXPECT_EQ(x.size(), 1000u);
  EXPECT_EQ(x.data()[999], 999 * 0.1);
}

TEST(Tensor, ArangeThrowsForStepsThatDoNotArrive) {
  for (const double step : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN()})
    expect_parts(error([&] { Tensor<double>::arange(0, 1, step); }), {"arange", "0 to 1 by"});
  expect_parts(error([] { Tensor<double>::arange(0, -0.5); }), {"arange", "0 to -0.5 by 1"});
}

TEST(Tensor, TakesOverAnArrayThatMoves) {
  Array<double> a = full_array<double>({2, 2}, 3);
  const double* const block = a.data();
  const Double t(std::move(a));
  EXPECT_EQ(t.data(), block);
}

TEST(Tensor, CopiesAnArrayThatStays) {
  Array<double> a = full_array<double>({2, 2}, 3);
  const Double t(a);
  a(0, 0) = 9;
  EXPECT_EQ(values(t), Values(4, 3));
}

// --- From xtensor expressions: each against the elements that the expression shows

const Array<double>& matrix() {
  static const Array<double> a = [] {
    Array<double> x = empty_array<double>({3, 4});
    for (std::size_t i = 0; i < 12; ++i) x.storage()[i] = static_cast<double>(i);
    return x;
  }();
  return a;
}

TEST(TensorOfAnExpression, HasItsElements) {
  const Double t(matrix() * 2.0 + 1.0);
  EXPECT_EQ(t.shape(), (Shape{3, 4}));
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(t.data()[i], 2.0 * static_cast<double>(i) + 1);
}

TEST(TensorOfAnExpression, MayBeTransposed) {
  const Double t(xt::transpose(matrix()));
  EXPECT_EQ(t.shape(), (Shape{4, 3}));
  EXPECT_EQ(values(t), (Values{0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11}));
}

TEST(TensorOfAnExpression, MayBeAStridedView) {
  EXPECT_EQ(values(Double(xt::view(matrix(), xt::all(), 1))), (Values{1, 5, 9}));
  EXPECT_EQ(values(Double(xt::view(matrix(), xt::range(0, 3, 2), xt::range(1, 4, 2)))), (Values{1, 3, 9, 11}));
  EXPECT_EQ(values(Double(xt::strided_view(matrix(), {xt::range(2, xt::placeholders::_, -1), 0}))), (Values{8, 4, 0}));
}

TEST(TensorOfAnExpression, MayBeBroadcast) {
  const Double row{1, 2, 3, 4};
  const Double t(xt::broadcast(row.value(), Shape{2, 4}));
  EXPECT_EQ(t.shape(), (Shape{2, 4}));
  EXPECT_EQ(values(t), (Values{1, 2, 3, 4, 1, 2, 3, 4}));
  EXPECT_EQ(values(Double(matrix() + row.value()))[11], 15);
}

TEST(TensorOfAnExpression, MayBeAReduction) {
  EXPECT_EQ(values(Double(xt::sum(matrix(), {0}))), (Values{12, 15, 18, 21}));
  EXPECT_EQ(Double(xt::sum(matrix())).shape(), Shape{});
}

TEST(TensorOfAnExpression, MayComeFromAnotherContainer) {
  const xt::xarray<double> dynamic{{1, 2}, {3, 4}};
  const xt::xtensor<double, 2> fixed{{1, 2}, {3, 4}};
  const xt::xarray<double, xt::layout_type::column_major> columns{{1, 2}, {3, 4}};
  EXPECT_EQ(values(Double(dynamic)), (Values{1, 2, 3, 4}));
  EXPECT_EQ(values(Double(fixed)), (Values{1, 2, 3, 4}));
  EXPECT_EQ(values(Double(columns)), (Values{1, 2, 3, 4}));
}

TEST(TensorOfAnExpression, MayChangePrecision) {
  const Tensor<float> t(matrix());
  EXPECT_EQ(t.value()(2, 3), 11.0F);
}

TEST(TensorOfAnExpression, GivesTheGradientsOfItsElements) {
  const Double x = variable(Double(xt::transpose(matrix())));
  sum(x * x).backward();
  for (std::size_t i = 0; i < 12; ++i) EXPECT_EQ(x.grad().data()[i], 2 * x.data()[i]);
}

TEST(Tensor, ItsValueHasTheWholeOfXtensor) {
  const Double t{{1, 2}, {3, 5}};
  EXPECT_EQ(xt::sum(t.value())(), 11);
  const Array<double> columns = xt::variance(t.value(), {0});
  EXPECT_EQ(values(columns), (Values{1, 2.25}));
}

// --- Handles

TEST(Tensor, CopiesShareTheNode) {
  Double a{1, 2}, b = a;
  a.mutable_value()(0) = 9;
  EXPECT_EQ(values(b), (Values{9, 2}));
  a.requires_grad(true);
  EXPECT_TRUE(b.requires_grad());
}

TEST(Tensor, MovesLeaveNoneBehind) {
  Double a{1, 2};
  const Double b = std::move(a);
  EXPECT_FALSE(a.defined());  // NOLINT: that is what is tested
  EXPECT_EQ(b.size(), 2U);
}

TEST(Tensor, SurvivesAssignmentToItself) {
  Double a{1, 2};
  const Double& same = a;
  a = same;
  EXPECT_EQ(values(a), (Values{1, 2}));
}

TEST(Tensor, DetachSharesValuesAndHasNoHistory) {
  const Double x = variable(Double{1, 2}), y = x * 2.0;
  Double d = y.detach();
  EXPECT_TRUE(d.is_leaf());
  EXPECT_FALSE(d.requires_grad());
  EXPECT_EQ(d.data(), y.data());
  d.mutable_value()(0) = 9;
  EXPECT_EQ(values(y), (Values{9, 4}));
}

TEST(Tensor, DetachKeepsSharingAfterAnUpdateByAnExpression) {
  Double x{1, 2};
  const Double d = x.detach(), r = reshape(x, {2, 1});
  x.mutable_value() -= Double{1, 1}.value() * 0.5;
  EXPECT_EQ(values(x), (Values{0.5, 1.5}));
  EXPECT_EQ(values(d), (Values{0.5, 1.5}));
  EXPECT_EQ(values(r), (Values{0.5, 1.5}));
}

TEST(Tensor, RequiresGradThrowsOnTheResultOfAnOp) {
  Double y = variable(Double{1, 2}) * 2.0;
  expect_parts(error([&] { y.requires_grad(false); }), {"requires_grad", "mul", "detach"});
}

TEST(Tensor, RequiresGradCanBeTakenBack) {
  Double x = variable(Double(1));
  x.requires_grad(false);
  EXPECT_FALSE((x * 2.0).requires_grad());
}

TEST(Tensor, ZeroGradEmptiesTheGradient) {
  Double x = variable(Double(1));
  (x * 2.0).backward();
  x.zero_grad();
  EXPECT_FALSE(x.grad().defined());
}

// --- Elements

TEST(Tensor, ItemIsTheOnlyElement) {
  EXPECT_EQ(Double(3).item(), 3);
  EXPECT_EQ(Double::full({1, 1}, 7).item(), 7);
}

TEST(Tensor, ItemThrowsForMoreOrLessThanOneElement) {
  expect_parts(error([] { (Double{1, 2}).item(); }), {"item", "(2,)"});
  expect_parts(error([] { Double::zeros({3, 0}).item(); }), {"item", "(3, 0)"});
}

TEST(Tensor, PrintsItsValues) {
  std::ostringstream out;
  out << Tensor<>{{1, 2}, {3, 4}};
  EXPECT_EQ(out.str(), "{{ 1.,  2.},\n { 3.,  4.}}");
  std::ostringstream scalar, none;
  scalar << Double(2.5);
  EXPECT_EQ(scalar.str(), " 2.5");
  none << Double();
  EXPECT_EQ(none.str(), "Tensor()");
}

// --- Operators

template <class T> class Operators : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Operators, Precisions);

TYPED_TEST(Operators, TakeNumbersOnEitherSide) {
  const Tensor<TypeParam> t{1, 2, 4};
  using V = std::vector<TypeParam>;
  EXPECT_EQ(values(2 * t), (V{2, 4, 8}));
  EXPECT_EQ(values(t * 2), (V{2, 4, 8}));
  EXPECT_EQ(values(1 / t), (V{1, 0.5, 0.25}));
  EXPECT_EQ(values(t / 2), (V{0.5, 1, 2}));
  EXPECT_EQ(values(1 - t), (V{0, -1, -3}));
  EXPECT_EQ(values(t - 1), (V{0, 1, 3}));
  EXPECT_EQ(values(1 + t), (V{2, 3, 5}));
  EXPECT_EQ(values(-t), (V{-1, -2, -4}));
  EXPECT_EQ(values(t > 1), (V{0, 1, 1}));
  EXPECT_EQ(values(2 > t), (V{1, 0, 0}));
  EXPECT_EQ(values(TypeParam(2.5) * t), (V{2.5, 5, 10}));
}

TYPED_TEST(Operators, BroadcastLikeNumpy) {
  const Tensor<TypeParam> column = reshape(Tensor<TypeParam>{1, 2}, {2, 1}), row{10, 20, 30};
  const Tensor<TypeParam> sum = column + row;
  EXPECT_EQ(sum.shape(), (Shape{2, 3}));
  EXPECT_EQ(values(sum), (std::vector<TypeParam>{11, 21, 31, 12, 22, 32}));
}

TYPED_TEST(Operators, BuildAGraph) {
  const Tensor<TypeParam> x = variable(Tensor<TypeParam>{1, 2});
  EXPECT_TRUE((2 * x).requires_grad());
  EXPECT_FALSE((x > 1).requires_grad());
}

static_assert(!std::is_convertible_v<Tensor<float>, Tensor<double>>, "precisions mix only where it is said");
static_assert(std::is_nothrow_move_constructible_v<Tensor<float>>);

}  // namespace
}  // namespace xtgrad
