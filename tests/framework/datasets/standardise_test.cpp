#include "xtgrad/datasets/standardise.hpp"

#include <cmath>
#include <limits>

#include "../support.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

// Deviations -3, -1, 1, 3: the biased variance is 20 / 4, the unbiased one 20 / 3.
TEST(Standardise, DividesByTheBiasedStandardDeviationOfEachColumn) {
  const Tensor<double> x{{1, 40}, {3, 20}, {5, -20}, {7, -40}};
  const Standardise scale(x);
  EXPECT_EQ(values(scale.mean()), (std::vector<double>{4, 0}));
  EXPECT_EQ(values(scale.std()), (std::vector<double>{std::sqrt(5.0), std::sqrt(1000.0)}));
  EXPECT_EQ(
      values(scale.apply(x)),
      (std::vector<double>{-3 / std::sqrt(5.0), 40 / std::sqrt(1000.0), -1 / std::sqrt(5.0), 20 / std::sqrt(1000.0),
                           1 / std::sqrt(5.0), -20 / std::sqrt(1000.0), 3 / std::sqrt(5.0), -40 / std::sqrt(1000.0)}));
}

TEST(Standardise, AddsNothingToASmallStandardDeviation) {
  const Tensor<double> x{{-1e-20}, {1e-20}};
  EXPECT_EQ(values(Standardise(x).apply(x)), (std::vector<double>{-1, 1}));
}

TEST(Standardise, MeasuresTheTrainingRowsAndNotTheNewOnes) {
  const Standardise<> scale(Tensor<>{{0, 10}, {2, 30}});
  EXPECT_EQ(values(scale.apply(Tensor<>{{5, 20}})), (std::vector<float>{4, 0}));
  EXPECT_EQ(values(scale.apply(Tensor<>{{0, 0}, {1, 40}, {3, 10}})), (std::vector<float>{-1, -2, 0, 2, 2, -1}));
}

TEST(Standardise, MakesAConstantColumnExactlyZero) {
  Array<float> x = full_array<float>({1000, 2}, 0.1F);
  for (std::size_t n = 0; n < 500; ++n) x(n, 1) = -0.1F;
  const Standardise<> scale{Tensor<>(x)};
  EXPECT_EQ(values(scale.std())[0], 0);
  EXPECT_EQ(values(scale.mean())[0], static_cast<double>(0.1F));
  EXPECT_EQ(values(scale.apply(Tensor<>{{0.1F, 0.1F}, {7, -0.1F}, {-1e30F, 0}})),
            (std::vector<float>{0, 1, 0, -1, 0, 0}));
}

TEST(Standardise, OneRowIsConstant) {
  const Standardise<> scale(Tensor<>{{3, -4}});
  EXPECT_EQ(values(scale.mean()), (std::vector<double>{3, -4}));
  EXPECT_EQ(values(scale.apply(Tensor<>{{5, 6}})), (std::vector<float>{0, 0}));
}

TEST(Standardise, KeepsItsDigitsBesideALargeMean) {
  Array<float> x = empty_array<float>({1000, 1});
  Array<double> wide = empty_array<double>({1000, 1});
  for (std::size_t n = 0; n < 1000; ++n) {
    x(n, 0) = 1e6F + (n % 2 == 0 ? 0 : 0.0625F);  // neighbours: their mean is no float
    wide(n, 0) = 1e9 + (n % 2 == 0 ? 0 : 0x1p-20);
  }
  const Standardise<> scale{Tensor<>(x)};
  EXPECT_EQ(values(scale.mean()), (std::vector<double>{1e6 + 0.03125}));
  EXPECT_EQ(values(scale.std()), (std::vector<double>{0.03125}));
  const Standardise<double> wide_scale{Tensor<double>(wide)};
  EXPECT_EQ(values(wide_scale.mean()), (std::vector<double>{1e9 + 0x1p-21}));
  EXPECT_EQ(values(wide_scale.std()), (std::vector<double>{0x1p-21}));
  const std::vector<float> y = values(scale.apply(Tensor<>(x)));
  EXPECT_EQ((std::vector<float>{y[0], y[1], y[998], y[999]}), (std::vector<float>{-1, 1, -1, 1}));
}

TEST(Standardise, ALateOutlierCountsInFull) {
  // N - 1 zeros and one N: mean 1, sum of squares N - 1 + (N - 1)^2 = N (N - 1).
  Array<float> x = full_array<float>({101, 1}, 0.0F);
  x(100, 0) = 101;
  EXPECT_EQ(values(Standardise<>(Tensor<>(x)).std()), (std::vector<double>{10}));
}

TEST(Standardise, AppliesToNoRows) {
  const Tensor<> none = Standardise<>(Tensor<>{{1, 2, 3}}).apply(Tensor<>::zeros({0, 3}));
  EXPECT_EQ(none.shape(), (Shape{0, 3}));
}

TEST(Standardise, LeavesItsInputAloneAndCarriesNoGradient) {
  const Tensor<> x = variable(Tensor<>{{1}, {3}});
  const Tensor<> z = Standardise<>(x).apply(x);
  EXPECT_EQ(values(x), (std::vector<float>{1, 3}));
  EXPECT_FALSE(z.requires_grad());
}

TEST(Standardise, ThrowsUnlessItIsFittedOnRowsOfColumns) {
  expect_parts(error([] { Standardise<>(Tensor<>{1, 2}); }), {"Standardise", "(2,)", "(N, D)"});
  expect_parts(error([] { Standardise<>(Tensor<>::zeros({2, 3, 4})); }), {"Standardise", "(2, 3, 4)"});
  expect_parts(error([] { Standardise<>(Tensor<>::zeros({0, 3})); }), {"Standardise", "(0, 3)", "at least one row"});
}

TEST(Standardise, ThrowsForAnotherNumberOfColumns) {
  const Standardise<> scale(Tensor<>{{1, 2, 3}});
  expect_parts(error([&] { scale.apply(Tensor<>{{1, 2}}); }), {"Standardise", "(1, 2)", "(N, 3)"});
  expect_parts(error([&] { scale.apply(Tensor<>{{1, 2, 3, 4}}); }), {"(1, 4)", "(N, 3)"});
  expect_parts(error([&] { scale.apply(Tensor<>{1, 2, 3}); }), {"(3,)", "(N, 3)"});
  expect_parts(error([&] { scale.apply(Tensor<>::zeros({2, 3, 4})); }), {"(2, 3, 4)", "(N, 3)"});
}

TEST(Standardise, ThrowsForValuesThatAreNotFiniteNamingTheColumn) {
  for (const float bad : {kNaN, kInf, -kInf})
    for (const std::size_t row : {0U, 1U, 2U}) {
      Array<float> x = full_array<float>({3, 3}, 1.0F);
      const Standardise<> scale{Tensor<>(x)};
      x(row, 2) = bad;
      const std::string place = "row " + std::to_string(row);
      expect_parts(error([&] { Standardise<>{Tensor<>(x)}; }), {"Standardise", "column 2"});
      expect_parts(error([&] { scale.apply(Tensor<>(x)); }), {"Standardise", "column 2", place.c_str()});
    }
}

TEST(Standardise, ThrowsForAColumnWhoseSquaresOverflow) {
  expect_parts(error([] {
                 Standardise<double>(Tensor<double>{{0, 1e200}, {1, -1e200}});
               }),
               {"Standardise", "column 1"});
}

}  // namespace
}  // namespace xtgrad
