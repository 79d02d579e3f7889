#include "xtgrad/random.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <thread>

#include "support.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::values;

constexpr std::size_t kDraws = 200'000;
constexpr double kStandardErrors = 5;

struct Statistics {
  double mean = 0, variance = 0, third = 0, fourth = 0;
};

template <class Draw> Statistics statistics(Draw draw) {
  std::vector<double> x(kDraws);
  for (double& value : x) value = draw();
  Statistics s;
  const auto n = static_cast<double>(kDraws);
  for (const double v : x) s.mean += v / n;
  for (const double v : x) {
    s.variance += std::pow(v - s.mean, 2) / n;
    s.third += std::pow(v - s.mean, 3) / n;
    s.fourth += std::pow(v - s.mean, 4) / n;
  }
  return s;
}

TEST(Generator, RunsTheEngineThatTheStandardDescribes) {
  // [rand.predef]: the 10000th value of mt19937_64 with its default seed is 9981545732273789042.
  Generator generator(5489);
  double last = 0;
  for (int i = 0; i < 10000; ++i) last = generator.uniform();
  EXPECT_EQ(last, static_cast<double>(9981545732273789042U >> 11) / 9007199254740992.0);
}

TEST(Generator, BelowTakesOneValueOfTheEngine) {
  Generator generator(5489);
  for (int i = 0; i < 9999; ++i) generator.uniform();
  EXPECT_EQ(generator.below(1000), 9981545732273789042U % 1000);
}

TEST(Generator, IsSeededWithZeroUnlessTold) {
  Generator a, b(0), c(1);
  const double first = a.uniform();
  EXPECT_EQ(first, b.uniform());
  EXPECT_NE(first, c.uniform());
}

TEST(Generator, GivesTheSameNumbersForTheSameSeed) {
  Generator a(7), b(7);
  EXPECT_EQ(values(a.normal<float>({100})), values(b.normal<float>({100})));
  EXPECT_EQ(a.permutation(50), b.permutation(50));
  EXPECT_EQ(a.below(1000), b.below(1000));
}

TEST(Generator, UniformLiesInTheHalfOpenUnitInterval) {
  Generator generator(1);
  for (std::size_t i = 0; i < kDraws; ++i) {
    const double u = generator.uniform();
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
  }
}

TEST(Generator, UniformHasItsMeanAndVariance) {
  Generator generator(2);
  const Statistics s = statistics([&] { return generator.uniform(); });
  const double n = kDraws;
  EXPECT_NEAR(s.mean, 0.5, kStandardErrors * std::sqrt(1.0 / 12 / n));
  EXPECT_NEAR(s.variance, 1.0 / 12, kStandardErrors * std::sqrt((1.0 / 80 - 1.0 / 144) / n));
}

TEST(Generator, NormalHasItsFirstFourMoments) {
  Generator generator(3);
  const Statistics s = statistics([&] { return generator.normal(); });
  const double n = kDraws;
  EXPECT_NEAR(s.mean, 0, kStandardErrors * std::sqrt(1 / n));
  EXPECT_NEAR(s.variance, 1, kStandardErrors * std::sqrt(2 / n));
  EXPECT_NEAR(s.third, 0, kStandardErrors * std::sqrt(15 / n));
  EXPECT_NEAR(s.fourth, 3, kStandardErrors * std::sqrt(96 / n));
}

TEST(Generator, NormalComesInPairsOfMarsagliasMethod) {
  std::mt19937_64 engine(11);
  const auto uniform = [&] { return static_cast<double>(engine() >> 11) * 0x1p-53; };
  Generator generator(11);
  for (int pair = 0; pair < 100; ++pair) {
    double u = 0, v = 0, s = 0;
    do {
      u = 2 * uniform() - 1;
      v = 2 * uniform() - 1;
      s = u * u + v * v;
    } while (s >= 1 || s == 0);
    const double factor = std::sqrt(-2 * std::log(s) / s);
    ASSERT_DOUBLE_EQ(generator.normal(), u * factor);
    ASSERT_DOUBLE_EQ(generator.normal(), v * factor);
  }
}

TEST(Generator, NormalsOfAPairAreNotCorrelated) {
  Generator generator(4);
  double product = 0;
  for (std::size_t i = 0; i < kDraws; ++i) {
    const double first = generator.normal();
    product += first * generator.normal();
  }
  EXPECT_NEAR(product / kDraws, 0, kStandardErrors / std::sqrt(kDraws));
}

TEST(Generator, KeepsItsSpareNormalWhenCopied) {
  Generator a(5);
  a.normal();
  Generator b = a;
  EXPECT_EQ(a.normal(), b.normal());
  EXPECT_EQ(a.normal(), b.normal());
}

TEST(Generator, BelowReachesEveryNumberEquallyOften) {
  Generator generator(6);
  constexpr std::size_t n = 7;
  std::vector<double> count(n, 0);
  for (std::size_t i = 0; i < kDraws; ++i) ++count.at(generator.below(n));
  constexpr double kExpected = kDraws / 7.0;
  for (const double c : count) EXPECT_NEAR(c, kExpected, kStandardErrors * std::sqrt(kExpected * 6 / 7));
}

TEST(Generator, BelowHasNoBiasForLargeRanges) {
  // Of 3 * 2^62 numbers a plain remainder would give the lowest third twice as often as the others.
  Generator generator(7);
  constexpr std::size_t n = std::size_t{3} << 62;
  std::size_t low = 0;
  for (std::size_t i = 0; i < kDraws; ++i)
    if (generator.below(n) < std::size_t{1} << 62) ++low;
  EXPECT_NEAR(static_cast<double>(low) / kDraws, 1.0 / 3, kStandardErrors * std::sqrt(2.0 / 9 / kDraws));
}

