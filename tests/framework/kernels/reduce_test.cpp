// Sums and additions of every instruction set.
#include <gtest/gtest.h>

#include "../numbers.hpp"
#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

using test::Quad;

// Partial sums of doubles: what rounding may cost, of the sum of absolute terms.
constexpr double kSumError = 1e-14;

template <class T> class Reduce : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Reduce, Precisions);

TYPED_TEST(Reduce, SumsOverTheMiddleAxis) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>())
    for (const long outer : {1, 2, 3})
      for (const long reduced : {0, 1, 2, 7, 8, 9, 33, 1000})
        for (const long inner : {1, 2, 7, 8, 15, 16, 17, 33, 64, 91}) {
          const auto x = test::normal<T>(1e3, 1, static_cast<std::size_t>(outer * reduced * inner));
          std::vector<double> sums(static_cast<std::size_t>(outer * inner), -1);
          table.sum(outer, reduced, inner, x.data(), sums.data());
          for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
              Quad sum = 0, size = 0;
              for (long r = 0; r < reduced; ++r) {
                const auto term = static_cast<Quad>(x[static_cast<std::size_t>((o * reduced + r) * inner + i)]);
                sum += term;
                size += test::absolute(term);
              }
              const Quad error = test::absolute(static_cast<Quad>(sums[static_cast<std::size_t>(o * inner + i)]) - sum);
              ASSERT_LE(static_cast<double>(error), kSumError * static_cast<double>(size))
                  << table.instruction_set << ": " << outer << ", " << reduced << ", " << inner;
            }
        }
}

TYPED_TEST(Reduce, SumsThatCancelKeepWhatDoubleKeeps) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>()) {
    std::vector<T> x(20, 0);
    x[0] = T(1e7);
    x[9] = T(1);
    x[18] = T(-1e7);
    double sum = 0;
    table.sum(1, 20, 1, x.data(), &sum);
    EXPECT_EQ(sum, 1);
  }
}

TEST(ReduceInFloat, DoesNotStopAtTwoToThe24) {
  constexpr long kCount = (1 << 24) + 5;
  const std::vector<float> x(kCount, 1);
  for (const auto& table : test::instruction_sets<float>()) {
    double sum = 0;
    table.sum(1, kCount, 1, x.data(), &sum);
    EXPECT_EQ(sum, kCount) << table.instruction_set;
    double columns[2];
    table.sum(1, kCount / 2, 2, x.data(), columns);
    EXPECT_EQ(columns[0] + columns[1], 2 * (kCount / 2)) << table.instruction_set;
  }
}

TYPED_TEST(Reduce, AddToAddsAndWritesNothingElse) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>())
    for (std::size_t n = 0; n <= 70; ++n) {
      const auto x = test::normal<T>(0, 1, n, 1), before = test::normal<T>(0, 1, n + 1, 2);
      std::vector<T> z = before;
      table.add_to(static_cast<long>(n), x.data(), z.data());
      for (std::size_t i = 0; i < n; ++i) ASSERT_EQ(z[i], before[i] + x[i]) << n;
      ASSERT_EQ(z[n], before[n]) << n;
    }
}

}  // namespace
}  // namespace xtgrad
