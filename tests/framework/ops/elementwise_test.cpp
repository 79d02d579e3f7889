#include "xtgrad/ops/elementwise.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "../support.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T> class ElementwiseOps : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(ElementwiseOps, Precisions);

template <class T> T derivative(Tensor<T> (*f)(const Tensor<T>&), T x) {
  const Tensor<T> leaf = variable(Tensor<T>(x));
  return grad(f(leaf), {leaf})[0].item();
}

// --- Values and derivatives at points where they are known

TYPED_TEST(ElementwiseOps, ValuesAreThoseOfTheFunctions) {
  using T = TypeParam;
  const T x = T(0.75);
  EXPECT_EQ(neg<T>(x).item(), T(-0.75));
  EXPECT_NEAR(static_cast<double>(exp<T>(x).item()), std::exp(0.75), 1e-6);
  EXPECT_NEAR(static_cast<double>(log<T>(x).item()), std::log(0.75), 1e-6);
  EXPECT_EQ(sqrt<T>(T(0.5625)).item(), T(0.75));
  EXPECT_EQ(relu<T>(x).item(), x);
  EXPECT_EQ(relu<T>(-x).item(), 0);
  EXPECT_NEAR(static_cast<double>(tanh<T>(x).item()), std::tanh(0.75), 1e-6);
  EXPECT_NEAR(static_cast<double>(sigmoid<T>(x).item()), 1 / (1 + std::exp(-0.75)), 1e-6);
  EXPECT_EQ(sigmoid<T>(T(0)).item(), T(0.5));
}

TYPED_TEST(ElementwiseOps, DerivativesAtKinksAreAsAgreed) {
  using T = TypeParam;
  EXPECT_EQ(derivative<T>(relu, 0), 0);
  EXPECT_EQ(derivative<T>(relu, std::numeric_limits<T>::denorm_min()), 1);
  EXPECT_EQ(derivative<T>(relu, -std::numeric_limits<T>::denorm_min()), 0);
  EXPECT_EQ(derivative<T>(sqrt, 0), std::numeric_limits<T>::infinity());
}

TYPED_TEST(ElementwiseOps, DerivativesAtTheEndsAreFinite) {
  using T = TypeParam;
  EXPECT_EQ(derivative<T>(tanh, 100), 0);
  EXPECT_EQ(derivative<T>(tanh, -100), 0);
  EXPECT_EQ(derivative<T>(sigmoid, 1000), 0);
  EXPECT_EQ(derivative<T>(sigmoid, -1000), 0);
}

TEST(Relu, KeepsNaN) {
  EXPECT_TRUE(std::isnan(relu<double>(kNaN).item()));
  EXPECT_TRUE(std::isnan(relu<float>(std::nanf("")).item()));
}

TEST(Relu, SecondDerivativeIsZeroOnBothSides) {
  const Tensor<double> x = variable(Tensor<double>{-1, 0, 2});
  const Tensor<double> g = grad(sum(relu(x) * x), {x}, {.create_graph = true})[0];
  EXPECT_EQ(values(g), (std::vector<double>{0, 0, 4}));
  EXPECT_EQ(values(grad(sum(g), {x})[0]), (std::vector<double>{0, 0, 2}));
}

TEST(Greater, CarriesNoGradient) {
  const Tensor<double> x = variable(Tensor<double>{-1, 2});
  EXPECT_FALSE((x > 0).requires_grad());
  EXPECT_EQ(values(x > 0), (std::vector<double>{0, 1}));
}

// --- where

TEST(Where, LetsNothingOfTheDeadBranchThrough) {
  const Tensor<double> x = variable(Tensor<double>{-1, 4});
  // log and its derivative are NaN or infinite at what is not chosen.
  const Tensor<double> y = where(x > 0, log(where(x > 0, x, 1)), 0);
  EXPECT_EQ(values(y), (std::vector<double>{0, std::log(4.0)}));
  EXPECT_EQ(values(grad(sum(y), {x})[0]), (std::vector<double>{0, 0.25}));
}

