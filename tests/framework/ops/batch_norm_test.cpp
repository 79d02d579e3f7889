// The op against the formula of the paper in __float128; what the layer makes of it is tested in layers/.
#include "xtgrad/ops/batch_norm.hpp"

#include <functional>
#include <limits>

#if __has_include(<xtensor/views/xview.hpp>)
#include <xtensor/views/xview.hpp>
#else
#include <xtensor/xview.hpp>
#endif

#include "../exact.hpp"
#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using exact::absolute;
using exact::Quad;
using exact::Quads;
using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;

// --- Against __float128

/// One channel, to be varied.
struct Channel {
  Quads x, dy;
  Quad gamma, beta, eps;

  exact::Channel results() const {
    const exact::Batch batch(x);
    return {x, dy, gamma, beta, eps, batch.mean.exact, batch.biased, true};
  }
  Quad inv_std() const { return 1 / test::root(exact::Batch(x).biased + eps); }
};

/// Channels as tensors (m, C).
struct Input {
  std::size_t m, C;
  double eps;
  Double x, dy, gamma, beta;

  Input(std::size_t rows, std::size_t channels, double epsilon, double mean, double std)
      : m(rows), C(channels), eps(epsilon) {
    Generator generator(m * 100 + C);
    x = variable(generator.normal<double>({m, C}, mean, std));
    dy = generator.normal<double>({m, C});
    gamma = variable(generator.uniform<double>({C}, 0.5, 2));
    beta = variable(generator.normal<double>({C}));
  }
  Channel channel(std::size_t c) const {
    Channel result{{}, {}, Quad(gamma.data()[c]), Quad(beta.data()[c]), Quad(eps)};
    for (std::size_t n = 0; n < m; ++n) {
      result.x.push_back(Quad(x.data()[n * C + c]));
      result.dy.push_back(Quad(dy.data()[n * C + c]));
    }
    return result;
  }
};

void expect_near(double got, Quad want, Quad scale, const std::string& what) {
  EXPECT_LE(static_cast<double>(absolute(static_cast<Quad>(got) - want)), 1e-12 * static_cast<double>(scale))
      << what << ": " << got << ", expected " << static_cast<double>(want);
}

/// sum of w * f over the gradients of <dy, y>: what a second derivative is taken of.
struct Weights {
  Quads dx;
  Quad dgamma, dbeta;

  Quad operator()(const Channel& c) const {
    const exact::Channel of = c.results();
    Quad sum = dgamma * of.dgamma.exact + dbeta * of.dbeta.exact;
    for (std::size_t n = 0; n < dx.size(); ++n) sum += dx[n] * of.dx[n].exact;
    return sum;
  }
};

/// Central differences in __float128: at this step both errors are below 1e-15 of the derivative.
Quad difference(const Weights& f, Channel c, const std::function<Quad&(Channel&)>& at) {
  const Quad h = Quad(1e-11), middle = at(c);
  at(c) = middle + h;
  const Quad above = f(c);
  at(c) = middle - h;
  return (above - f(c)) / (2 * h);
}

TEST(BatchNormFormula, HoldsToTheLastDigitsAtEveryEps) {
  for (const std::size_t m : {2U, 3U, 8U, 33U})
    for (const double eps : {1e-5, 0.1, 1e-12})
      for (const double mean : {0.0, 1e3}) {
        const Input in(m, 9, eps, mean, 1);
        const Double y = batch_norm(in.x, in.gamma, in.beta, eps).y;
        const auto grads = grad(y, {in.x, in.gamma, in.beta}, {.seed = in.dy});
        for (std::size_t c = 0; c < in.C; ++c) {
          const Channel channel = in.channel(c);
          const exact::Channel want = channel.results();
          const Quad steep = channel.gamma * channel.inv_std() * 4;
          for (std::size_t n = 0; n < m; ++n) {
            expect_near(y.data()[n * in.C + c], want.y[n].exact, 10, "y");
            expect_near(grads[0].data()[n * in.C + c], want.dx[n].exact, steep, "dx");
          }
          expect_near(grads[1].data()[c], want.dgamma.exact, m, "dgamma");
          expect_near(grads[2].data()[c], want.dbeta.exact, m, "dbeta");
        }
      }
}

