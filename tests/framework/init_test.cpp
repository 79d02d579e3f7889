#include "xtgrad/init.hpp"

#include <algorithm>
#include <cmath>

#include "support.hpp"

namespace xtgrad {
namespace {

using test::values;

constexpr std::size_t O = 300, I = 200;

struct Spread {
  double mean = 0, variance = 0, largest = 0;
};

Spread spread(const Tensor<double>& w) {
  Spread s;
  const auto n = static_cast<double>(w.size());
  for (const double v : values(w)) {
    s.mean += v / n;
    s.largest = std::max(s.largest, std::abs(v));
  }
  for (const double v : values(w)) s.variance += (v - s.mean) * (v - s.mean) / n;
  return s;
}

// Five standard errors of a normal variance are below this share of it.
const double kShare = 5 * std::sqrt(2.0 / (O * I));

TEST(Init, UniformFillsItsInterval) {
  Tensor<double> w = Tensor<double>::zeros({O, I});
  init::uniform(w, 0.25);
  const Spread s = spread(w);
  EXPECT_LE(s.largest, 0.25);
  EXPECT_GT(s.largest, 0.249);
  EXPECT_NEAR(s.variance, 0.25 * 0.25 / 3, kShare * 0.25 * 0.25 / 3);
  EXPECT_NEAR(s.mean, 0, 5 * 0.25 / std::sqrt(3.0 * O * I));
}

TEST(Init, NormalHasItsDeviation) {
  Tensor<double> w = Tensor<double>::zeros({O, I});
  init::normal(w, 0.3);
  EXPECT_NEAR(spread(w).variance, 0.09, kShare * 0.09);
}

TEST(Init, KaimingNormalHasVarianceTwoOverTheFanIn) {
  Tensor<double> w = Tensor<double>::zeros({O, I});
  init::kaiming_normal(w);
  EXPECT_NEAR(spread(w).variance, 2.0 / I, kShare * 2.0 / I);
}

TEST(Init, XavierUniformHasVarianceTwoOverBothFans) {
  Tensor<double> w = Tensor<double>::zeros({O, I});
  init::xavier_uniform(w);
  EXPECT_NEAR(spread(w).variance, 2.0 / (O + I), kShare * 2.0 / (O + I));
  EXPECT_LE(spread(w).largest, std::sqrt(6.0 / (O + I)));
}

TEST(Init, KaimingUniformHasTheSameVarianceWithinItsBound) {
  Tensor<double> w = Tensor<double>::zeros({O, I});
  init::kaiming_uniform(w);
  EXPECT_NEAR(spread(w).variance, 2.0 / I, kShare * 2.0 / I);
  EXPECT_LE(spread(w).largest, std::sqrt(6.0 / I));
}

TEST(Init, XavierNormalHasVarianceTwoOverBothFans) {
  Tensor<double> w = Tensor<double>::zeros({O, I});
  init::xavier_normal(w);
  EXPECT_NEAR(spread(w).variance, 2.0 / (O + I), kShare * 2.0 / (O + I));
  EXPECT_GT(spread(w).largest, std::sqrt(6.0 / (O + I)));  // no uniform reaches so far
}

TEST(Init, DrawsFromTheDefaultGenerator) {
  Tensor<double> a = Tensor<double>::zeros({3, 4}), b = a.detach();
  b = Tensor<double>::zeros({3, 4});
  manual_seed(5);
  init::kaiming_normal(a);
  manual_seed(5);
  init::kaiming_normal(b);
  EXPECT_EQ(values(a), values(b));
}

TEST(Init, DrawsFromAnotherGeneratorIfTold) {
  Tensor<double> a = Tensor<double>::zeros({3, 4}), b = Tensor<double>::zeros({3, 4});
  Generator one(5), other(5);
  init::uniform(a, 1, one);
  init::uniform(b, 1, other);
  EXPECT_EQ(values(a), values(b));
}

TEST(Init, WritesIntoTheLeafThatItIsGiven) {
  Tensor<double> w = test::variable(Tensor<double>::zeros({2, 2}));
  const double* const block = w.data();
  init::normal(w, 1);
  EXPECT_EQ(w.data(), block);
  EXPECT_TRUE(w.is_leaf());
  EXPECT_TRUE(w.requires_grad());
}

TEST(Init, ThrowsUnlessTheWeightIsAMatrixWithElements) {
  Tensor<double> vector = Tensor<double>::zeros({3}), empty = Tensor<double>::zeros({3, 0});
  test::expect_parts(test::error([&] { init::kaiming_normal(vector); }), {"kaiming_normal", "(3,)", "(O, I)"});
  test::expect_parts(test::error([&] { init::xavier_uniform(empty); }), {"xavier_uniform", "(3, 0)"});
}

}  // namespace
}  // namespace xtgrad
