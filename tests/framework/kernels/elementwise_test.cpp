// Elementwise kernels of every instruction set against long double.
#include <gtest/gtest.h>
#include <array>

#include "../numbers.hpp"
#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

using namespace formulas;
using test::same_bits;
using test::ulps;

// The largest errors that are allowed, in units in the last place. Arithmetic is correctly rounded.
constexpr double kRounded = 0.5;
constexpr double kExp = 2;
constexpr double kLog = 2;
constexpr double kTanh = 3;
constexpr double kSigmoid = 3;

template <class Op> constexpr int index = Kernels::index<Op>();

template <class T> class Elementwise : public testing::Test {
 protected:
  /// Calls f(table) for each instruction set, saying which where something fails.
  template <class F> static void for_each_set(F f) {
    for (const kernels::Table<T>& table : test::instruction_sets<T>()) {
      SCOPED_TRACE(table.instruction_set);
      f(table);
    }
  }

  static std::vector<T> value(const kernels::Elementwise<T>& op, std::vector<std::vector<T>> in) {
    std::vector<const T*> at;
    std::vector<long> step(in.size(), 1);
    for (const auto& x : in) at.push_back(x.data());
    std::vector<T> z(in[0].size());
    op.value(static_cast<long>(z.size()), at.data(), step.data(), z.data());
    return z;
  }

  static std::vector<T> vjp(const kernels::Elementwise<T>& op, std::size_t i, const std::vector<T>& dz,
                            const std::vector<T>& z, std::vector<std::vector<T>> in) {
    std::vector<const T*> at;
    std::vector<long> step(in.size(), 1);
    for (const auto& x : in) at.push_back(x.data());
    std::vector<T> d(dz.size());
    op.vjp[i](static_cast<long>(d.size()), dz.data(), z.data(), at.data(), step.data(), d.data());
    return d;
  }

  /// Expects f, in long double, of every x to within `bound`.
  template <class F> static void expect_values(int op, const std::vector<T>& x, F f, double bound) {
    for_each_set([&](const kernels::Table<T>& table) {
      const std::vector<T> z = value(table.elementwise[op], {x});
      for (std::size_t i = 0; i < x.size(); ++i)
        ASSERT_LE(ulps(z[i], f(static_cast<long double>(x[i]))), bound) << x[i] << " -> " << z[i];
    });
  }
};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Elementwise, Precisions);

