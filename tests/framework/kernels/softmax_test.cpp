// Softmax and cross-entropy of every instruction set against long double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "../numbers.hpp"
#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

template <class T> class SoftmaxKernel : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(SoftmaxKernel, Precisions);

std::vector<std::int64_t> labels(std::size_t N, std::size_t C) {
  std::vector<std::int64_t> y(N);
  for (std::size_t n = 0; n < N; ++n) y[n] = static_cast<std::int64_t>((5 * n + 1) % C);
  return y;
}

// Few classes take another way than many, and rows are taken by the register.
TYPED_TEST(SoftmaxKernel, AgreesWithTheDefinitionForFewAndForManyClasses) {
  using T = TypeParam;
  const auto epsilon = static_cast<long double>(std::numeric_limits<T>::epsilon());
  for (const auto& table : test::instruction_sets<T>())
    for (const std::size_t N : {1U, 7U, 8U, 16U, 17U, 40U})
      for (const std::size_t C : {1U, 2U, 10U, 32U, 33U, 50U})
        for (const double mean : {0.0, 500.0}) {
          SCOPED_TRACE(std::string(table.instruction_set) + ": " + std::to_string(N) + " x " + std::to_string(C));
          const auto x = test::normal<T>(mean, 3, N * C, N + C);
          const auto y = labels(N, C);
          std::vector<T> p(N * C + 1, 77);
          const double loss =
              table.softmax_cross_entropy(static_cast<long>(N), static_cast<long>(C), x.data(), y.data(), p.data());
          long double expected = 0;
          for (std::size_t n = 0; n < N; ++n) {
            long double sum = 0;
            const auto at = [&](std::size_t c) { return static_cast<long double>(x[n * C + c]); };
            for (std::size_t c = 0; c < C; ++c) sum += std::exp(at(c) - at(0));
            for (std::size_t c = 0; c < C; ++c) {
              const long double exact = std::exp(at(c) - at(0)) / sum;
              // The argument of exp is rounded where it is far from 0.
              ASSERT_LE(std::abs(static_cast<long double>(p[n * C + c]) / exact - 1), 12 * epsilon)
                  << "row " << n << ", class " << c;
            }
            expected += std::log(sum) - (at(static_cast<std::size_t>(y[n])) - at(0));
          }
          EXPECT_LE(std::abs(static_cast<long double>(loss) - expected),
                    4 * epsilon * (static_cast<long double>(N) + expected));
          EXPECT_EQ(p.back(), 77);
        }
}

// The sums under the logarithms of rows are multiplied, up to a limit.
TYPED_TEST(SoftmaxKernel, TheLossOfManyRowsIsNotTheLogarithmOfMoreThanTheLargestDouble) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>())
    for (const std::size_t N : {1000U, 2048U, 20001U})
      for (const std::size_t C : {2U, 32U, 33U}) {
        const std::vector<T> x(N * C, 5);
        std::vector<T> p(N * C);
        const double expected = static_cast<double>(N) * std::log(static_cast<double>(C));
        EXPECT_NEAR(table.softmax_cross_entropy(static_cast<long>(N), static_cast<long>(C), x.data(),
                                                labels(N, C).data(), p.data()),
                    expected, 1e-12 * expected)
            << table.instruction_set << ": " << N << " x " << C;
      }
}

TYPED_TEST(SoftmaxKernel, ARowWithNaNStaysAloneWithIt) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>())
    for (const std::size_t C : {3U, 40U})
      for (const std::size_t at : {std::size_t{0}, std::size_t{1}, C - 1}) {
        auto x = test::normal<T>(0, 1, 20 * C);
        x[4 * C + at] = std::numeric_limits<T>::quiet_NaN();
        std::vector<T> p(20 * C);
        EXPECT_TRUE(std::isnan(
            table.softmax_cross_entropy(20, static_cast<long>(C), x.data(), labels(20, C).data(), p.data())));
        for (std::size_t i = 0; i < p.size(); ++i)
          EXPECT_EQ(std::isnan(p[i]), i / C == 4)
              << table.instruction_set << ": row " << i / C << " of " << C << " classes";
      }
}

}  // namespace
}  // namespace xtgrad
