// The op's shapes, statistics and modes; what the layer makes of it is tested in layers/.
#include "xtgrad/ops/batch_norm.hpp"

#if __has_include(<xtensor/views/xview.hpp>)
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xview.hpp>
#endif

#include "../numbers.hpp"
#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;

TEST(BatchNorm, ReturnsTheMomentsOfTheBatch) {
  const auto result = batch_norm<double>(Double{{1, 10}, {3, 10}, {8, 40}}, {}, {}, 1e-5);
  EXPECT_EQ(result.batch.count, 3U);
  EXPECT_EQ(values(result.batch.mean), (std::vector<double>{4, 20}));
  EXPECT_EQ(values(result.batch.m2), (std::vector<double>{26, 600}));
}

TEST(BatchNorm, ThreeAxesAreTheRowsOfEveryPosition) {
  // (N, C, L) = (2, 2, 3) has the moments of the (6, 2) with the same values per channel.
  const Double x{{{1, 2, 3}, {10, 20, 30}}, {{4, 5, 9}, {40, 50, 60}}};
  const Double rows{{1, 10}, {2, 20}, {3, 30}, {4, 40}, {5, 50}, {9, 60}};
  const auto a = batch_norm<double>(x, {}, {}, 1e-5), b = batch_norm<double>(rows, {}, {}, 1e-5);
  EXPECT_EQ(a.batch.count, 6U);
  EXPECT_EQ(values(a.batch.mean), values(b.batch.mean));
  EXPECT_EQ(values(a.batch.m2), values(b.batch.m2));
  ASSERT_EQ(a.y.shape(), x.shape());
  for (std::size_t n = 0; n < 2; ++n)
    for (std::size_t c = 0; c < 2; ++c)
      for (std::size_t l = 0; l < 3; ++l) EXPECT_EQ(a.y.value()(n, c, l), b.y.value()(n * 3 + l, c));
}

TEST(BatchNorm, GradientsOfThreeAxesAreThoseOfTheRows) {
  Generator generator(4);
  const Double x = variable(generator.normal<double>({3, 4, 5})), dy = generator.normal<double>({3, 4, 5});
  Double rows = Double::zeros({15, 4}), drows = Double::zeros({15, 4});
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t c = 0; c < 4; ++c)
      for (std::size_t l = 0; l < 5; ++l) {
        rows.mutable_value()(n * 5 + l, c) = x.value()(n, c, l);
        drows.mutable_value()(n * 5 + l, c) = dy.value()(n, c, l);
      }
  rows.requires_grad(true);
  const Double a = grad(batch_norm<double>(x, {}, {}, 0.1).y, {x}, {.seed = dy})[0];
  const Double b = grad(batch_norm<double>(rows, {}, {}, 0.1).y, {rows}, {.seed = drows})[0];
  for (std::size_t n = 0; n < 3; ++n)
    for (std::size_t c = 0; c < 4; ++c)
      for (std::size_t l = 0; l < 5; ++l) EXPECT_NEAR(a.value()(n, c, l), b.value()(n * 5 + l, c), 1e-14);
}

TEST(BatchNorm, MissingGammaAndBetaAreOneAndZero) {
  Generator generator(5);
  const Double x = generator.normal<double>({7, 3});
  const Double ones = Double::ones({3}), zeros = Double::zeros({3});
  const auto expected = values(batch_norm<double>(x, ones, zeros, 1e-5).y);
  EXPECT_EQ(values(batch_norm<double>(x, {}, {}, 1e-5).y), expected);
  EXPECT_EQ(values(batch_norm<double>(x, ones, {}, 1e-5).y), expected);
  EXPECT_EQ(values(batch_norm<double>(x, {}, zeros, 1e-5).y), expected);
}

TEST(BatchNorm, AChannelWithoutVarianceIsBetaExactly) {
  const Double gamma = variable(Double{2, 3}), beta = variable(Double{-7, 11});
  for (const double eps : {0.0, 1e-5})
    for (const double value : {0.0, 0.1, 1e7, -1e300}) {
      const Double x = variable(Double::full({5, 2}, value));
      const Double y = batch_norm(x, gamma, beta, eps).y;
      for (std::size_t n = 0; n < 5; ++n) {
        EXPECT_EQ(y.value()(n, 0), -7);
        EXPECT_EQ(y.value()(n, 1), 11);
      }
      for (const Double& g : grad(y, {x, gamma, beta}, {.seed = Double::ones({5, 2})}))
        for (const double d : values(g)) EXPECT_TRUE(std::isfinite(d));
    }
}