template <class T> std::vector<T> joined(std::initializer_list<std::vector<T>> parts) {
  std::vector<T> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

/// Edge values, values around 1, and values of every magnitude.
template <class T> std::vector<T> unary_inputs() {
  std::vector<T> magnitudes;
  std::mt19937_64 engine(7);
  using Limits = std::numeric_limits<T>;
  for (int e = Limits::min_exponent - Limits::digits; e < Limits::max_exponent; ++e)
    for (const T sign : {T(1), T(-1)})
      magnitudes.push_back(std::ldexp(sign * static_cast<T>(1 + static_cast<double>(engine() >> 11) * 0x1p-53), e));
  return joined({test::edge_values<T>(), test::between<T>(-5, 5, 20000), magnitudes});
}

/// Around the places where e^x leaves the range of T and where it becomes subnormal.
template <class T> std::vector<T> exp_inputs() {
  std::vector<T> ends = sizeof(T) == 4
                            ? joined({test::between<T>(-104.5, -87, 3000), test::between<T>(87.5, 89, 3000)})
                            : joined({test::between<T>(-746, -707, 3000), test::between<T>(708.5, 710.5, 3000)});
  for (const double x : {88.3762626647949, 88.4, 88.72, 88.722839, 88.8, -87.0, -87.3365, -87.4, -103.97, -104.0, 709.0,
                         709.78, 709.782712893384, 709.79, 710.0, -708.0, -708.3964, -745.1, -745.2})
    ends.push_back(static_cast<T>(x));
  return joined({unary_inputs<T>(), test::between<T>(-100, 100, 5000), ends});
}

/// Pairs of edge values, and pairs of ordinary ones.
template <class T> std::pair<std::vector<T>, std::vector<T>> binary_inputs() {
  std::vector<T> x = test::normal<T>(0, 3, 3000, 1), y = test::normal<T>(0, 3, 3000, 2);
  for (const T a : test::edge_values<T>())
    for (const T b : test::edge_values<T>()) {
      x.push_back(a);
      y.push_back(b);
    }
  return {x, y};
}

// --- Values

TYPED_TEST(Elementwise, NegFlipsTheSign) {
  const auto x = unary_inputs<TypeParam>();
  this->for_each_set([&](const auto& table) {
    const auto z = this->value(table.elementwise[index<Neg>], {x});
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(same_bits(z[i], -x[i])) << x[i];
  });
}

TYPED_TEST(Elementwise, ExpIsAccurateOverTheWholeRange) {
  this->expect_values(
      index<Exp>, exp_inputs<TypeParam>(), [](long double x) { return std::exp(x); }, kExp);
}

TYPED_TEST(Elementwise, LogIsAccurateOverTheWholeRange) {
  this->expect_values(
      index<Log>, unary_inputs<TypeParam>(), [](long double x) { return std::log(x); }, kLog);
}

TYPED_TEST(Elementwise, LogIsAccurateNearOne) {
  this->expect_values(
      index<Log>, test::between<TypeParam>(0.7, 1.4, 20000), [](long double x) { return std::log(x); }, kLog);
}

TYPED_TEST(Elementwise, LogOfZeroAndBelow) {
  constexpr TypeParam kInf = std::numeric_limits<TypeParam>::infinity();
  this->for_each_set([&](const auto& table) {
    const auto z = this->value(table.elementwise[index<Log>], {{0, TypeParam(-0.0), -1, -kInf, kInf}});
    EXPECT_EQ(z[0], -kInf);
    EXPECT_EQ(z[1], -kInf);
    EXPECT_TRUE(std::isnan(z[2]));
    EXPECT_TRUE(std::isnan(z[3]));
    EXPECT_EQ(z[4], kInf);
  });
}

TYPED_TEST(Elementwise, SqrtIsCorrectlyRounded) {
  const auto x = unary_inputs<TypeParam>();
  this->for_each_set([&](const auto& table) {
    const auto z = this->value(table.elementwise[index<Sqrt>], {x});
    for (std::size_t i = 0; i < x.size(); ++i) ASSERT_TRUE(same_bits(z[i], std::sqrt(x[i]))) << x[i];
  });
}

TYPED_TEST(Elementwise, ReluIsTheLargerOfXAndZeroAndKeepsNaN) {
  const auto x = unary_inputs<TypeParam>();
  this->for_each_set([&](const auto& table) {
    const auto z = this->value(table.elementwise[index<Relu>], {x});
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (std::isnan(x[i]))
        ASSERT_TRUE(std::isnan(z[i]));
      else
        ASSERT_EQ(z[i], x[i] > 0 ? x[i] : 0) << x[i];
    }
  });
}

TYPED_TEST(Elementwise, TanhIsAccurateOverTheWholeRange) {
  this->expect_values(
      index<Tanh>, unary_inputs<TypeParam>(), [](long double x) { return std::tanh(x); }, kTanh);
}

TYPED_TEST(Elementwise, TanhNeverLeavesItsRange) {
  const auto x = joined({test::between<TypeParam>(-25, 25, 20000), test::edge_values<TypeParam>()});
  this->for_each_set([&](const auto& table) {
    const auto z = this->value(table.elementwise[index<Tanh>], {x});
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_TRUE(std::isnan(x[i]) || std::abs(z[i]) <= 1) << x[i] << " -> " << z[i];
  });
}

TYPED_TEST(Elementwise, SigmoidIsAccurateWhereItsResultIsNormal) {
  // Below, e^-x is infinite before 1 / e^-x is zero; the next test bounds what is lost there.
  std::vector<TypeParam> x;
  for (const TypeParam value : exp_inputs<TypeParam>())
    if (!(value < (sizeof(TypeParam) == 4 ? TypeParam(-87.3) : TypeParam(-708.3)))) x.push_back(value);
  this->expect_values(
      index<Sigmoid>, x, [](long double v) { return 1 / (1 + std::exp(-v)); }, kSigmoid);
}

TYPED_TEST(Elementwise, SigmoidOfVeryNegativeNumbersIsNearlyZero) {
  std::vector<TypeParam> x;
  for (const TypeParam value : exp_inputs<TypeParam>())
    if (value < (sizeof(TypeParam) == 4 ? TypeParam(-87.3) : TypeParam(-708.3))) x.push_back(value);
  this->for_each_set([&](const auto& table) {
    for (const TypeParam z : this->value(table.elementwise[index<Sigmoid>], {x})) {
      ASSERT_GE(z, 0);
      ASSERT_LE(z, std::numeric_limits<TypeParam>::min() * TypeParam(1.1));
    }
  });
}