TEST(BatchNormFormula, HoldsAtSecondOrderForTwoValuesAndASmallEps) {
  // Where finite differences in double say nothing: m = 2 with eps = 1e-5, and larger m beside it.
  for (const std::size_t m : {2U, 3U, 9U}) {
    Input in(m, 5, 1e-5, 0.3, 1);
    in.dy.requires_grad(true);
    const Double y = batch_norm(in.x, in.gamma, in.beta, in.eps).y;
    const auto first = grad(y, {in.x, in.gamma, in.beta}, {.seed = in.dy, .create_graph = true});
    Generator generator(m);
    const Double wx = generator.normal<double>({m, in.C}), wg = generator.normal<double>({in.C}),
                 wb = generator.normal<double>({in.C});
    const Double projected = sum(first[0] * wx) + sum(first[1] * wg) + sum(first[2] * wb);
    const auto second = grad(projected, {in.x, in.gamma, in.dy});
    for (std::size_t c = 0; c < in.C; ++c) {
      const Channel channel = in.channel(c);
      Weights f{{}, Quad(wg.data()[c]), Quad(wb.data()[c])};
      for (std::size_t n = 0; n < m; ++n) f.dx.push_back(Quad(wx.data()[n * in.C + c]));
      const Quad s = channel.inv_std();
      const Quad scale = 10 * m * (1 + s * s);
      for (std::size_t n = 0; n < m; ++n) {
        const std::size_t i = n * in.C + c;
        const auto x = [n](Channel& ch) -> Quad& { return ch.x[n]; };
        const auto dy = [n](Channel& ch) -> Quad& { return ch.dy[n]; };
        expect_near(second[0].data()[i], difference(f, channel, x), scale, "d/dx");
        expect_near(second[2].data()[i], difference(f, channel, dy), scale, "d/d(dy)");
      }
      const auto gamma = [](Channel& ch) -> Quad& { return ch.gamma; };
      expect_near(second[1].data()[c], difference(f, channel, gamma), scale, "d/dgamma");
    }
  }
}

TEST(BatchNormFormula, GradientsOfTheTwoPathsAgree) {
  // The fused backward and, with create_graph, the reference.
  for (const Shape& shape : {Shape{2, 3}, Shape{33, 5}, Shape{3, 4, 2}, Shape{1, 2, 7}}) {
    Generator generator(shape.size());
    const Double x = variable(generator.normal<double>(shape, 2, 1)),
                 gamma = variable(generator.normal<double>({shape[1]}));
    const Double beta = variable(generator.normal<double>({shape[1]})), dy = generator.normal<double>(shape);
    const auto gradients = [&](bool graph) {
      const Double y = batch_norm(x, gamma, beta, 1e-5).y;
      return grad(y, {x, gamma, beta}, {.seed = dy, .create_graph = graph});
    };
    const auto fused = gradients(false), plain = gradients(true);
    for (std::size_t i = 0; i < 3; ++i)
      for (std::size_t k = 0; k < fused[i].size(); ++k)
        EXPECT_NEAR(fused[i].data()[k], plain[i].data()[k], 1e-9) << to_string(shape) << ", input " << i;
  }
}

// --- The closed form of the second order against the definition differentiated twice

/// All second derivatives of <dy, y>: of the projected first ones, with respect to every input and dy.
std::vector<Double> second_derivatives(const std::function<Double(const std::vector<Double>&)>& f,
                                       std::vector<Double> in, const Double& dy) {
  Generator generator(7);
  const std::vector<Double> inputs = in;
  const auto first = grad(f(inputs), inputs, {.seed = dy, .create_graph = true});
  Double projected = 0;
  for (const Double& g : first) projected = projected + sum(g * generator.normal<double>(g.shape()));
  in.push_back(dy);
  return grad(projected, in, {.create_graph = true});
}