TEST(Where, LetsNoNaNOfTheDeadBranchIntoTheValueOrTheGradient) {
  const Tensor<double> a = variable(Tensor<double>{1, kNaN}), b = variable(Tensor<double>{kNaN, 2});
  const Tensor<double> y = where(Tensor<double>{1, 0}, a, b);
  EXPECT_EQ(values(y), (std::vector<double>{1, 2}));
  const auto grads = grad(y, {a, b}, {.seed = Tensor<double>{kInf, kInf}});
  EXPECT_EQ(values(grads[0]), (std::vector<double>{kInf, 0}));
  EXPECT_EQ(values(grads[1]), (std::vector<double>{0, kInf}));
}

TEST(Where, LetsNoNaNThroughWithAGraphOfTheGradientEither) {
  const Tensor<double> a = variable(Tensor<double>{1, 2}), b = variable(Tensor<double>{3, 4});
  const auto grads =
      grad(where(Tensor<double>{1, 0}, a, b), {a, b}, {.seed = Tensor<double>{kNaN, 5}, .create_graph = true});
  EXPECT_TRUE(std::isnan(grads[0].data()[0]));
  EXPECT_EQ(grads[0].data()[1], 0);
  EXPECT_EQ(values(grads[1]), (std::vector<double>{0, 5}));
}

TEST(Where, TakesEveryConditionButZero) {
  EXPECT_EQ(values(where(Tensor<double>{1, -1, 0.5, 0, -0.0}, 1, 2)), (std::vector<double>{1, 1, 1, 2, 2}));
}

TEST(Where, TakesNaNForACondition) {
  // A row of full registers and a tail alike.
  const Tensor<double> y = where(Tensor<double>::full({19}, kNaN), 1, 2);
  EXPECT_EQ(values(y), std::vector<double>(19, 1));
  const Tensor<float> f = where(Tensor<float>::full({35}, std::nanf("")), 1, 2);
  EXPECT_EQ(values(f), std::vector<float>(35, 1));
}

// --- Broadcasting

TEST(Broadcasting, AgreesWithPlainLoops) {
  const Tensor<double> a{{{1, 2, 3}}, {{4, 5, 6}}};  // (2, 1, 3)
  const Tensor<double> b = reshape(Tensor<double>{10, 20}, {2, 1});
  const Tensor<double> y = a - b;  // (2, 2, 3)
  ASSERT_EQ(y.shape(), (Shape{2, 2, 3}));
  for (std::size_t i = 0; i < 2; ++i)
    for (std::size_t j = 0; j < 2; ++j)
      for (std::size_t k = 0; k < 3; ++k) EXPECT_EQ(y.value()(i, j, k), a.value()(i, 0, k) - b.value()(j, 0));
}