TEST(Generator, BelowOneIsZero) {
  Generator generator(8);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(generator.below(1), 0U);
}

TEST(Generator, PermutationsHoldEveryNumberOnce) {
  Generator generator(9);
  for (const std::size_t n : {0U, 1U, 2U, 100U}) {
    std::vector<std::size_t> order = generator.permutation(n), sorted(n);
    std::sort(order.begin(), order.end());
    std::iota(sorted.begin(), sorted.end(), std::size_t{0});
    EXPECT_EQ(order, sorted);
  }
}

TEST(Generator, EveryPermutationIsEquallyLikely) {
  Generator generator(10);
  std::vector<double> count(24, 0);
  constexpr int kRounds = 48'000;
  for (int i = 0; i < kRounds; ++i) {
    const std::vector<std::size_t> order = generator.permutation(4);
    std::size_t rank = 0;
    for (std::size_t a = 0; a < 4; ++a) {
      std::size_t smaller = 0;
      for (std::size_t b = a + 1; b < 4; ++b)
        if (order[b] < order[a]) ++smaller;
      rank = rank * (4 - a) + smaller;
    }
    ++count.at(rank);
  }
  for (const double c : count) EXPECT_NEAR(c, kRounds / 24.0, kStandardErrors * std::sqrt(kRounds / 24.0 * 23 / 24));
}

TEST(Generator, FillsTensors) {
  Generator generator(12);
  const Tensor<float> u = generator.uniform<float>({100, 50}, -3, 5);
  EXPECT_EQ(u.shape(), (Shape{100, 50}));
  EXPECT_FALSE(u.requires_grad());
  const auto [low, high] = std::minmax_element(u.data(), u.data() + u.size());
  EXPECT_GE(*low, -3);
  EXPECT_LE(*high, 5);
  EXPECT_LT(*low, -2.9F);
  EXPECT_GT(*high, 4.9F);
  const Tensor<double> z = generator.normal<double>({300, 300}, 10, 2);
  double mean = 0;
  for (const double v : values(z)) mean += v / 90'000;
  EXPECT_NEAR(mean, 10, kStandardErrors * 2 / 300);
}

TEST(Generator, BothPrecisionsDrawTheSameNumbers) {
  const Tensor<float> f = Generator(13).normal<float>({10});
  const Tensor<double> d = Generator(13).normal<double>({10});
  for (std::size_t i = 0; i < 10; ++i) EXPECT_EQ(f.data()[i], static_cast<float>(d.data()[i]));
}

TEST(DefaultGenerator, FillsTensors) {
  manual_seed(5);
  const Tensor<double> u = Tensor<double>::rand({2, 3}), n = Tensor<double>::randn({4});
  Generator generator(5);
  for (std::size_t i = 0; i < u.size(); ++i) EXPECT_EQ(u.data()[i], generator.uniform());
  for (std::size_t i = 0; i < n.size(); ++i) EXPECT_EQ(n.data()[i], generator.normal());
}

// Of 2^24 draws with 53 bits about half of one would round to 1; here the draw itself is checked.
TEST(DefaultGenerator, RandIsCutNotRounded) {
  manual_seed(6);
  const Tensor<> x = Tensor<>::rand({1000});
  Generator generator(6);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double u = generator.uniform(), cut = static_cast<double>(x.data()[i]);
    ASSERT_LE(cut, u);
    ASSERT_LT(u - cut, 0x1p-24);
  }
}

TEST(DefaultGenerator, RestartsWithManualSeed) {
  manual_seed(42);
  const double first = default_generator().uniform();
  default_generator().normal();
  manual_seed(42);
  EXPECT_EQ(default_generator().uniform(), first);
  EXPECT_EQ(Generator(42).uniform(), first);
}

TEST(DefaultGenerator, ForgetsItsSpareNormalWithManualSeed) {
  manual_seed(42);
  const double first = default_generator().normal();
  manual_seed(42);
  EXPECT_EQ(default_generator().normal(), first);
}

TEST(DefaultGenerator, BelongsToItsThread) {
  manual_seed(42);
  double elsewhere = 0;
  std::thread([&] { elsewhere = default_generator().uniform(); }).join();
  EXPECT_EQ(elsewhere, Generator(0).uniform());
  EXPECT_EQ(default_generator().uniform(), Generator(42).uniform());
}

TEST(Generator, GoesOnFromItsState) {
  Generator a(3);
  for (int draws = 0; draws < 700; ++draws) {  // past the end of the engine's 312 numbers, with and without a spare
    Generator b = Generator::from_state(a.state());
    ASSERT_EQ(b, a);
    const double normal = a.normal();
    ASSERT_EQ(b.normal(), normal);
    ASSERT_EQ(b.state(), a.state());
  }
}

TEST(Generator, RefusesAStateThatIsNone) {
  // The engine's 312 numbers, the position in them, whether there is a spare, and the spare.
  const Labels state = Generator(3).state();
  ASSERT_EQ(state.size(), 315U);
  const auto is_refused = [&](std::size_t at, std::int64_t value) {
    Labels wrong = state;
    wrong(at) = value;
    EXPECT_EQ(error([&] { Generator::from_state(wrong); }), "Generator: 315 numbers do not hold its state");
  };
  is_refused(312, 313);
  is_refused(312, -1);
  is_refused(313, 2);
  is_refused(313, -1);
  EXPECT_NE(error([] { Generator::from_state(Labels()); }), "no error");
  EXPECT_NE(error([] { Generator::from_state(full_array<std::int64_t>({314}, 0)); }), "no error");
  EXPECT_NE(error([] { Generator::from_state(full_array<std::int64_t>({315, 1}, 0)); }), "no error");
}

}  // namespace
}  // namespace xtgrad
