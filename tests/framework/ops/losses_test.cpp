#include "xtgrad/ops/losses.hpp"

#include <cmath>
#include <limits>

#include "../kernels/instruction_sets.hpp"
#include "../numbers.hpp"
#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

Labels labels(std::initializer_list<std::int64_t> list) {
  Labels y = empty_array<std::int64_t>({list.size()});
  std::copy(list.begin(), list.end(), y.storage().begin());
  return y;
}

// Softmax of a row and -log of the probability of its label, in long double.
struct Row {
  std::vector<long double> p;
  long double loss;
};
template <class T> Row exact_row(const T* logits, std::size_t C, std::int64_t label) {
  long double largest = static_cast<long double>(logits[0]), total = 0;
  for (std::size_t c = 0; c < C; ++c) largest = std::max(largest, static_cast<long double>(logits[c]));
  Row row{std::vector<long double>(C), 0};
  for (std::size_t c = 0; c < C; ++c) total += row.p[c] = std::exp(static_cast<long double>(logits[c]) - largest);
  for (long double& p : row.p) p /= total;
  row.loss = std::log(total) - (static_cast<long double>(logits[label]) - largest);
  return row;
}

template <class T> class CrossEntropy : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(CrossEntropy, Precisions);

TYPED_TEST(CrossEntropy, AgreesWithTheDefinition) {
  using T = TypeParam;
  constexpr double kError = 8 * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (const double spread : {1.0, 30.0})
    for (const std::size_t C : {1U, 2U, 7U, 8U, 17U, 40U}) {
      constexpr std::size_t N = 5;
      const Tensor<T> x = variable(Generator(C).normal<T>({N, C}, 100, spread));
      Labels y = empty_array<std::int64_t>({N});
      long double expected = 0;
      std::vector<Row> rows;
      for (std::size_t n = 0; n < N; ++n) {
        y(n) = static_cast<std::int64_t>(3 * n % C);
        rows.push_back(exact_row(x.data() + n * C, C, y(n)));
        expected += rows.back().loss / N;
      }
      const Tensor<T> loss = cross_entropy(x, y);
      EXPECT_NEAR(static_cast<double>(loss.item()), static_cast<double>(expected),
                  kError * (1 + static_cast<double>(expected)));
      EXPECT_NEAR(static_cast<double>(reference::cross_entropy(x, y).item()), static_cast<double>(expected),
                  100 * kError * (1 + static_cast<double>(expected)));
      const Tensor<T> d = grad(loss, {x})[0];
      for (std::size_t n = 0; n < N; ++n)
        for (std::size_t c = 0; c < C; ++c) {
          const long double right = static_cast<std::int64_t>(c) == y(n) ? 1 : 0;
          EXPECT_NEAR(static_cast<double>(d.value()(n, c)), static_cast<double>((rows[n].p[c] - right) / N),
                      kError / N);
        }
    }
}

TYPED_TEST(CrossEntropy, KernelsOfEveryInstructionSetAgreeWithTheDefinition) {
  using T = TypeParam;
  constexpr double kError = 8 * static_cast<double>(std::numeric_limits<T>::epsilon());
  for (const auto& table : test::instruction_sets<T>())
    for (std::size_t C = 1; C <= 40; ++C) {
      constexpr std::size_t N = 3;
      const auto x = test::normal<T>(-50, 10, N * C, C);
      const std::int64_t y[N] = {0, static_cast<std::int64_t>(C - 1), static_cast<std::int64_t>(C / 2)};
      std::vector<T> p(N * C), d(N * C);
      const double loss = table.softmax_cross_entropy(N, static_cast<long>(C), x.data(), y, p.data());
      table.softmax_cross_entropy_vjp(N, static_cast<long>(C), p.data(), y, T(0.5), d.data());
      long double expected = 0;
      for (std::size_t n = 0; n < N; ++n) {
        const Row row = exact_row(x.data() + n * C, C, y[n]);
        expected += row.loss;
        for (std::size_t c = 0; c < C; ++c) {
          ASSERT_NEAR(static_cast<double>(p[n * C + c]), static_cast<double>(row.p[c]), kError)
              << table.instruction_set;
          const long double right = static_cast<std::int64_t>(c) == y[n] ? 1 : 0;
          ASSERT_NEAR(static_cast<double>(d[n * C + c]), static_cast<double>((row.p[c] - right) / 2), kError);
        }
      }
      ASSERT_NEAR(loss, static_cast<double>(expected), kError * (1 + static_cast<double>(expected)));
    }
}