TEST(Broadcasting, OfEveryPairOfShapesAgreesWithPlainLoops) {
  constexpr std::size_t N = 3, C = 5;
  const Shape shapes[] = {{}, {1}, {C}, {1, C}, {N, 1}, {N, C}};
  // Element (n, c) of the result comes from here in an array of this shape.
  const auto at = [](const Shape& shape, std::size_t n, std::size_t c) {
    const std::size_t columns = shape.empty() ? 1 : shape.back();
    return (shape.size() == 2 && shape[0] > 1 ? n * columns : 0) + (columns > 1 ? c : 0);
  };
  Generator generator(1);
  for (const Shape& a : shapes)
    for (const Shape& b : shapes) {
      const Tensor<double> x = variable(generator.normal<double>(a)), y = variable(generator.normal<double>(b));
      const Tensor<double> z = x - y;
      const std::size_t rows = std::max(a.size() == 2 ? a[0] : 1, b.size() == 2 ? b[0] : 1);
      const std::size_t columns = std::max(a.empty() ? 1 : a.back(), b.empty() ? 1 : b.back());
      ASSERT_EQ(z.shape().size(), std::max(a.size(), b.size())) << to_string(a) << " and " << to_string(b);
      ASSERT_EQ(z.size(), rows * columns) << to_string(a) << " and " << to_string(b);
      const Tensor<double> dz = generator.normal<double>(z.shape());
      std::vector<double> value, dx(x.size(), 0), dy(y.size(), 0);
      for (std::size_t n = 0; n < rows; ++n)
        for (std::size_t c = 0; c < columns; ++c) {
          const std::size_t i = at(a, n, c), j = at(b, n, c);
          const double d = dz.data()[value.size()];
          value.push_back(x.data()[i] - y.data()[j]);
          dx[i] += d;
          dy[j] -= d;
        }
      EXPECT_EQ(values(z), value) << to_string(a) << " and " << to_string(b);
      const auto grads = grad(z, {x, y}, {.seed = dz});
      for (std::size_t i = 0; i < dx.size(); ++i) EXPECT_NEAR(grads[0].data()[i], dx[i], 1e-14);
      for (std::size_t i = 0; i < dy.size(); ++i) EXPECT_NEAR(grads[1].data()[i], dy[i], 1e-14);
    }
}

TEST(Broadcasting, IsUndoneInTheGradients) {
  const Tensor<double> a = variable(Tensor<double>{{1, 2, 3}, {4, 5, 6}}), row = variable(Tensor<double>{1, 10, 100});
  const Tensor<double> scalar = variable(Tensor<double>(2));
  sum(a * row * scalar).backward();
  EXPECT_EQ(values(a.grad()), (std::vector<double>{2, 20, 200, 2, 20, 200}));
  EXPECT_EQ(values(row.grad()), (std::vector<double>{10, 14, 18}));
  EXPECT_EQ(scalar.grad().shape(), Shape{});
  EXPECT_EQ(scalar.grad().item(), 5 + 70 + 900);
}

TEST(Broadcasting, SumsGradientsInDouble) {
  // 2^24 ones and a bit: a sum in float would stop at 2^24.
  constexpr std::size_t kCount = (1 << 24) + 4;
  const Tensor<float> x = variable(Tensor<float>(1.0F));
  (x * Tensor<float>::ones({kCount})).backward(Tensor<float>::ones({kCount}));
  EXPECT_EQ(x.grad().item(), static_cast<float>(kCount));
}

TEST(Broadcasting, ThrowsNamingTheOpAndTheShapes) {
  const Tensor<double> a = Tensor<double>::zeros({2, 3}), b = Tensor<double>::zeros({4});
  expect_parts(error([&] { a + b; }), {"add", "(2, 3)", "(4,)"});
  expect_parts(error([&] { a / b; }), {"div", "(2, 3)", "(4,)"});
  expect_parts(error([&] { where(a, b, a); }), {"where", "(2, 3)", "(4,)"});
}

TEST(Broadcasting, OfNothingIsNothing) {
  const Tensor<double> x = variable(Tensor<double>::zeros({0, 3})), row = variable(Tensor<double>{1, 2, 3});
  const Tensor<double> y = x * row;
  EXPECT_EQ(y.shape(), (Shape{0, 3}));
  const auto grads = grad(sum(y), {x, row});
  EXPECT_EQ(grads[0].shape(), (Shape{0, 3}));
  EXPECT_EQ(values(grads[1]), (std::vector<double>{0, 0, 0}));
}

// --- A user's own op

// x^2 y, with derivatives 2xy and x^2.
struct SquareTimes {
  static constexpr const char* name = "square_times";
  static constexpr unsigned saves[] = {formulas::kX | formulas::kY, formulas::kX};
  template <class V> static V value(const V& x, const V& y) { return x * x * y; }
  template <unsigned long I, class V> static V vjp(const V& dz, const V&, const V& x, const V& y) {
    if constexpr (I == 0) return dz * (x + x) * y;
    return dz * x * x;
  }
};

