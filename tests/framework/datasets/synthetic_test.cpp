#include "xtgrad/datasets/synthetic.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>

#include "../support.hpp"

namespace xtgrad {
namespace {

using std::numbers::pi;
using test::error;
using test::expect_parts;
using test::values;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

/// A row and its label.
struct Point {
  std::int64_t label;
  double x, y;
};

/// Expects these rows of 2 columns and no others, in any order, to 1e-12.
void expect_rows(const Dataset<double>& data, const std::vector<Point>& expected) {
  ASSERT_EQ(data.x.shape(), (Shape{expected.size(), 2}));
  ASSERT_EQ(data.y.shape(), (Shape{expected.size()}));
  std::vector<bool> seen(expected.size());
  for (const auto& [label, x, y] : expected) {
    bool found = false;
    for (std::size_t n = 0; n < expected.size() && !found; ++n) {
      found = !seen[n] && data.y(n) == label && std::abs(data.x.value()(n, 0) - x) < 1e-12 &&
              std::abs(data.x.value()(n, 1) - y) < 1e-12;
      if (found) seen[n] = true;
    }
    EXPECT_TRUE(found) << "no row (" << x << ", " << y << ") of class " << label;
  }
}

std::map<std::int64_t, std::size_t> counts(const Labels& y) {
  std::map<std::int64_t, std::size_t> count;
  for (const std::int64_t label : y.storage()) ++count[label];
  return count;
}

using Counts = std::map<std::int64_t, std::size_t>;

// Found by training on it: with the same draws in both places, split() undid the order, and held out one class only.
TEST(Synthetic, SplitWithTheSameSeedHoldsOutEveryClass) {
  for (const std::uint64_t seed : {0u, 1u, 2u}) {
    const auto parts = split(make_moons(200, {.seed = seed}), 0.2, seed);
    for (const auto& [label, count] : counts(parts.test.y)) EXPECT_NEAR(static_cast<double>(count), 20, 15);
    EXPECT_EQ(counts(parts.test.y).size(), 2u);
  }
}

// --- Moons

TEST(MakeMoons, AreTwoHalfCirclesEvenlySpacedToBothEnds) {
  const double h = std::sqrt(0.5), s = std::sqrt(0.75);
  expect_rows(make_moons<double>(9), {{0, 1, 0},
                                      {0, 0.5, s},
                                      {0, -0.5, s},
                                      {0, -1, 0},
                                      {1, 0, 0.5},
                                      {1, 1 - h, 0.5 - h},
                                      {1, 1, -0.5},
                                      {1, 1 + h, 0.5 - h},
                                      {1, 2, 0.5}});
}

TEST(MakeMoons, GivesTheOddPointToTheInnerOne) {
  expect_rows(make_moons<double>(2), {{0, 1, 0}, {1, 0, 0.5}});
  expect_rows(make_moons<double>(3), {{0, 1, 0}, {1, 0, 0.5}, {1, 2, 0.5}});
  EXPECT_EQ(counts(make_moons(1000).y), (Counts{{0, 500}, {1, 500}}));
}

// A point p on the unit circle, with noise e of standard deviation s on each coordinate: E|p + e|^2 = 1 + 2 s^2.
TEST(MakeMoons, NoiseIsTheStandardDeviationOnEachCoordinate) {
  const Dataset<double> data = make_moons<double>(20000, {.noise = 0.3});
  double sum = 0;
  for (std::size_t n = 0; n < data.size(); ++n) {
    const double x = data.x.value()(n, 0), y = data.x.value()(n, 1);
    sum += data.y(n) == 0 ? x * x + y * y : (x - 1) * (x - 1) + (y - 0.5) * (y - 0.5);
  }
  // The standard error of the mean is 2 s sqrt(1 + s^2) / sqrt(20000) = 0.0044.
  EXPECT_NEAR(sum / 20000, 1 + 2 * 0.09, 5 * 0.0044);
}

TEST(MakeMoons, ThrowsUnlessEachMoonGetsAPoint) {
  expect_parts(error([] { make_moons(1); }), {"make_moons", "1 points", "2 classes"});
  EXPECT_THROW(make_moons(0), std::invalid_argument);
}

// --- Spirals

TEST(MakeSpirals, ArmsTurnWithTheirRadiusAndStartEvenlySpread) {
  // Two points to an arm, at the radii 1/2 and 1; a quarter turn is behind an arm at radius 1.
  expect_rows(
      make_spirals<double>(4, {.classes = 2, .turns = 0.25}),
      {{0, std::sqrt(0.125), std::sqrt(0.125)}, {0, 0, 1}, {1, -std::sqrt(0.125), -std::sqrt(0.125)}, {1, 0, -1}});
}

TEST(MakeSpirals, ArmsEndAtRadiusOneWhateverTheirNumberOfPoints) {
  // Arm 0 has the seventh point: its radii are 1/3, 2/3, 1, those of the others 1/2, 1.
  std::vector<Point> expected;
  for (std::size_t k = 0; k < 3; ++k)
    for (int i = 1, n = k == 0 ? 3 : 2; i <= n; ++i) {
      const double r = static_cast<double>(i) / n, a = 2 * pi * (r + static_cast<double>(k) / 3);
      expected.push_back({static_cast<std::int64_t>(k), r * std::cos(a), r * std::sin(a)});
    }
  expect_rows(make_spirals<double>(7), expected);
}

TEST(MakeSpirals, MayTurnTheOtherWay) {
  expect_rows(make_spirals<double>(1, {.classes = 1, .turns = -0.25}), {{0, 0, -1}});
}

TEST(MakeSpirals, ThrowsForOptionsThatMakeNoArms) {
  expect_parts(error([] { make_spirals(2, {.classes = 3}); }), {"make_spirals", "2 points", "3 classes"});
  expect_parts(error([] { make_spirals(2, {.classes = 0}); }), {"make_spirals", "0 classes"});
  expect_parts(error([] { make_spirals(9, {.turns = kInf}); }), {"make_spirals", "turns", "inf"});
}

// --- Blobs

TEST(MakeBlobs, WithoutSpreadAreTheirCenters) {
  expect_rows(make_blobs<double>(4, {.centers = {{1, 2}, {3, 4}, {5, 6}}, .cluster_std = 0}),
              {{0, 1, 2}, {0, 1, 2}, {1, 3, 4}, {2, 5, 6}});
}

TEST(MakeBlobs, ShareTheRowsEvenlyAndGiveTheRestToTheFirst) {
  EXPECT_EQ(counts(make_blobs(11).y), (Counts{{0, 4}, {1, 4}, {2, 3}}));
}

TEST(MakeBlobs, SpreadAlikeAndIndependentlyInEveryDirection) {
  const std::size_t N = 30000;
  const Dataset<double> data =
      make_blobs<double>(N, {.centers = {{0, 100, -7}, {5, 0, 40}}, .cluster_std = 2, .seed = 5});
  ASSERT_EQ(data.x.shape(), (Shape{N, 3}));
  const double centers[2][3] = {{0, 100, -7}, {5, 0, 40}};
  double sum[3] = {}, products[3][3] = {};
  for (std::size_t n = 0; n < N; ++n)
    for (std::size_t i = 0; i < 3; ++i) {
      const double di = data.x.value()(n, i) - centers[data.y(n)][i];
      sum[i] += di;
      for (std::size_t j = 0; j < 3; ++j) products[i][j] += di * (data.x.value()(n, j) - centers[data.y(n)][j]);
    }
  // Five standard errors: 2 / sqrt(N) of a mean, 4 sqrt(2) / sqrt(N) of a variance, 4 / sqrt(N) of a covariance.
  const double error = 5 / std::sqrt(static_cast<double>(N));
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(sum[i] / N, 0, 2 * error);
    for (std::size_t j = 0; j < 3; ++j)
      EXPECT_NEAR(products[i][j] / N, i == j ? 4 : 0, 4 * std::numbers::sqrt2 * error) << i << ", " << j;
  }
}

TEST(MakeBlobs, ThrowsForCentersThatAreNoRows) {
  expect_parts(error([] { make_blobs(5, {.centers = {1, 2}}); }), {"make_blobs", "(2,)"});
  expect_parts(error([] { make_blobs(1, {.centers = {{1, 2}, {3, 4}}}); }), {"make_blobs", "1 points", "2 classes"});
  expect_parts(error([] { make_blobs(1, {.centers = Tensor<double>::zeros({0, 2})}); }), {"make_blobs", "0 classes"});
  EXPECT_THROW(make_blobs(5, {.centers = {}}), std::invalid_argument);
  expect_parts(error([] { make_blobs(5, {.centers = {{1, 2}, {3, kInf}}}); }), {"make_blobs", "center", "inf"});
}

// --- All of them

/// Calls f with each of the makers, as functions of N, standard deviation and seed.
template <class T, class F> void for_each_maker(F f) {
  f("make_moons",
    [](std::size_t N, double std, std::uint64_t seed) { return make_moons<T>(N, {.noise = std, .seed = seed}); });
  f("make_spirals",
    [](std::size_t N, double std, std::uint64_t seed) { return make_spirals<T>(N, {.noise = std, .seed = seed}); });
  f("make_blobs",
    [](std::size_t N, double std, std::uint64_t seed) { return make_blobs<T>(N, {.cluster_std = std, .seed = seed}); });
}

TEST(Synthetic, DependsOnTheSeedOnly) {
  for_each_maker<float>([](const char* name, auto make) {
    const Dataset<> a = make(50, 0.1, 3);
    manual_seed(99);
    const Dataset<> b = make(50, 0.1, 3), c = make(50, 0.1, 4);
    EXPECT_EQ(values(a.x), values(b.x)) << name;
    EXPECT_EQ(values(a.y), values(b.y)) << name;
    EXPECT_NE(values(a.x), values(c.x)) << name;
    EXPECT_NE(values(a.y), values(c.y)) << name;
  });
}

TEST(Synthetic, LeavesTheGeneratorOfTheThreadAlone) {
  manual_seed(1);
  const double next = default_generator().uniform();
  manual_seed(1);
  for_each_maker<float>([](const char*, auto make) { make(50, 0.1, 0); });
  EXPECT_EQ(default_generator().uniform(), next);
}

TEST(Synthetic, RowsAreInARandomOrder) {
  for_each_maker<float>([](const char* name, auto make) {
    const Labels y = make(3000, 0.1, 0).y;
    // Of neighbours in a random order, one in K is of the same class; sorted rows would all be, dealt ones never.
    const std::size_t K = counts(y).size();
    std::size_t alike = 0;
    for (std::size_t n = 1; n < y.size(); ++n) alike += y(n) == y(n - 1) ? 1U : 0U;
    EXPECT_NEAR(static_cast<double>(alike) / 3000, 1 / static_cast<double>(K), 0.05) << name;
  });
}

TEST(Synthetic, FloatRowsAreTheDoubleOnesRounded) {
  std::vector<std::vector<float>> in_float;
  for_each_maker<float>([&](const char*, auto make) { in_float.push_back(values(make(50, 0.1, 7).x)); });
  std::size_t i = 0;
  for_each_maker<double>([&](const char* name, auto make) {
    const std::vector<double> x = values(make(50, 0.1, 7).x);
    EXPECT_EQ(std::vector<float>(x.begin(), x.end()), in_float[i++]) << name;
  });
}

TEST(Synthetic, ThrowsForANoiseThatIsNoStandardDeviation) {
  for_each_maker<float>([](const char* name, auto make) {
    expect_parts(error([&] { make(10, -0.5, 0); }), {name, "standard deviation", "-0.5"});
    EXPECT_THROW(make(10, kNaN, 0), std::invalid_argument) << name;
    EXPECT_THROW(make(10, kInf, 0), std::invalid_argument) << name;
  });
}

}  // namespace
}  // namespace xtgrad
