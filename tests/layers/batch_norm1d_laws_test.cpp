// The laws of BatchNorm1d: backward is a projection, dx = (gamma/sigma)(I - 11'/m - xhat xhat'/m) dy.
#include "batch_norm1d.hpp"
#include "xtgrad/layers/linear.hpp"
#include "xtgrad/layers/sequential.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/optim/optimizers.hpp"

namespace xtgrad {
namespace {

using oracle::Axes3;
using oracle::close;
using oracle::Real;
using oracle::Reals;
using oracle::reals;
using oracle::tensor;
using oracle::trained;

// One batch through a layer in double, channel by channel.
struct Law {
  static constexpr std::size_t kRows = 7, kChannels = 3;
  double eps;
  Tensor<double> x, dy, y;
  BatchNorm1d<double> bn;
  Reals gamma, xhat, var;

  explicit Law(double e, const Shape& shape = {kRows, kChannels}) : eps(e), bn(shape[1], {.eps = e}) {
    Generator g(21);
    oracle::assign(bn.gamma(), g.uniform<double>({shape[1]}, 0.5, 2));
    x = trained(g.normal<double>(shape, 4, 3));
    dy = g.normal<double>(shape);
    y = bn(x);
    y.backward(dy);
    const oracle::Moments moments = oracle::moments(reals(x), Axes3(shape));
    gamma = reals(bn.gamma());
    var = moments.biased;
    xhat = oracle::batch_norm(reals(x), Axes3(shape), moments.mean, var, gamma, Reals(shape[1], 0),
                              static_cast<Real>(e), reals(dy), true)
               .xhat;
  }
  // Sum over channel c of f(i).
  template <class F> double sum(std::size_t c, F f) const {
    Real total = 0;
    Axes3(x.shape()).each_of_channel(c, [&](std::size_t i) { total += f(i); });
    return static_cast<double>(total);
  }
  double dx_at(std::size_t i) const { return x.grad().data()[i]; }
  double dy_xhat(std::size_t c) const {
    return sum(c, [&](std::size_t i) { return static_cast<Real>(dy.data()[i]) * xhat[i]; });
  }
  // gamma * inv_std of channel c.
  double scale(std::size_t c) const {
    return static_cast<double>(gamma[c] / std::sqrt(var[c] + static_cast<Real>(eps)));
  }
};

TEST(BatchNorm1dLaw, TheInputGradientSumsToZeroInEveryChannel) {
  for (const Shape& shape : {Shape{7, 3}, Shape{3, 2, 4}})
    for (const double eps : {0.0, 1e-5, 1.0}) {
      const Law law(eps, shape);
      for (std::size_t c = 0; c < shape[1]; ++c)
        EXPECT_NEAR(law.sum(c, [&](std::size_t i) { return static_cast<Real>(law.dx_at(i)); }), 0, 1e-14);
    }
}

TEST(BatchNorm1dLaw, TheInputGradientSeesXhatOnlyThroughEps) {
  for (const double eps : {0.0, 1e-5, 1.0}) {
    const Law law(eps);
    for (std::size_t c = 0; c < Law::kChannels; ++c) {
      const double along = law.sum(c, [&](std::size_t i) { return static_cast<Real>(law.dx_at(i)) * law.xhat[i]; });
      const double predicted = law.scale(c) * law.dy_xhat(c) * eps / (static_cast<double>(law.var[c]) + eps);
      EXPECT_NEAR(along, predicted, 1e-14) << "eps " << eps;
      if (eps == 1) {
        EXPECT_GT(std::abs(predicted), 1e-3);  // there is something to see
      }
    }
  }
}

TEST(BatchNorm1dLaw, TheInputGradientHasTheNormOfTheProjection) {
  const Law law(0);
  for (std::size_t c = 0; c < Law::kChannels; ++c) {
    const auto squared = [](double v) { return v * v; };
    const double dx2 = law.sum(c, [&](std::size_t i) { return static_cast<Real>(squared(law.dx_at(i))); });
    const double dy2 = law.sum(c, [&](std::size_t i) { return static_cast<Real>(squared(law.dy.data()[i])); });
    const double dy1 = law.sum(c, [&](std::size_t i) { return static_cast<Real>(law.dy.data()[i]); });
    const double m = static_cast<double>(Law::kRows);
    const double predicted = squared(law.scale(c)) * (dy2 - squared(dy1) / m - squared(law.dy_xhat(c)) / m);
    EXPECT_NEAR(dx2 / predicted, 1, 1e-12);
  }
}

// The rows of dy/dx: one gradient for each element of y.
std::vector<Tensor<double>> jacobian(BatchNorm1d<double>& bn, const Tensor<double>& x) {
  std::vector<Tensor<double>> rows;
  for (std::size_t i = 0; i < x.size(); ++i) {
    Tensor<double> unit = Tensor<double>::zeros(x.shape());
    unit.mutable_value().storage()[i] = 1;
    rows.push_back(grad(bn(x), {x}, {.seed = unit})[0]);
  }
  return rows;
}

TEST(BatchNorm1dLaw, TheJacobianOfAChannelHasRankMMinusTwoAndOneSingularValue) {
  const std::size_t m = Law::kRows, C = Law::kChannels;
  Law law(0);
  const std::vector<Tensor<double>> J = jacobian(law.bn, law.x);
  for (std::size_t c = 0; c < C; ++c) {
    std::vector<double> squared(m * m, 0);  // J J' of the channel
    for (std::size_t i = 0; i < m; ++i)
      for (std::size_t j = 0; j < m; ++j)
        for (std::size_t k = 0; k < m; ++k)
          squared[i * m + j] += J[i * C + c].data()[k * C + c] * J[j * C + c].data()[k * C + c];
    const std::vector<double> values = oracle::eigenvalues(squared, m);
    EXPECT_NEAR(values[0], 0, 1e-14);
    EXPECT_NEAR(values[1], 0, 1e-14);
    for (std::size_t i = 2; i < m; ++i) EXPECT_NEAR(std::sqrt(values[i]) / law.scale(c), 1, 1e-13);
  }
}

TEST(BatchNorm1dLaw, ChannelsDoNotSeeEachOther) {
  const std::size_t C = Law::kChannels;
  Law law(1e-5);
  const std::vector<Tensor<double>> J = jacobian(law.bn, law.x);
  for (std::size_t i = 0; i < J.size(); ++i)
    for (std::size_t k = 0; k < J.size(); ++k)
      if (i % C != k % C) {
        EXPECT_EQ(J[i].data()[k], 0) << i << ' ' << k;
      }
}

// x (N, I) -> W x -> BatchNorm1d -> <v, y>
struct BeforeBatchNorm {
  Tensor<double> x, v;
  Linear<double> fc;
  BatchNorm1d<double> bn;