TYPED_TEST(Elementwise, ArithmeticIsCorrectlyRounded) {
  const auto [x, y] = binary_inputs<TypeParam>();
  this->for_each_set([&, &x = x, &y = y](const auto& table) {
    const auto sum = this->value(table.elementwise[index<Add>], {x, y});
    const auto difference = this->value(table.elementwise[index<Sub>], {x, y});
    const auto product = this->value(table.elementwise[index<Mul>], {x, y});
    const auto quotient = this->value(table.elementwise[index<Div>], {x, y});
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_TRUE(same_bits(sum[i], x[i] + y[i])) << x[i] << " + " << y[i];
      ASSERT_TRUE(same_bits(difference[i], x[i] - y[i])) << x[i] << " - " << y[i];
      ASSERT_TRUE(same_bits(product[i], x[i] * y[i])) << x[i] << " * " << y[i];
      ASSERT_TRUE(same_bits(quotient[i], x[i] / y[i])) << x[i] << " / " << y[i];
    }
  });
}

TYPED_TEST(Elementwise, GreaterIsOneOrZeroAndFalseForNaN) {
  const auto [x, y] = binary_inputs<TypeParam>();
  this->for_each_set([&, &x = x, &y = y](const auto& table) {
    const auto z = this->value(table.elementwise[index<Greater>], {x, y});
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_TRUE(same_bits(z[i], TypeParam(x[i] > y[i] ? 1 : 0))) << x[i] << " > " << y[i];
  });
}

TYPED_TEST(Elementwise, WhereTakesTheFirstUnlessTheConditionIsZero) {
  const auto [x, y] = binary_inputs<TypeParam>();
  std::vector<TypeParam> condition = test::edge_values<TypeParam>();
  while (condition.size() < x.size()) condition.push_back(condition[condition.size() - 29]);
  this->for_each_set([&, &x = x, &y = y](const auto& table) {
    const auto z = this->value(table.elementwise[index<Where>], {condition, x, y});
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_TRUE(same_bits(z[i], condition[i] != 0 ? x[i] : y[i])) << condition[i];
  });
}

// --- Derivatives: of dz, z and x as they are given, which need not belong together

TYPED_TEST(Elementwise, VjpsThatAreOneOperationAreCorrectlyRounded) {
  const auto [dz, x] = binary_inputs<TypeParam>();
  this->for_each_set([&, &dz = dz, &x = x](const auto& table) {
    const auto of_exp = this->vjp(table.elementwise[index<Exp>], 0, dz, x, {dz});
    const auto of_log = this->vjp(table.elementwise[index<Log>], 0, dz, dz, {x});
    const auto of_mul_0 = this->vjp(table.elementwise[index<Mul>], 0, dz, dz, {dz, x});
    const auto of_mul_1 = this->vjp(table.elementwise[index<Mul>], 1, dz, dz, {x, dz});
    const auto of_div_0 = this->vjp(table.elementwise[index<Div>], 0, dz, dz, {dz, x});
    for (std::size_t i = 0; i < x.size(); ++i) {
      ASSERT_TRUE(same_bits(of_exp[i], dz[i] * x[i])) << dz[i] << ", " << x[i];
      ASSERT_TRUE(same_bits(of_log[i], dz[i] / x[i])) << dz[i] << ", " << x[i];
      ASSERT_TRUE(same_bits(of_mul_0[i], dz[i] * x[i])) << dz[i] << ", " << x[i];
      ASSERT_TRUE(same_bits(of_mul_1[i], dz[i] * x[i])) << dz[i] << ", " << x[i];
      ASSERT_TRUE(same_bits(of_div_0[i], dz[i] / x[i])) << dz[i] << ", " << x[i];
    }
  });
}

TYPED_TEST(Elementwise, SqrtVjpIsDzOverTwiceZ) {
  const auto dz = test::normal<TypeParam>(0, 1, 2000, 1), z = test::between<TypeParam>(0, 10, 2000);
  this->for_each_set([&](const auto& table) {
    const auto d = this->vjp(table.elementwise[index<Sqrt>], 0, dz, z, {dz});
    for (std::size_t i = 0; i < z.size(); ++i)
      ASSERT_LE(ulps(d[i], static_cast<long double>(dz[i]) / (2 * static_cast<long double>(z[i]))), kRounded);
    EXPECT_EQ(this->vjp(table.elementwise[index<Sqrt>], 0, {1}, {0}, {{0}})[0],
              std::numeric_limits<TypeParam>::infinity());
  });
}

