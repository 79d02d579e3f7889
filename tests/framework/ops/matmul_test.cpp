#include "xtgrad/ops/matmul.hpp"

#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/parallel.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;
using Double = Tensor<double>;
using Values = std::vector<double>;

TEST(Matmul, MultipliesMatrices) {
  const Double a{{1, 2, 3}, {4, 5, 6}}, b{{1, 10}, {100, 1000}, {2, 3}};
  EXPECT_EQ(values(matmul(a, b)), (Values{207, 2019, 516, 5058}));
}

TEST(Matmul, TransposesFirstIfAsked) {
  const Double a{{1, 2, 3}, {4, 5, 6}}, b{{1, 10}, {100, 1000}, {2, 3}};
  const Values expected = values(matmul(a, b));
  EXPECT_EQ(values(matmul(transpose(a), b, {.transpose_a = true})), expected);
  EXPECT_EQ(values(matmul(a, transpose(b), {.transpose_b = true})), expected);
  EXPECT_EQ(values(matmul(transpose(a), transpose(b), {.transpose_a = true, .transpose_b = true})), expected);
}

TEST(Matmul, GradientsAreProductsWithTheTransposed) {
  const Double a = variable(Double{{1, 2}, {3, 4}}), b = variable(Double{{5, 6}, {7, 8}});
  matmul(a, b).backward(Double{{1, 0}, {0, 10}});
  EXPECT_EQ(values(a.grad()), (Values{5, 7, 60, 80}));
  EXPECT_EQ(values(b.grad()), (Values{1, 30, 2, 40}));
}

TEST(Matmul, OfATensorWithItselfAddsBothGradients) {
  const Double a = variable(Double{{1, 2}, {3, 4}});
  matmul(a, a).backward(Double{{1, 0}, {0, 0}});
  EXPECT_EQ(values(a.grad()), (Values{2, 3, 2, 0}));
}

TEST(Matmul, OverAnEmptyInnerAxisIsZeros) {
  EXPECT_EQ(values(matmul(Double::ones({2, 0}), Double::ones({0, 3}))), Values(6, 0));
  EXPECT_EQ(matmul(Double::ones({0, 2}), Double::ones({2, 3})).shape(), (Shape{0, 3}));
}

TEST(Matmul, ThrowsUnlessTheMatricesFit) {
  const Double a = Double::zeros({2, 3});
  expect_parts(error([&] { matmul(a, a); }), {"matmul", "(2, 3)"});
  expect_parts(error([&] {
                 matmul(a, Double::zeros({2, 4}), {.transpose_b = true});
               }),
               {"(2, 3)", "(2, 4) transposed"});
  EXPECT_THROW(matmul(a, Double::zeros({3})), std::invalid_argument);
  EXPECT_THROW(matmul(Double::zeros({1, 2, 3}), Double::zeros({3, 2})), std::invalid_argument);
  EXPECT_THROW(matmul(Double(1), a), std::invalid_argument);
}

TEST(Linear, IsXTimesTheTransposedWeightPlusBias) {
  const Double x{{1, 2}, {3, 4}, {5, 6}}, weight{{1, 10}, {100, 1000}}, bias{0.5, -0.5};
  EXPECT_EQ(values(linear(x, weight, bias)), (Values{21.5, 2099.5, 43.5, 4299.5, 65.5, 6499.5}));
  EXPECT_EQ(values(linear(x, weight, {})), (Values{21, 2100, 43, 4300, 65, 6500}));
}

TEST(Linear, ThrowsNamingWhatDoesNotFit) {
  const Double x = Double::zeros({32, 5}), weight = Double::zeros({3, 4});
  EXPECT_EQ(error([&] { linear(x, weight, {}); }), "linear: input is (32, 5), weight expects (N, 4)");
  expect_parts(error([&] { linear(Double::zeros({2, 4}), weight, Double{1, 2}); }), {"bias", "(2,)", "(3,)"});
  expect_parts(error([&] { linear(x, Double{1, 2}, {}); }), {"weight", "(2,)"});
  EXPECT_THROW(linear(Double{1, 2, 3, 4}, weight, {}), std::invalid_argument);
}

TEST(Linear, HasTheSameBitsForEveryNumberOfThreads) {
  Generator generator(1);
  const Tensor<float> x = variable(generator.normal<float>({256, 200})),
                      w = variable(generator.normal<float>({150, 200}));
  const Tensor<float> b = variable(generator.normal<float>({150})), seed = generator.normal<float>({256, 150});
  std::vector<std::vector<float>> serial;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    const Tensor<float> y = linear(x, w, b);
    std::vector<std::vector<float>> results{values(y)};
    for (const Tensor<float>& g : grad(y, {x, w, b}, {.seed = seed})) results.push_back(values(g));
    if (serial.empty()) serial = results;
    EXPECT_EQ(results, serial) << threads;
  }
  set_num_threads(1);
}

}  // namespace
}  // namespace xtgrad