TEST(BatchNorm, SecondOrderOfAChannelWithoutVarianceIsFinite) {
  const Double x = variable(Double::full({3, 2}, 4)), dy = Double{{1, 2}, {4, -5}, {0, 1}};
  for (const double eps : {0.0, 1e-5}) {
    const Double g = grad(batch_norm<double>(x, {}, {}, eps).y, {x}, {.seed = dy, .create_graph = true})[0];
    for (const double d : values(grad(sum(g * g), {x})[0])) EXPECT_TRUE(std::isfinite(d)) << eps;
  }
}

TEST(BatchNorm, AVarianceBeyondDoubleIsNotTakenForNone) {
  const Double x = variable(Double{{1e200, 1e150}, {-1e200, -1e150}, {1e200, 1e150}, {-1e200, -1e150}});
  const auto result = batch_norm<double>(x, {}, Double{5, 0}, 1e-5);
  const Double dx = grad(result.y, {x}, {.seed = Double{{1, 1}, {0, 0}, {0, 0}, {0, 0}}})[0];
  for (std::size_t n = 0; n < 4; ++n) {
    EXPECT_TRUE(std::isnan(result.y.value()(n, 0)));
    EXPECT_TRUE(std::isnan(dx.value()(n, 0)));
    EXPECT_EQ(result.y.value()(n, 1), n % 2 == 0 ? 1 : -1);
    EXPECT_TRUE(std::isfinite(dx.value()(n, 1)));
  }
}

TEST(BatchNorm, AnOutlierWhoseSquareIsBeyondDoubleMayComeFirst) {
  constexpr std::size_t m = 1000;  // xhat of one value that is not like the others: sqrt(m - 1), and -1 / sqrt(m - 1)
  for (const std::size_t at : {0U, 1U}) {
    Array<double> x = full_array<double>({m, 1}, 0);
    x(at, 0) = 1e153;
    const Double y = batch_norm<double>(Double(std::move(x)), {}, {}, 1e-5).y;
    for (std::size_t n = 0; n < m; ++n)
      EXPECT_NEAR(y.value()(n, 0), n == at ? std::sqrt(999) : -1 / std::sqrt(999), 1e-13) << n << ", " << at;
  }
}

TEST(BatchNorm, WithRunningStatisticsIsAnAffineMap) {
  const Double x = variable(Double{{1, 2}, {3, 4}}), gamma = variable(Double{2, 3}), beta = variable(Double{5, 7});
  Array<double> mu = empty_array<double>({2}), var = empty_array<double>({2});
  mu(0) = 1, mu(1) = 0, var(0) = 3, var(1) = 0;
  const Double y = batch_norm(x, gamma, beta, 1, mu, var);  // inv_std 1/2 and 1
  EXPECT_EQ(values(y), (std::vector<double>{5, 13, 7, 19}));
  const auto grads = grad(y, {x, gamma, beta}, {.seed = Double{{1, 10}, {100, 1000}}});
  EXPECT_EQ(values(grads[0]), (std::vector<double>{1, 30, 100, 3000}));
  EXPECT_EQ(values(grads[1]), (std::vector<double>{100, 4020}));
  EXPECT_EQ(values(grads[2]), (std::vector<double>{101, 1010}));
}

// Three values do not fill a register; what fills it up must not count.
TEST(BatchNorm, AnInfiniteRunningMeanGivesAnInfiniteGradientOfGamma) {
  const double inf = std::numeric_limits<double>::infinity();
  const Double gamma = variable(Double{1});
  for (const Shape& shape : {Shape{2, 1, 3}, Shape{6, 1}}) {
    const Double y =
        batch_norm<double>(Double::ones(shape), gamma, {}, 0, full_array<double>({1}, inf), full_array<double>({1}, 1));
    EXPECT_EQ(grad(y, {gamma}, {.seed = Double::ones(shape)})[0].item(), -inf);
  }
}