TYPED_TEST(Elementwise, ReluVjpIsDzWhereZIsPositive) {
  const auto [dz, z] = binary_inputs<TypeParam>();
  this->for_each_set([&, &dz = dz, &z = z](const auto& table) {
    const auto d = this->vjp(table.elementwise[index<Relu>], 0, dz, z, {dz});
    for (std::size_t i = 0; i < z.size(); ++i)
      ASSERT_TRUE(same_bits(d[i], z[i] > 0 ? dz[i] : 0)) << dz[i] << ", " << z[i];
  });
}

TYPED_TEST(Elementwise, TanhVjpIsDzTimesOneMinusZSquared) {
  constexpr auto kEpsilon = static_cast<long double>(std::numeric_limits<TypeParam>::epsilon());
  // z is rounded itself, by up to epsilon / 2, which leaves 1 - z^2 uncertain by epsilon: what is within that is right.
  const auto dz = test::normal<TypeParam>(0, 1, 20000, 1), z = test::between<TypeParam>(-1, 1, 20000);
  this->for_each_set([&](const auto& table) {
    const auto d = this->vjp(table.elementwise[index<Tanh>], 0, dz, z, {dz});
    for (std::size_t i = 0; i < z.size(); ++i) {
      const auto Z = static_cast<long double>(z[i]), D = static_cast<long double>(dz[i]);
      const long double error = std::abs(static_cast<long double>(d[i]) - D * (1 - Z * Z));
      ASSERT_LE(error, kEpsilon * std::abs(D)) << dz[i] << ", " << z[i];
    }
    EXPECT_EQ(this->vjp(table.elementwise[index<Tanh>], 0, {1, 1}, {1, -1}, {{9, -9}}), (std::vector<TypeParam>{0, 0}));
  });
}

TYPED_TEST(Elementwise, SigmoidVjpIsDzTimesZTimesOneMinusZ) {
  const auto dz = test::normal<TypeParam>(0, 1, 20000, 1), z = test::between<TypeParam>(0, 1, 20000);
  this->for_each_set([&](const auto& table) {
    const auto d = this->vjp(table.elementwise[index<Sigmoid>], 0, dz, z, {dz});
    for (std::size_t i = 0; i < z.size(); ++i) {
      const auto Z = static_cast<long double>(z[i]), D = static_cast<long double>(dz[i]);
      ASSERT_LE(ulps(d[i], D * Z * (1 - Z)), 4 * kRounded) << dz[i] << ", " << z[i];
    }
  });
}

TYPED_TEST(Elementwise, DivVjpOfTheDivisorIsMinusDzTimesZOverY) {
  const auto dz = test::normal<TypeParam>(0, 1, 2000, 1), z = test::normal<TypeParam>(0, 1, 2000, 2),
             y = test::between<TypeParam>(0.1, 10, 2000);
  this->for_each_set([&](const auto& table) {
    const auto d = this->vjp(table.elementwise[index<Div>], 1, dz, z, {dz, y});
    for (std::size_t i = 0; i < z.size(); ++i)
      ASSERT_LE(ulps(d[i], -static_cast<long double>(dz[i]) * static_cast<long double>(z[i]) /
                               static_cast<long double>(y[i])),
                3 * kRounded);
  });
}

TYPED_TEST(Elementwise, WhereVjpsLeaveNothingOfTheOtherBranch) {
  const auto [dz, other] = binary_inputs<TypeParam>();
  std::vector<TypeParam> condition(dz.size());
  for (std::size_t i = 0; i < condition.size(); ++i) condition[i] = i % 3 == 0 ? 0 : i % 3 == 1 ? 1 : -2;
  this->for_each_set([&, &dz = dz, &other = other](const auto& table) {
    const auto d1 = this->vjp(table.elementwise[index<Where>], 1, dz, other, {condition, other, other});
    const auto d2 = this->vjp(table.elementwise[index<Where>], 2, dz, other, {condition, other, other});
    for (std::size_t i = 0; i < dz.size(); ++i) {
      ASSERT_TRUE(same_bits(d1[i], condition[i] != 0 ? dz[i] : 0));
      ASSERT_TRUE(same_bits(d2[i], condition[i] != 0 ? 0 : dz[i]));
    }
  });
}

TYPED_TEST(Elementwise, OpsWhoseDerivativeReadsNothingHaveNoKernelForIt) {
  this->for_each_set([&](const auto& table) {
    for (const int op : {index<Neg>, index<Add>, index<Sub>, index<Greater>})
      for (const auto vjp : table.elementwise[op].vjp) EXPECT_EQ(vjp, nullptr);
  });
}

// --- Loops

