#include "xtgrad/layers/layer_norm.hpp"

#include "oracle.hpp"
#include "xtgrad/layers/batch_norm1d.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::Real;
using oracle::reals;
using oracle::tensor;
using oracle::trained;

std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::invalid_argument& e) {
    return e.what();
  }
  return "no error";
}

TEST(LayerNorm, NormalisesEachRowWithItsBiasedVariance) {
  Generator generator(1);
  const std::size_t N = 3, D = 5;
  const double eps = 0.25;
  LayerNorm<double> layer(D, {.eps = eps});
  oracle::assign(layer.gamma(), generator.normal<double>({D}));
  oracle::assign(layer.beta(), generator.normal<double>({D}));
  const Tensor<double> x = generator.normal<double>({N, D}, 3, 2), y = layer(x);
  for (std::size_t n = 0; n < N; ++n) {
    Real mean = 0, var = 0;
    for (std::size_t d = 0; d < D; ++d) mean += static_cast<Real>(x.value()(n, d)) / D;
    for (std::size_t d = 0; d < D; ++d) var += std::pow(static_cast<Real>(x.value()(n, d)) - mean, 2.0L) / D;
    for (std::size_t d = 0; d < D; ++d) {
      const Real xhat = (static_cast<Real>(x.value()(n, d)) - mean) / std::sqrt(var + static_cast<Real>(eps));
      const Real want = static_cast<Real>(layer.gamma().value()(d)) * xhat + static_cast<Real>(layer.beta().value()(d));
      EXPECT_NEAR(y.value()(n, d), static_cast<double>(want), 1e-14);
    }
  }
}

TEST(LayerNorm, IsBatchNormOfTheTranspose) {
  Generator generator(2);
  const Tensor<double> x = trained(generator.normal<double>({4, 6})), dy = generator.normal<double>({4, 6});
  LayerNorm<double> layer(6);
  layer(x).backward(dy);
  const Tensor<double> xt = trained(Tensor<double>(Array<double>(transpose(x).value())));
  BatchNorm1d<double> bn(4, {.affine = false});
  bn(xt).backward(transpose(dy));
  const Tensor<double> expected = transpose(xt.grad());
  EXPECT_TRUE(close(x.grad(), {expected.data(), expected.data() + expected.size()}, 1e-13));
}

TEST(LayerNorm, DoesTheSameInBothModesAndForEachRowAlone) {
  Generator generator(3);
  LayerNorm layer(7);
  const Tensor<> x = generator.normal<float>({5, 7}), y = layer(x);
  layer.eval();
  EXPECT_EQ(reals(layer(x)), reals(y));
  EXPECT_EQ(reals(layer(slice(x, 0, 2, 3))), reals(slice(y, 0, 2, 3)));
}

TEST(LayerNorm, TakesMoreAxes) {
  LayerNorm layer(4);
  EXPECT_EQ(layer(Tensor<>::ones({2, 3, 4})).shape(), (Shape{2, 3, 4}));
  EXPECT_EQ(layer(Tensor<>::ones({4})).shape(), (Shape{4}));
}

TEST(LayerNorm, HasPyTorchsParameters) {
  LayerNorm affine(4), plain(4, {.affine = false});
  ASSERT_EQ(affine.named_parameters().size(), 2u);
  EXPECT_EQ(affine.named_parameters()[0].first, "weight");
  EXPECT_EQ(affine.named_parameters()[1].first, "bias");
  EXPECT_TRUE(plain.parameters().empty());
  EXPECT_EQ(affine.name(), "LayerNorm(4)");
  EXPECT_EQ(plain.name(), "LayerNorm(4, not affine)");
}

TEST(LayerNorm, ThrowsForWhatDoesNotFit) {
  EXPECT_EQ(error_of([] { LayerNorm<>(1); }), "LayerNorm: rows of 1, expected 2 or more values");
  EXPECT_EQ(error_of([] { LayerNorm<>(4, {.eps = -1}); }), "LayerNorm: eps is -1, expected a number from 0 up");
  LayerNorm layer(4);
  EXPECT_EQ(error_of([&] { layer(Tensor<>::ones({2, 3})); }), "LayerNorm: input is (2, 3), expected (..., 4)");
}

}  // namespace
}  // namespace xtgrad