TEST(BatchNormSecondOrder, IsThatOfTheDefinitionInEveryMode) {
  for (const Shape& shape : {Shape{2, 3}, Shape{3, 9}, Shape{60, 5}, Shape{3, 4, 2}, Shape{1, 2, 7}, Shape{40, 9, 5}})
    for (const bool running : {false, true})
      for (const bool affine : {false, true})
        for (const double mean : {0.0, 1e3}) {
          Generator generator(shape.size() + shape[0]);
          const double eps = shape[0] == 2 ? 0.1 : 1e-5;
          const Shape channels{shape[1]};
          const Array<double> rm = full_array<double>(channels, mean);
          const Array<double> rv = generator.uniform<double>(channels, 0.5, 2).value();
          std::vector<Double> in{variable(generator.normal<double>(shape, mean, 1.5))};
          if (affine) {
            in.push_back(variable(generator.normal<double>(channels)));
            in.push_back(variable(generator.normal<double>(channels)));
          }
          const Double dy = variable(generator.normal<double>(shape));
          const auto second = [&](bool plain) {
            return second_derivatives(
                [&](const std::vector<Double>& i) {
                  const Double gamma = affine ? i[1] : Double(), beta = affine ? i[2] : Double();
                  if (running)
                    return plain ? reference::batch_norm(i[0], gamma, beta, eps, rm, rv)
                                 : batch_norm(i[0], gamma, beta, eps, rm, rv);
                  return plain ? reference::batch_norm(i[0], gamma, beta, eps) : batch_norm(i[0], gamma, beta, eps).y;
                },
                in, dy);
          };
          const auto closed = second(false), expected = second(true);
          ASSERT_EQ(closed.size(), expected.size());
          for (std::size_t i = 0; i < closed.size(); ++i) {
            double largest = 1;
            for (const double v : values(expected[i])) largest = std::max(largest, std::abs(v));
            for (std::size_t k = 0; k < closed[i].size(); ++k)
              ASSERT_NEAR(closed[i].data()[k], expected[i].data()[k], 1e-12 * largest)
                  << to_string(shape) << (running ? ", running" : ", batch") << (affine ? ", affine" : "") << ", input "
                  << i;
          }
        }
}

TEST(BatchNormSecondOrder, CanBeDifferentiatedAgain) {
  Generator generator(4);
  const Double x = variable(generator.normal<double>({5, 3})), gamma = variable(generator.normal<double>({3}));
  const Double dy = variable(generator.normal<double>({5, 3}));
  const auto third = [&](bool plain) {
    const auto second = second_derivatives(
        [&](const std::vector<Double>& in) {
          return plain ? reference::batch_norm(in[0], in[1], Double(), 0.1) : batch_norm(in[0], in[1], Double(), 0.1).y;
        },
        {x, gamma}, dy);
    Generator draws(9);
    Double projected = 0;
    for (const Double& g : second) projected = projected + sum(g * draws.normal<double>(g.shape()));
    return grad(projected, {x, gamma, dy});
  };
  const auto closed = third(false), expected = third(true);
  for (std::size_t i = 0; i < closed.size(); ++i)
    for (std::size_t k = 0; k < closed[i].size(); ++k)
      EXPECT_NEAR(closed[i].data()[k], expected[i].data()[k], 1e-11) << "input " << i;
}

TEST(BatchNormSecondOrder, OfNothingIsNothing) {
  const Double x = variable(Double::zeros({0, 3})), gamma = variable(Double::ones({3}));
  const auto second =
      second_derivatives([](const std::vector<Double>& in) { return batch_norm(in[0], in[1], Double(), 1e-5).y; },
                         {x, gamma}, variable(Double::zeros({0, 3})));
  EXPECT_EQ(values(second[1]), (std::vector<double>{0, 0, 0}));
}

// --- Shapes and statistics

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
      for (std::size_t l = 0; l < 5; ++l) EXPECT_EQ(a.value()(n, c, l), b.value()(n * 5 + l, c));
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