constexpr long kLongest = 70;
template <class... Ops> constexpr auto arities(List<Ops...>) { return std::array{static_cast<int>(arity<Ops>)...}; }
constexpr auto kArity = arities(Kernels());

/// Inputs for any op: edge values in between ordinary ones. The ends of exp are met by one lane in some registers.
template <class T> std::vector<T> stream(std::uint64_t seed) {
  std::vector<T> x = test::normal<T>(0, 2, kLongest, seed);
  const std::vector<T> edges = joined({test::edge_values<T>(), {T(88.5), T(-88), T(-103), T(709.5), T(-709), T(-744)}});
  for (std::size_t i = seed; i < x.size(); i += 3) x[i] = edges[(i * 7 + seed) % edges.size()];
  return x;
}

TYPED_TEST(Elementwise, AValueHasTheSameBitsAloneInATailAndInTheMiddle) {
  using T = TypeParam;
  this->for_each_set([&](const kernels::Table<T>& table) {
    for (std::size_t op = 0; op < Kernels::size; ++op) {
      const std::vector<std::vector<T>> in{stream<T>(0), stream<T>(1), stream<T>(2)};
      const auto run = [&](long first, long n, int which, std::vector<T>& out) {
        const T* const at[] = {in[0].data() + first, in[1].data() + first, in[2].data() + first};
        const long step[] = {1, 1, 1};
        if (which < 0)
          table.elementwise[op].value(n, at, step, out.data());
        else
          table.elementwise[op].vjp[which](n, in[1].data() + first, in[2].data() + first, at, step, out.data());
      };
      for (int which = -1; which < kArity[op]; ++which) {
        if (which >= 0 && table.elementwise[op].vjp[which] == nullptr) continue;
        std::vector<T> alone(kLongest);
        for (long i = 0; i < kLongest; ++i) {
          std::vector<T> one(1);
          run(i, 1, which, one);
          alone[static_cast<std::size_t>(i)] = one[0];
        }
        for (long n = 0; n <= kLongest; ++n)
          for (long first = 0; first + n <= kLongest; first += 5) {
            constexpr T kCanary = 12345;
            std::vector<T> out(static_cast<std::size_t>(n) + 1, kCanary);
            run(first, n, which, out);
            for (long i = 0; i < n; ++i)
              ASSERT_TRUE(same_bits(out[static_cast<std::size_t>(i)], alone[static_cast<std::size_t>(first + i)]))
                  << "op " << op << ", vjp " << which << ", element " << i << " of " << n;
            ASSERT_EQ(out.back(), kCanary) << "op " << op << ", vjp " << which << " writes past " << n;
          }
      }
    }
  });
}

TYPED_TEST(Elementwise, AStepOfZeroRepeatsTheFirstElement) {
  using T = TypeParam;
  this->for_each_set([&](const kernels::Table<T>& table) {
    for (std::size_t op = 0; op < Kernels::size; ++op)
      for (unsigned repeats = 0; repeats < 8; ++repeats)
        for (const long n : {1, 2, 7, 16, 33, 70}) {
          std::vector<std::vector<T>> in{stream<T>(3), stream<T>(4), stream<T>(5)}, full = in;
          long step[3];
          const T *at[3], *full_at[3];
          const long one[] = {1, 1, 1};
          for (std::size_t k = 0; k < 3; ++k) {
            step[k] = (repeats >> k & 1U) != 0 ? 0 : 1;
            if (step[k] == 0) {
              full[k].assign(kLongest, in[k][0]);
              in[k].resize(1);  // nothing behind the first element may be read
              in[k].shrink_to_fit();
            }
            at[k] = in[k].data();
            full_at[k] = full[k].data();
          }
          const std::vector<T> dz = stream<T>(6), z = stream<T>(7);
          for (int which = -1; which < kArity[op]; ++which) {
            std::vector<T> out(static_cast<std::size_t>(n)), expected = out;
            if (which < 0) {
              table.elementwise[op].value(n, at, step, out.data());
              table.elementwise[op].value(n, full_at, one, expected.data());
            } else if (const auto vjp = table.elementwise[op].vjp[which]; vjp != nullptr) {
              vjp(n, dz.data(), z.data(), at, step, out.data());
              vjp(n, dz.data(), z.data(), full_at, one, expected.data());
            }
            for (std::size_t i = 0; i < out.size(); ++i)
              ASSERT_TRUE(same_bits(out[i], expected[i])) << "op " << op << ", vjp " << which << ", element " << i;
          }
        }
  });
}

}  // namespace
}  // namespace xtgrad