TEST(UsersOp, BroadcastsAndDifferentiatesTwice) {
  const Tensor<double> x = variable(Tensor<double>{1, 2, 3}), y = variable(Tensor<double>(5));
  const Tensor<double> z = elementwise<SquareTimes>(x, y);
  EXPECT_EQ(values(z), (std::vector<double>{5, 20, 45}));
  const auto first = grad(sum(z), {x, y}, {.create_graph = true});
  EXPECT_EQ(values(first[0]), (std::vector<double>{10, 20, 30}));
  EXPECT_EQ(first[1].item(), 14);
  EXPECT_EQ(values(grad(sum(first[0]), {x}, {.retain_graph = true})[0]), (std::vector<double>{10, 10, 10}));
  EXPECT_EQ(grad(sum(first[0]), {y})[0].item(), 12);
}

TEST(UsersOp, NamesItselfInErrors) {
  const Tensor<double> x{1, 2, 3}, y{1, 2};
  expect_parts(error([&] { elementwise<SquareTimes>(x, y); }), {"square_times"});
}

TEST(UsersOp, SavesOnlyWhatItSays) {
  // Only the gradient of x reads y.
  const Tensor<double> x{1, 2};
  const Tensor<double> w = variable(Tensor<double>{3, 4});
  Tensor<double> y = w;
  const Tensor<double> z = elementwise<SquareTimes>(x, y);
  y.mutable_value().fill(0);
  EXPECT_EQ(values(grad(sum(z), {w})[0]), (std::vector<double>{1, 4}));
}

// --- Values against long double

/// The distance of `actual` from `exact` in units of the last place of T.
template <class T> long double ulps(T actual, long double exact) {
  const T rounded = static_cast<T>(exact);
  if (actual == rounded || (std::isnan(actual) && std::isnan(rounded))) return 0;
  const long double unit =
      static_cast<long double>(std::nextafter(std::abs(rounded), std::numeric_limits<T>::infinity())) -
      static_cast<long double>(std::abs(rounded));
  return std::abs(static_cast<long double>(actual) - exact) / unit;
}

template <class T, class Op, class Exact>
void expect_accurate(Op op, Exact exact, double low, double high, long double bound) {
  constexpr std::size_t kCount = 4001;
  Array<T> x = empty_array<T>({kCount});
  for (std::size_t i = 0; i < kCount; ++i)
    x(i) = static_cast<T>(low + (high - low) * static_cast<double>(i) / static_cast<double>(kCount - 1));
  const Tensor<T> z = op(Tensor<T>(x));
  for (std::size_t i = 0; i < kCount; ++i)
    ASSERT_LE(ulps(z.value()(i), exact(static_cast<long double>(x(i)))), bound) << "at " << x(i);
}

TEST(ElementwiseValues, ErfIsWithinFourUlp) {
  const auto exact = [](long double x) { return std::erf(x); };
  expect_accurate<float>([](const auto& x) { return erf(x); }, exact, -5, 5, 4);
  expect_accurate<double>([](const auto& x) { return erf(x); }, exact, -6, 6, 4);
}

TEST(ElementwiseValues, SoftplusIsWithinFourUlpAndDoesNotOverflow) {
  const auto exact = [](long double x) { return std::log1p(std::exp(x)); };
  expect_accurate<float>([](const auto& x) { return softplus(x); }, exact, -80, 80, 4);
  expect_accurate<double>([](const auto& x) { return softplus(x); }, exact, -700, 700, 4);
  EXPECT_EQ(softplus(Tensor<float>(1e30F)).item(), 1e30F);
  EXPECT_EQ(softplus(Tensor<float>(-1e30F)).item(), 0);
}

TEST(ElementwiseValues, GeluIsXTimesTheNormalDistribution) {
  const auto exact = [](long double x) { return x * (1 + std::erf(x / std::sqrt(2.0L))) / 2; };
  expect_accurate<float>([](const auto& x) { return gelu(x); }, exact, -0.5, 8, 8);
  expect_accurate<double>([](const auto& x) { return gelu(x); }, exact, -0.5, 8, 8);
}