TEST(BatchNorm, AnInfiniteValueGivesAnInfiniteMean) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(channel_moments(Double{{1}, {inf}}).mean(0), inf);
  EXPECT_EQ(channel_moments(Tensor<float>{{1}, {std::numeric_limits<float>::infinity()}}).mean(0), inf);
}

TEST(BatchNorm, WithRunningStatisticsTakesOneValue) {
  const Array<double> mu = full_array<double>({1}, 1), var = full_array<double>({1}, 4);
  EXPECT_EQ(batch_norm<double>(Double::full({1, 1}, 5), {}, {}, 0, mu, var).item(), 2);
}

TEST(BatchNorm, OfNothingIsNothing) {
  const Double gamma = variable(Double{2, 3}), beta = variable(Double{5, 7});
  const Double x = variable(Double::zeros({0, 2}));
  const auto result = batch_norm(x, gamma, beta, 1e-5);
  EXPECT_EQ(result.y.shape(), (Shape{0, 2}));
  EXPECT_EQ(result.batch.count, 0U);
  const auto grads = grad(result.y, {x, gamma, beta}, {.seed = Double::zeros({0, 2})});
  EXPECT_EQ(values(grads[1]), (std::vector<double>{0, 0}));
  EXPECT_EQ(values(grads[2]), (std::vector<double>{0, 0}));
}

TEST(ChannelMoments, AreThoseOfTheBatch) {
  const Moments moments = channel_moments(Tensor<float>{{1, 10}, {3, 30}});
  EXPECT_EQ(moments.count, 2U);
  EXPECT_EQ(values(moments.mean), (std::vector<double>{2, 20}));
  EXPECT_EQ(values(moments.m2), (std::vector<double>{2, 200}));
  EXPECT_EQ(channel_moments(Tensor<float>::full({1, 3}, 7)).count, 1U);
  EXPECT_EQ(values(channel_moments(Tensor<float>::zeros({0, 2})).mean), (std::vector<double>{0, 0}));
}

// The second shape is summed in parts, the last of them the smallest.
TEST(ChannelMoments, KeepTheirDigitsWhateverTheMeanAndTheFirstValue) {
  const auto expect_exact = []<class T>(T first, std::size_t m, std::size_t C, double mean, double std) {
    std::vector<T> x = test::normal<T>(mean, std, m * C);
    if (first != 0) x[0] = first;
    Array<T> rows = empty_array<T>({m, C});
    std::copy(x.begin(), x.end(), rows.data());
    const Moments moments = channel_moments(Tensor<T>(std::move(rows)));
    for (std::size_t c = 0; c < C; ++c) {
      test::Quad mu = 0, squares = 0;
      for (std::size_t n = 0; n < m; ++n) mu += static_cast<test::Quad>(x[n * C + c]);
      mu /= static_cast<test::Quad>(m);
      for (std::size_t n = 0; n < m; ++n) {
        const test::Quad d = static_cast<test::Quad>(x[n * C + c]) - mu;
        squares += d * d;
      }
      EXPECT_NEAR(moments.mean(c), static_cast<double>(mu), 1e-15 * mean + 1e-14 * std);
      EXPECT_NEAR(moments.m2(c) / static_cast<double>(squares), 1, 1e-13) << m << ", " << C << ", channel " << c;
    }
  };
  for (const auto& [m, C] : {std::pair(33U, 7U), std::pair(3001U, 101U)}) {
    expect_exact(double(), m, C, 1e6, 1e-2);
    expect_exact(double(), m, C, 0, 1);
    expect_exact(float(), m, C, 1e6, 1);
    expect_exact(float(), m, C, 0, 1);
  }
  // What is summed is taken from the first value. If that is far from the others, terms of m times the result cancel.
  expect_exact(1e3, 30000, 3, 0, 1);
}