TYPED_TEST(CrossEntropy, IsTheMeanOverRows) {
  using T = TypeParam;
  const Tensor<T> once{{1, 2, 4}}, twice{{1, 2, 4}, {1, 2, 4}};
  EXPECT_EQ(cross_entropy(once, labels({1})).item(), cross_entropy(twice, labels({1, 1})).item());
}

TYPED_TEST(CrossEntropy, DoesNotOverflowForHugeLogits) {
  using T = TypeParam;
  const Tensor<T> x = variable(Tensor<T>{{T(1e4), T(-1e4), 0}});
  const Tensor<T> loss = cross_entropy(x, labels({1}));
  EXPECT_EQ(loss.item(), T(2e4));
  EXPECT_EQ(values(grad(loss, {x})[0]), (std::vector<T>{1, -1, 0}));
}

TYPED_TEST(CrossEntropy, OfANaNIsNaNAndOfOtherRowsIsNot) {
  using T = TypeParam;
  const T nan = std::numeric_limits<T>::quiet_NaN();
  for (std::size_t at = 0; at < 19; ++at) {
    Tensor<T> x = Tensor<T>::zeros({2, 19});
    x.mutable_value()(0, at) = nan;
    x.requires_grad(true);
    const Tensor<T> loss = cross_entropy(x, labels({3, 3}));
    EXPECT_TRUE(std::isnan(loss.item()));
    const Tensor<T> d = grad(loss, {x})[0];
    for (std::size_t c = 0; c < 19; ++c) {
      EXPECT_TRUE(std::isnan(d.value()(0, c)));
      EXPECT_FALSE(std::isnan(d.value()(1, c)));
    }
  }
}

TYPED_TEST(CrossEntropy, OfOneClassIsZeroWithoutAGradient) {
  using T = TypeParam;
  const Tensor<T> x = variable(Tensor<T>::full({2, 1}, 5));
  const Tensor<T> loss = cross_entropy(x, labels({0, 0}));
  EXPECT_EQ(loss.item(), 0);
  EXPECT_EQ(values(grad(loss, {x})[0]), (std::vector<T>{0, 0}));
}

TYPED_TEST(CrossEntropy, ScalesWithTheGradientOfItsResult) {
  using T = TypeParam;
  const Tensor<T> x = variable(Tensor<T>{{0, 0}});
  (cross_entropy(x, labels({0})) * T(8)).backward();
  EXPECT_EQ(values(x.grad()), (std::vector<T>{-4, 4}));
}

