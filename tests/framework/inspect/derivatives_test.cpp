#include "xtgrad/inspect/derivatives.hpp"

#include "../support.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

using Double = Tensor<double>;
using Values = std::vector<double>;

TEST(Jacobian, OfALinearMapIsItsMatrix) {
  const Double A{{1, 2, 3}, {4, 5, 6}}, x = variable(Double{{1}, {0}, {2}});
  const Double J = jacobian(matmul(A, x), x);
  EXPECT_EQ(J.shape(), (Shape{2, 1, 3, 1}));
  EXPECT_EQ(values(J), values(A));
}

TEST(Jacobian, RetainsTheGraphAndLeavesGradientsAlone) {
  const Double x = variable(Double{1, 2});
  const Double y = x * x;
  jacobian(y, x);
  EXPECT_EQ(values(jacobian(y, x)), (Values{2, 0, 0, 4}));
  EXPECT_FALSE(x.grad().defined());
}

TEST(Jacobian, OfAScalarIsItsGradient) {
  const Double x = variable(Double{1, 2});
  const Double J = jacobian(sum(x * x), x);
  EXPECT_EQ(J.shape(), (Shape{2}));
  EXPECT_EQ(values(J), (Values{2, 4}));
}

TEST(Jacobian, OfTheGradientIsTheHessian) {
  const Double x = variable(Double{2, 3});
  const Double y = sum(x * x * x);
  const Double g = jacobian(y, x, true);
  EXPECT_EQ(values(jacobian(g, x)), (Values{12, 0, 0, 18}));
  EXPECT_FALSE(jacobian(y, x).requires_grad());
}

TEST(Jacobian, OfNothingIsEmpty) {
  const Double x = variable(Double::zeros({0, 2}));
  EXPECT_EQ(jacobian(x * 2, x).shape(), (Shape{0, 2, 0, 2}));
}

TEST(Jacobian, ThrowsForAnXThatDoesNotRequireGrad) {
  const Double x = variable(Double{1});
  expect_parts(error([&] { jacobian(x * 2, Double{1}); }), {"require grad"});
}

// f(a, b) = sum(a * a * b) + sum(exp(b)) has the Hessian {{2 b, 2 a}, {2 a, e^b}} for each pair of elements.
TEST(HessianVectorProduct, ReachesAcrossTensors) {
  Generator generator(1);
  const Double a = variable(generator.normal<double>({3})), b = variable(generator.normal<double>({3}));
  const Double u = generator.normal<double>({3}), v = generator.normal<double>({3});
  const auto Hv = hessian_vector_product(sum(a * a * b) + sum(exp(b)), {a, b}, {u, v});
  for (std::size_t i = 0; i < 3; ++i) {
    const double ai = a.data()[i], bi = b.data()[i], ui = u.data()[i], vi = v.data()[i];
    EXPECT_NEAR(Hv[0].data()[i], 2 * bi * ui + 2 * ai * vi, 1e-13);
    EXPECT_NEAR(Hv[1].data()[i], 2 * ai * ui + std::exp(bi) * vi, 1e-13);
  }
}

TEST(HessianVectorProduct, LeavesGradientsAlone) {
  const Double x = variable(Double{1, 2});
  hessian_vector_product(sum(x * x), {x}, {Double{1, 1}});
  EXPECT_FALSE(x.grad().defined());
}

TEST(HessianVectorProduct, RetainsTheGraph) {
  // The derivative of exp reads its result, so the second walk reaches back into the graph of y.
  const Double x = variable(Double{1, 2}), y = sum(exp(x)), v{3, 5};
  const Double first = hessian_vector_product(y, {x}, {v})[0];
  EXPECT_EQ(values(hessian_vector_product(y, {x}, {v})[0]), values(first));
  EXPECT_EQ(values(grad(y, {x})[0]), values(exp(x)));
}

TEST(HessianVectorProduct, OfALinearFunctionIsZero) {
  const Double x = variable(Double{1, 2});
  EXPECT_EQ(values(hessian_vector_product(sum(x * 3), {x}, {Double{1, 1}})[0]), (Values{0, 0}));
}

TEST(HessianVectorProduct, TakesADirectionThatRequiresGradAsAConstant) {
  const Double x = variable(Double{3});
  EXPECT_EQ(values(hessian_vector_product(sum(x * x * x), {x}, {x})[0]), (Values{54}));  // 6 x * x, not its derivative
}

TEST(HessianVectorProduct, ThrowsForDirectionsThatDoNotFit) {
  const Double x = variable(Double{1, 2});
  expect_parts(error([&] { hessian_vector_product(sum(x * x), {x}, {}); }), {"0 directions for 1"});
  expect_parts(error([&] { hessian_vector_product(sum(x * x), {x}, {Double{1}}); }), {"(1,)", "(2,)"});
}

}  // namespace
}  // namespace xtgrad