  explicit BeforeBatchNorm(double eps, bool bias = false)
      : x(Generator(31).normal<double>({6, 4}, 1, 2)),
        v(Generator(32).normal<double>({6, 3})),
        fc(4, 3, {.bias = bias}),
        bn(3, {.eps = eps}) {
    Generator g(33);
    oracle::assign(fc.weight(), g.normal<double>({3, 4}));
    oracle::assign(bn.gamma(), g.uniform<double>({3}, 0.5, 2));
  }
  Tensor<double> output() { return bn(fc(x)); }
};

double row_dot(const Tensor<double>& a, const Tensor<double>& b, std::size_t row) {
  double total = 0;
  const std::size_t I = a.shape()[1];
  for (std::size_t i = 0; i < I; ++i) total += a.data()[row * I + i] * b.data()[row * I + i];
  return total;
}

TEST(BatchNorm1dLaw, ABiasBeforeItHasNoGradient) {
  BeforeBatchNorm net(1e-5, true);
  net.output().backward(net.v);
  EXPECT_TRUE(close(net.fc.bias().grad(), {0, 0, 0}, 1e-14));
  EXPECT_GT(oracle::largest(reals(net.fc.weight().grad())), 1e-2L);
}

TEST(BatchNorm1dLaw, WeightsBeforeItAreOrthogonalToTheirGradientUpToEps) {
  for (const double eps : {0.0, 1e-5, 1.0}) {
    BeforeBatchNorm net(eps);
    net.output().backward(net.v);
    const Tensor<double> z = net.fc(net.x);
    const Axes3 axes(z.shape());
    const oracle::Moments moments = oracle::moments(reals(z), axes);
    const oracle::BatchNorm want =
        oracle::batch_norm(reals(z), axes, moments.mean, moments.biased, reals(net.bn.gamma()), Reals(3, 0),
                           static_cast<Real>(eps), reals(net.v), true);
    for (std::size_t c = 0; c < 3; ++c) {
      const Real var = moments.biased[c], e = static_cast<Real>(eps);
      const double predicted = static_cast<double>(reals(net.bn.gamma())[c] * want.dgamma[c] * e / (var + e));
      EXPECT_NEAR(row_dot(net.fc.weight(), net.fc.weight().grad(), c), predicted, 1e-13) << "eps " << eps;
      if (eps == 1) {
        EXPECT_GT(std::abs(predicted), 1e-3);
      }
    }
  }
}

TEST(BatchNorm1dLaw, AStepOfSgdLengthensTheWeightsBeforeItByTheStep) {
  BeforeBatchNorm net(0);
  const double lr = 0.5;
  SGD<double> sgd({net.fc.weight()}, {.lr = lr});
  double before[3], growth[3];
  net.output().backward(net.v);
  for (std::size_t c = 0; c < 3; ++c) {
    before[c] = row_dot(net.fc.weight(), net.fc.weight(), c);
    growth[c] = lr * lr * row_dot(net.fc.weight().grad(), net.fc.weight().grad(), c);
  }
  sgd.step();
  for (std::size_t c = 0; c < 3; ++c)
    EXPECT_NEAR(row_dot(net.fc.weight(), net.fc.weight(), c), before[c] + growth[c], 1e-13);
}

TEST(BatchNorm1dLaw, TheScaleOfTheWeightsBeforeItDoesNotMatter) {
  const double a = 3.7;
  BeforeBatchNorm net(0);
  const Tensor<double> y = net.output();
  y.backward(net.v);
  BeforeBatchNorm scaled(0);
  oracle::assign(scaled.fc.weight(), Tensor<double>(net.fc.weight().detach() * a));
  const Tensor<double> y_scaled = scaled.output();
  y_scaled.backward(scaled.v);
  EXPECT_TRUE(close(y_scaled, {y.data(), y.data() + y.size()}, 1e-13));
  const Tensor<double> expected = net.fc.weight().grad() / a;
  EXPECT_TRUE(close(scaled.fc.weight().grad(), {expected.data(), expected.data() + expected.size()}, 1e-13));
}

TEST(BatchNorm1dLaw, TwoValuesGetPlusAndMinusOneAndNoGradientAtEpsZero) {
  BatchNorm1d<double> bn(3, {.eps = 0, .affine = false});
  const oracle::Warnings quiet;
  const Tensor<double> x = trained(tensor<double>({2, 3}, {5, -3, 0.25, -1, 3, 0.125}));
  const Tensor<double> y = bn(x);
  y.backward(tensor<double>({2, 3}, {1, 2, -3, 0.5, 7, 11}));
  EXPECT_TRUE(close(y, {1, -1, 1, -1, 1, -1}, 1e-15));
  EXPECT_TRUE(close(x.grad(), {0, 0, 0, 0, 0, 0}, 1e-14));
}

TEST(BatchNorm1dLaw, OfTwoValuesEpsAloneLetsAGradientThrough) {
  // dx = +- gamma * inv_std * (dy1 - dy2) / 2 * eps / (var + eps), in quadruple precision.
  using Quad = __float128;
  const oracle::Warnings quiet;
  const double eps = 1e-5;
  BatchNorm1d<double> bn(1, {.eps = eps, .affine = false});
  for (const double distance : {1e-3, 0.1, 1.0, 100.0}) {
    const Tensor<double> x = trained(tensor<double>({2, 1}, {distance, -distance}));
    bn(x).backward(tensor<double>({2, 1}, {2, -1}));
    const Quad var = static_cast<Quad>(distance) * static_cast<Quad>(distance), total = var + static_cast<Quad>(eps);
    const double inv_std = 1 / std::sqrt(static_cast<double>(total));
    const double predicted = static_cast<double>(static_cast<Quad>(1.5) * static_cast<Quad>(eps) / total);
    EXPECT_NEAR(x.grad().data()[0] / inv_std, predicted, 1e-15) << distance;
    EXPECT_NEAR(x.grad().data()[1] / inv_std, -predicted, 1e-15) << distance;
  }
}

TEST(BatchNorm1dLaw, AChainShrinksInEvalByTheBiasOfTheVariance) {
  // Each layer divides by the unbiased deviation where training divided by the biased one.
  const int layers = 10;
  const std::size_t m = 4;
  Sequential<double> net{BatchNorm1d<double>(2, {.momentum = 1, .affine = false})};
  for (int i = 1; i < layers; ++i) net.add(BatchNorm1d<double>(2, {.momentum = 1, .affine = false}));
  const Tensor<double> x = Generator(41).normal<double>({m, 2});
  const Tensor<double> in_training = net(x);
  net.eval();
  const Tensor<double> ratio = net(x) / in_training;
  const double predicted = std::pow(3.0 / 4, layers / 2.0);
  for (std::size_t i = 0; i < ratio.size(); ++i) EXPECT_NEAR(ratio.data()[i] / predicted, 1, 0.01);
}

TEST(BatchNorm1dLaw, ThreeAxesAreTheSameAsRowsAndPositionsTakenTogether) {
  const std::size_t N = 3, C = 2, L = 4;
  BatchNorm1d<double> deep(C), flat(C);
  const Tensor<double> x = Generator(51).normal<double>({N, C, L}, 3, 2);
  const Tensor<double> rows = reshape(transpose(x), {N * L, C});
  const Tensor<double> y = transpose(reshape(flat(rows), {N, L, C}));
  const auto expect_close = [](const Tensor<double>& a, const Tensor<double>& b) {  // sums have another order
    ASSERT_EQ(a.shape(), b.shape());
    EXPECT_TRUE(oracle::close(a, {b.data(), b.data() + b.size()}, 1e-14));
  };
  expect_close(deep(x), y);
  expect_close(deep.running_mean(), flat.running_mean());
  expect_close(deep.running_var(), flat.running_var());
}

}  // namespace
}  // namespace xtgrad
