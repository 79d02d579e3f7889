// The small products of every instruction set against long double.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "../numbers.hpp"
#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

template <class T> class MatmulKernel : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(MatmulKernel, Precisions);

// An error of K roundings of the sum of absolute terms at most, and nothing is written beyond the result.
template <class T> void expect_product(const kernels::Table<T>& table, bool ta, bool tb, long M, long N, long K) {
  const auto size = [](long a, long b) { return static_cast<std::size_t>(a * b); };
  const auto A = test::normal<T>(0, 1, size(M, K), 1), B = test::normal<T>(0, 1, size(K, N), 2);
  std::vector<T> C(size(M, N) + 1, 77);
  table.small_matmul(ta, tb, M, N, K, A.data(), B.data(), C.data());
  for (long i = 0; i < M; ++i)
    for (long j = 0; j < N; ++j) {
      long double sum = 0, terms = 0;
      for (long k = 0; k < K; ++k) {
        const long double term = static_cast<long double>(A[static_cast<std::size_t>(ta ? k * M + i : i * K + k)]) *
                                 static_cast<long double>(B[static_cast<std::size_t>(tb ? j * K + k : k * N + j)]);
        sum += term;
        terms += std::abs(term);
      }
      const long double error = std::abs(static_cast<long double>(C[static_cast<std::size_t>(i * N + j)]) - sum);
      ASSERT_LE(error,
                static_cast<long double>(K) * static_cast<long double>(std::numeric_limits<T>::epsilon()) * terms)
          << table.instruction_set << ": " << M << " x " << N << " x " << K << (ta ? " T" : " N") << (tb ? "T" : "N")
          << " at " << i << ", " << j;
    }
  EXPECT_EQ(C.back(), 77);
}

TYPED_TEST(MatmulKernel, AgreesWithTheDefinitionForEveryTranspositionAndEdge) {
  for (const auto& table : test::instruction_sets<TypeParam>())
    for (const bool ta : {false, true})
      for (const bool tb : {false, true})
        for (const long M : {1, 2, 3, 4, 5, 6, 7, 8, 9})
          for (const long N :
               {1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 48, 49, 64, 67})
            for (const long K : {1, 2, 3, 4, 5, 8, 19}) expect_product(table, ta, tb, M, N, K);
}

TYPED_TEST(MatmulKernel, SumsAsManyProductsAsItSays) {
  for (const auto& table : test::instruction_sets<TypeParam>())
    for (const bool tb : {false, true}) expect_product(table, false, tb, 5, 67, kernels::kSmallDepth);
}

// What one row is multiplied with does not depend on how many rows there are, nor on how B lies in memory.
TYPED_TEST(MatmulKernel, HasTheSameBitsInEveryTile) {
  constexpr long M = 7, N = 67, K = 19;
  const auto A = test::normal<TypeParam>(0, 1, M * K, 1), B = test::normal<TypeParam>(0, 1, K * N, 2);
  std::vector<TypeParam> transposed(B.size());
  for (std::size_t k = 0; k < K; ++k)
    for (std::size_t n = 0; n < N; ++n) transposed[n * K + k] = B[k * N + n];
  for (const auto& table : test::instruction_sets<TypeParam>()) {
    std::vector<TypeParam> together(M * N), row(N), column(M);
    table.small_matmul(false, false, M, N, K, A.data(), B.data(), together.data());
    for (std::size_t i = 0; i < M; ++i) {
      table.small_matmul(false, true, 1, N, K, A.data() + i * K, transposed.data(), row.data());
      EXPECT_TRUE(std::equal(row.begin(), row.end(), together.begin() + static_cast<long>(i * N)))
          << table.instruction_set << ", row " << i;
    }
    for (std::size_t n = 0; n < N; ++n) {
      table.small_matmul(false, true, M, 1, K, A.data(), transposed.data() + n * K, column.data());
      for (std::size_t i = 0; i < M; ++i) EXPECT_EQ(column[i], together[i * N + n]) << table.instruction_set << n;
    }
  }
}

}  // namespace
}  // namespace xtgrad