TEST(MomentsMerge, OfPartsIsThatOfTheWhole) {
  for (const double mean : {0.0, 1e6}) {
    const Array<double> x = Generator(3).normal<double>({9, 4}, mean, 1).value();
    Moments merged;
    std::size_t first = 0;
    for (const std::size_t count : {5U, 0U, 3U, 1U}) {
      merged.merge(channel_moments(Tensor<double>(xt::view(x, xt::range(first, first + count)))));
      first += count;
    }
    const Moments whole = channel_moments(Tensor<double>(Array<double>(x)));
    EXPECT_EQ(merged.count, 9u);
    for (std::size_t c = 0; c < 4; ++c) {
      EXPECT_NEAR(merged.mean(c), whole.mean(c), 1e-15 * (1 + mean));
      EXPECT_NEAR(merged.m2(c), whole.m2(c), 1e-12 * whole.m2(c) * (1 + mean / 1e3));
      EXPECT_EQ(whole.unbiased(c), whole.m2(c) / 8);
    }
  }
}

TEST(MomentsMerge, NeedsTheSameChannels) {
  Moments a = channel_moments(Double::ones({3, 2}));
  expect_parts(error([&] { a.merge(channel_moments(Double::ones({3, 4}))); }), {"Moments", "2", "4"});
}

TEST(BatchNorm, ThrowsNamingWhatDoesNotFit) {
  const Double x = Double::zeros({4, 3});
  expect_parts(error([&] { batch_norm<double>(x, Double{1, 2}, {}, 1e-5); }), {"gamma", "(2,)", "(4, 3)", "(3,)"});
  expect_parts(error([&] { batch_norm<double>(x, {}, Double{{1, 2, 3}}, 1e-5); }), {"beta", "(1, 3)"});
  expect_parts(error([&] { batch_norm<double>(Double{1, 2}, {}, {}, 1e-5); }), {"(2,)", "(N, C)"});
  expect_parts(error([&] {
                 batch_norm<double>(Double::zeros({1, 3}), {}, {}, 1e-5);
               }),
               {"more than one value", "(1, 3)"});
  EXPECT_THROW(batch_norm<double>(Double::zeros({1, 3, 1}), {}, {}, 1e-5), std::invalid_argument);
  EXPECT_THROW(batch_norm<double>(Double::zeros({2, 3, 1, 1}), {}, {}, 1e-5), std::invalid_argument);
  const Array<double> two = full_array<double>({2}, 1), three = full_array<double>({3}, 1);
  expect_parts(error([&] { batch_norm<double>(x, {}, {}, 1e-5, two, three); }), {"running", "(2,)", "(4, 3)"});
  EXPECT_THROW(batch_norm<double>(x, {}, {}, 1e-5, three, two), std::invalid_argument);
}

TEST(BatchNorm, TakesTransposedStridedReversedAndBroadcastExpressions) {
  Generator generator(6);
  const Double wide = generator.normal<double>({3, 8}), tall = generator.normal<double>({16, 6});
  const auto expect_as_if_copied = [](const Double& x, auto element) {
    Double copy = Double::zeros({8, 3});
    for (std::size_t n = 0; n < 8; ++n)
      for (std::size_t c = 0; c < 3; ++c) copy.mutable_value()(n, c) = element(n, c);
    const Double dy = Generator(7).normal<double>({8, 3});
    std::vector<std::vector<double>> results;
    for (const Double& input : {variable(x), variable(copy)}) {
      const Double y = batch_norm<double>(input, {}, {}, 1e-5).y;
      results.push_back(values(y));
      results.push_back(values(grad(y, {input}, {.seed = dy})[0]));
    }
    EXPECT_EQ(results[0], results[2]);
    EXPECT_EQ(results[1], results[3]);
  };
  expect_as_if_copied(xt::transpose(wide.value()), [&](auto n, auto c) { return wide.value()(c, n); });
  expect_as_if_copied(xt::view(tall.value(), xt::range(0, 16, 2), xt::range(0, 6, 2)),
                      [&](auto n, auto c) { return tall.value()(2 * n, 2 * c); });
  expect_as_if_copied(xt::view(tall.value(), xt::range(7, xt::placeholders::_, -1), xt::range(0, 3)),
                      [&](auto n, auto c) { return tall.value()(7 - n, c); });
  const Array<double> column = Double(xt::view(tall.value(), xt::range(0, 8), xt::range(0, 1))).value();
  expect_as_if_copied(xt::broadcast(column, Shape{8, 3}), [&](auto n, auto) { return column(n, 0); });
}

}  // namespace
}  // namespace xtgrad