// A logit of -inf masks a class: e^-inf = 0.
TEST(CrossEntropy, OfAMaskedClassIsThatOfTheOthersForEveryReductionAndOrder) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const Labels y = labels({0, 1});
  const double first = std::log(1 + std::exp(1.0)), second = std::log(std::exp(-1.0) + 1 + std::exp(1.0));
  for (const Reduction reduction : {Reduction::mean, Reduction::sum, Reduction::none}) {
    const Tensor<double> z = variable(Tensor<double>{{1, 2, -kInf}, {0, 1, 2}});
    const Tensor<double> loss = cross_entropy(z, y, {.reduction = reduction});
    if (reduction == Reduction::none) {
      EXPECT_NEAR(loss.data()[0], first, 1e-15);
      EXPECT_NEAR(loss.data()[1], second, 1e-15);
    }
    const double total = sum(loss).item() * (reduction == Reduction::mean ? 2 : 1);
    EXPECT_NEAR(total, first + second, 1e-14);
    const std::vector<Tensor<double>> d = grad(sum(loss), {z}, {.create_graph = true});
    const Tensor<double> dd = grad(sum(d[0] * d[0]), {z})[0];
    const double scale = reduction == Reduction::mean ? 0.5 : 1, p = 1 / (1 + std::exp(1.0));
    EXPECT_NEAR(d[0].data()[0], scale * (p - 1), 1e-15);
    EXPECT_NEAR(d[0].data()[1], scale * (1 - p), 1e-15);
    EXPECT_EQ(d[0].data()[2], 0);
    // d0 = p - 1 = -d1, dp/dz0 = p (1 - p): the derivative of 2 (p - 1)^2
    EXPECT_NEAR(dd.data()[0], -scale * scale * 4 * (1 - p) * p * (1 - p), 1e-15);
    EXPECT_EQ(dd.data()[2], 0);
  }
}

TEST(CrossEntropy, OfALabelThatIsMaskedIsInfinite) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  for (const Reduction reduction : {Reduction::mean, Reduction::sum})
    EXPECT_EQ(cross_entropy(Tensor<double>{{1, -kInf}}, labels({1}), {.reduction = reduction}).item(), kInf);
}

TEST(CrossEntropyErrors, NameShapesAndLabels) {
  const Tensor<> x = Tensor<>::zeros({2, 3});
  expect_parts(error([&] { cross_entropy(x, labels({0})); }), {"cross_entropy", "(2, 3)", "(1,)", "(2,)"});
  expect_parts(error([&] { cross_entropy(x, labels({0, 3})); }), {"label 3", "row 1", "0 to 2"});
  expect_parts(error([&] { cross_entropy(x, labels({-1, 0})); }), {"label -1", "row 0"});
  expect_parts(error([&] { cross_entropy(Tensor<>{1, 2}, labels({0, 0})); }), {"(2,)", "(N, C)"});
  EXPECT_THROW(cross_entropy(x, full_array<std::int64_t>({2, 1}, 0)), std::invalid_argument);
}

TEST(Mse, IsTheMeanOfSquaredDifferences) {
  const Tensor<double> y = variable(Tensor<double>{{1, 2}, {3, 4}}), target{{0, 2}, {1, 8}};
  const Tensor<double> loss = mse(y, target);
  EXPECT_EQ(loss.item(), 21.0 / 4);
  EXPECT_EQ(values(grad(loss, {y})[0]), (std::vector<double>{0.5, 0, 1, -2}));
}

TEST(Mse, ThrowsUnlessTheShapesAreEqual) {
  // Broadcasting (N, 1) against (N) would compare every row with every other.
  const Tensor<double> y = Tensor<double>::zeros({3, 1}), target{1, 2, 3};
  expect_parts(error([&] { mse(y, target); }), {"mse", "(3, 1)", "(3,)"});
}

TEST(Accuracy, IsTheShareOfRowsWhoseLargestLogitIsAtTheLabel) {
  const Tensor<> x{{1, 2, 3}, {3, 2, 1}, {0, 5, 1}, {0, 0, 1}};
  EXPECT_EQ(accuracy(x, labels({2, 0, 1, 0})), 0.75);
  EXPECT_EQ(accuracy(x, labels({0, 1, 0, 0})), 0);
}

TEST(Accuracy, TakesTheFirstOfEqualLogits) {
  const Tensor<> x{{1, 1}, {1, 1}};
  EXPECT_EQ(accuracy(x, labels({0, 1})), 0.5);
}

TEST(Accuracy, ThrowsLikeCrossEntropy) {
  expect_parts(error([] { accuracy(Tensor<>{{1, 2}}, labels({2})); }), {"accuracy", "label 2"});
}

}  // namespace
}  // namespace xtgrad
