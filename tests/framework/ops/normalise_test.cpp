#include "xtgrad/ops/normalise.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {
namespace {

TEST(Softmax, OfLargeLogitsDoesNotOverflow) {
  const Tensor<double> p = softmax(Tensor<double>{{1000, 1000 + std::log(3.0)}});
  EXPECT_NEAR(p.value()(0, 0), 0.25, 1e-13);
  EXPECT_NEAR(p.value()(0, 1), 0.75, 1e-13);
}

TEST(LogSoftmax, KeepsItsDigitsWhereSoftmaxIsZero) {
  const Tensor<double> z = log_softmax(Tensor<double>{{0, 1000}});
  EXPECT_EQ(z.value()(0, 0), -1000);
  EXPECT_EQ(z.value()(0, 1), 0);
}

TEST(LayerNorm, NormalisesEachRowWithTheBiasedVariance) {
  const Tensor<double> y = layer_norm(Tensor<double>{{1, 3}, {10, 30}}, Tensor<double>{2, 2}, Tensor<double>{5, 5}, 0);
  EXPECT_EQ(y.value(), (Array<double>{{3, 7}, {3, 7}}));
}

TEST(LayerNorm, RefusesRowsOfOneValueAndParametersOfAnotherSize) {
  EXPECT_THROW(layer_norm(Tensor<>::zeros({3, 1}), {}, {}, 1e-5), std::invalid_argument);
  EXPECT_THROW(layer_norm(Tensor<>::zeros({3, 2}), Tensor<>::ones({3}), {}, 1e-5), std::invalid_argument);
}

TEST(Dropout, KeepsTheMean) {
  Generator generator(1);
  const std::size_t n = 100000;
  const Tensor<double> y = dropout(Tensor<double>::ones({n}), 0.25, generator);
  double sum = 0;
  for (const double value : y.value().storage()) {
    EXPECT_TRUE(value == 0 || value == 1 / 0.75);
    sum += value;
  }
  // Five standard errors of a Bernoulli mean, scaled by 1 / 0.75.
  EXPECT_NEAR(sum / static_cast<double>(n), 1, 5 * std::sqrt(0.25 * 0.75 / static_cast<double>(n)) / 0.75);
}

TEST(Dropout, AtTheEndsOfTheRange) {
  Generator generator;
  EXPECT_EQ(dropout(Tensor<double>{1, 2}, 0, generator).value(), (Array<double>{1, 2}));
  EXPECT_EQ(dropout(Tensor<double>{1, 2}, 1, generator).value(), (Array<double>{0, 0}));
  EXPECT_THROW(dropout(Tensor<double>{1, 2}, 1.5, generator), std::invalid_argument);
}

TEST(CrossEntropy, WithSmoothingMixesTheUniformDistributionIn) {
  const Tensor<double> logits{{0.5, -1, 2}, {0, 1, 0}};
  const Labels labels{2, 0};
  const double smoothed = cross_entropy(logits, labels, {.label_smoothing = 0.3}).item();
  double expected = 0;
  for (std::size_t n = 0; n < 2; ++n) {
    double total = 0, all = 0;
    for (std::size_t c = 0; c < 3; ++c) total += std::exp(logits.value()(n, c));
    for (std::size_t c = 0; c < 3; ++c) all += std::log(total) - logits.value()(n, c);
    const double own = std::log(total) - logits.value()(n, static_cast<std::size_t>(labels(n)));
    expected += (0.7 * own + 0.3 * all / 3) / 2;
  }
  EXPECT_NEAR(smoothed, expected, 1e-14);
}

TEST(CrossEntropy, ReducesAsAsked) {
  const Tensor<double> logits{{0, 0}, {0, 0}};
  const Labels labels{0, 1};
  EXPECT_NEAR(cross_entropy(logits, labels).item(), std::log(2.0), 1e-15);
  EXPECT_NEAR(cross_entropy(logits, labels, {.reduction = Reduction::sum}).item(), 2 * std::log(2.0), 1e-15);
  EXPECT_EQ(cross_entropy(logits, labels, {.reduction = Reduction::none}).shape(), (Shape{2}));
}

TEST(BceWithLogits, IsTheCrossEntropyOfASigmoid) {
  const double x = 0.7, t = 0.2, s = 1 / (1 + std::exp(-x));
  EXPECT_NEAR(bce_with_logits(Tensor<double>(x), Tensor<double>(t)).item(),
              -t * std::log(s) - (1 - t) * std::log(1 - s), 1e-15);
  EXPECT_EQ(bce_with_logits(Tensor<double>(-1000), Tensor<double>(1)).item(), 1000);
}

}  // namespace
}  // namespace xtgrad
