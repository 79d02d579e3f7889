#include "xtgrad/layers/linear.hpp"

#include <gtest/gtest.h>

#include "oracle.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::error_of;
using oracle::Real;
using oracle::Reals;
using oracle::reals;
using oracle::same;
using oracle::tensor;
using oracle::trained;

// |got - want| within a few roundings of the sum of the terms' sizes.
template <class T> void expect_sum(T got, Real want, Real terms) {
  EXPECT_LE(std::abs(static_cast<Real>(got) - want), 4 * static_cast<Real>(std::numeric_limits<T>::epsilon()) * terms);
}

template <class T> void expect_formulas(std::size_t N, std::size_t I, std::size_t O, bool bias) {
  Generator g(N + 10 * I + 100 * O);
  Linear<T> fc(I, O, {.bias = bias});
  const Tensor<T> x = trained(g.normal<T>({N, I})), dy = g.normal<T>({N, O});
  const Tensor<T> y = fc(x);
  y.backward(dy);
  ASSERT_EQ(y.shape(), (Shape{N, O}));
  const Reals X = reals(x), W = reals(fc.weight()), dY = reals(dy);
  for (std::size_t n = 0; n < N; ++n)
    for (std::size_t o = 0; o < O; ++o) {
      Real sum = bias ? static_cast<Real>(fc.bias().data()[o]) : 0, terms = std::abs(sum);
      for (std::size_t i = 0; i < I; ++i) {
        sum += X[n * I + i] * W[o * I + i];
        terms += std::abs(X[n * I + i] * W[o * I + i]);
      }
      expect_sum(y.data()[n * O + o], sum, terms);
    }
  for (std::size_t n = 0; n < N; ++n)
    for (std::size_t i = 0; i < I; ++i) {
      Real sum = 0, terms = 0;
      for (std::size_t o = 0; o < O; ++o) {
        sum += dY[n * O + o] * W[o * I + i];
        terms += std::abs(dY[n * O + o] * W[o * I + i]);
      }
      expect_sum(x.grad().data()[n * I + i], sum, terms);
    }
  for (std::size_t o = 0; o < O; ++o) {
    Real sum = 0, terms = 0;
    for (std::size_t n = 0; n < N; ++n) {
      sum += dY[n * O + o];
      terms += std::abs(dY[n * O + o]);
    }
    if (bias) expect_sum(fc.bias().grad().data()[o], sum, terms);
    for (std::size_t i = 0; i < I; ++i) {
      sum = terms = 0;
      for (std::size_t n = 0; n < N; ++n) {
        sum += dY[n * O + o] * X[n * I + i];
        terms += std::abs(dY[n * O + o] * X[n * I + i]);
      }
      expect_sum(fc.weight().grad().data()[o * I + i], sum, terms);
    }
  }
}

TEST(Linear, OutputAndGradientsAreTheFormulas) {
  for (const bool bias : {true, false})
    for (const auto& [N, I, O] : {std::tuple{1U, 1U, 1U}, {5U, 3U, 2U}, {2U, 7U, 9U}, {33U, 16U, 8U}}) {
      expect_formulas<float>(N, I, O, bias);
      expect_formulas<double>(N, I, O, bias);
    }
}

TEST(Linear, WeightIsOutputsByInputs) {
  Linear<double> fc(2, 3);
  EXPECT_EQ(fc.weight().shape(), (Shape{3, 2}));
  EXPECT_EQ(fc.bias().shape(), (Shape{3}));
  oracle::assign(fc.weight(), Tensor<double>{{1, 2}, {3, 4}, {5, 6}});
  oracle::assign(fc.bias(), Tensor<double>{0.5, -0.5, 0});
  EXPECT_TRUE(close(fc(tensor<double>({1, 2}, {10, 100})), {210.5, 429.5, 650}, 0));
}

TEST(Linear, WithoutABiasHasNone) {
  Linear fc(2, 3, {.bias = false});
  EXPECT_FALSE(fc.bias().defined());
  EXPECT_EQ(fc.parameter_count(), 6U);
  EXPECT_TRUE(close(fc(Tensor<>::zeros({2, 2})), {0, 0, 0, 0, 0, 0}, 0));
}

TEST(Linear, AnEmptyBatchGivesAnEmptyOutputAndZeroGradients) {
  Linear fc(2, 3);
  const Tensor<> y = fc(Tensor<>::zeros({0, 2}));
  EXPECT_EQ(y.shape(), (Shape{0, 3}));
  y.backward(Tensor<>::zeros({0, 3}));
  EXPECT_TRUE(close(fc.weight().grad(), {0, 0, 0, 0, 0, 0}, 0));
  EXPECT_TRUE(close(fc.bias().grad(), {0, 0, 0}, 0));
}

TEST(Linear, DrawsUniformlyUpToOneOverTheRootOfTheInputs) {
  manual_seed(1);
  Linear<double> fc(100, 200);
  for (const auto& [name, p] : fc.named_parameters()) {
    double largest = 0, sum = 0, squares = 0;
    for (const double w : p.value().storage()) {
      largest = std::max(largest, std::abs(w));
      sum += w;
      squares += w * w;
    }
    const double n = static_cast<double>(p.size()), bound = 0.1;
    EXPECT_LE(largest, bound) << name;
    EXPECT_GT(largest, 0.95 * bound) << name;
    EXPECT_NEAR(sum / n, 0, 4 * bound / std::sqrt(3 * n)) << name;
    EXPECT_NEAR(squares / n, bound * bound / 3, 0.15 * bound * bound / 3) << name;
  }
}

TEST(Linear, TheSeedSettlesTheDraws) {
  manual_seed(1);
  Linear a(3, 4);
  manual_seed(1);
  Linear b(3, 4);
  Linear c(3, 4);
  EXPECT_TRUE(same(a.weight(), b.weight()));
  EXPECT_TRUE(same(a.bias(), b.bias()));
  EXPECT_FALSE(same(b.weight(), c.weight()));
}

TEST(Linear, ItsParametersRequireGrad) {
  Linear fc(2, 3);
  for (const Tensor<>& p : fc.parameters()) EXPECT_TRUE(p.requires_grad());
}

TEST(Linear, AWrongInputIsAnErrorWithBothShapes) {
  Linear fc(4, 3);
  EXPECT_EQ(error_of([&] { fc(Tensor<>::ones({32, 5})); }), "linear: input is (32, 5), weight expects (N, 4)");
  EXPECT_EQ(error_of([&] { fc(Tensor<>::ones({4})); }), "linear: input is (4,), weight expects (N, 4)");
  EXPECT_EQ(error_of([&] { fc(Tensor<>::ones({2, 3, 4})); }), "linear: input is (2, 3, 4), weight expects (N, 4)");
}

TEST(Linear, NeedsInputsAndOutputs) {
  EXPECT_EQ(error_of([] { Linear(0, 3); }), "Linear: 0 inputs and 3 outputs, expected at least one of each");
  EXPECT_EQ(error_of([] { Linear(3, 0); }), "Linear: 3 inputs and 0 outputs, expected at least one of each");
}

TEST(Linear, PrintsItsSizes) {
  EXPECT_EQ(Linear(64, 10).name(), "Linear(64, 10)");
  EXPECT_EQ(Linear(64, 10, {.bias = false}).name(), "Linear(64, 10, no bias)");
}

}  // namespace
}  // namespace xtgrad