TEST(ElementwiseValues, PowIsWithinOneUlp) {
  for (const double y : {-2.5, -1.0, 0.0, 0.5, 2.0, 3.0, 17.0}) {
    const auto exact = [y](long double x) { return std::pow(x, static_cast<long double>(y)); };
    expect_accurate<double>([y](const auto& x) { return pow(x, y); }, exact, 0.01, 30, 1);
  }
  EXPECT_EQ(pow(Tensor<double>(-2), 3).item(), -8);
  EXPECT_TRUE(std::isnan(pow(Tensor<double>(-2), 0.5).item()));
  EXPECT_EQ(pow(Tensor<double>(0), 0).item(), 1);
}

TEST(ElementwiseValues, ChoicesTakeTheRightElementAndKeepNaN) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(abs(Tensor<double>{-2, 0, 3}).value(), (Array<double>{2, 0, 3}));
  EXPECT_FALSE(std::signbit(abs(Tensor<double>(-0.0)).item()));
  EXPECT_EQ(maximum(Tensor<double>{1, 5}, Tensor<double>{2, 4}).value(), (Array<double>{2, 5}));
  EXPECT_EQ(minimum(Tensor<double>{1, 5}, Tensor<double>{2, 4}).value(), (Array<double>{1, 4}));
  for (const auto& [x, y] : {std::pair{nan, 1.0}, {1.0, nan}}) {
    EXPECT_TRUE(std::isnan(maximum(Tensor<double>(x), y).item()));
    EXPECT_TRUE(std::isnan(minimum(Tensor<double>(x), y).item()));
  }
  EXPECT_EQ(clamp(Tensor<double>{-3, 0.5, 9}, -1, 1).value(), (Array<double>{-1, 0.5, 1}));
  EXPECT_TRUE(std::isnan(clamp(Tensor<double>(nan), -1, 1).item()));
  EXPECT_EQ(leaky_relu(Tensor<double>{-3, 2}, 0.1).value(), (Array<double>{-3 * 0.1, 2}));
  EXPECT_THROW(clamp(Tensor<double>(0), 1, -1), std::invalid_argument);
}

// --- Kinks: what finite differences cannot see

double derivative(const std::function<Tensor<double>(const Tensor<double>&)>& f, double at) {
  Tensor<double> x(at);
  x.requires_grad(true);
  return grad(f(x), {x})[0].item();
}

TEST(Kinks, HaveTheDerivativesOfTheTable) {
  EXPECT_EQ(derivative([](const auto& x) { return abs(x); }, 0), 0);
  EXPECT_EQ(derivative([](const auto& x) { return leaky_relu(x, 0.1); }, 0), 0.1);
  EXPECT_EQ(derivative([](const auto& x) { return clamp(x, -1, 1); }, 1), 1);
  EXPECT_EQ(derivative([](const auto& x) { return clamp(x, -1, 1); }, -1), 1);
  EXPECT_EQ(derivative([](const auto& x) { return maximum(x, 2); }, 2), 0.5);
  EXPECT_EQ(derivative([](const auto& x) { return minimum(x, 2); }, 2), 0.5);
  EXPECT_EQ(derivative([](const auto& x) { return pow(x, 0); }, 0), 0);
}

TEST(Kinks, ThePowerOfZeroHasNoNaNInTheGradientOfItsExponent) {
  Tensor<double> x(0), y(2);
  x.requires_grad(true);
  y.requires_grad(true);
  const std::vector<Tensor<double>> first = grad(pow(x, y), {x, y}, {.create_graph = true});
  EXPECT_EQ(first[0].item(), 0);
  EXPECT_EQ(first[1].item(), 0);
  EXPECT_EQ(grad(first[0] + first[1], {x})[0].item(), 2);  // x^2 has the second derivative 2
}

}  // namespace
}  // namespace xtgrad
