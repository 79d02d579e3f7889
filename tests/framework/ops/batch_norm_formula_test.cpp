// The op and its derivatives of both orders against the formula of the paper in __float128.
#include <functional>

#include "../exact.hpp"
#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using exact::absolute;
using exact::Quad;
using exact::Quads;
using test::variable;
using Double = Tensor<double>;

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

}  // namespace
}  // namespace xtgrad
