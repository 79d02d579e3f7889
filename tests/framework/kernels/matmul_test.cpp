// The small products of every instruction set against long double.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

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
        for (const long M : {1, 3, 4, 5, 8})
          for (const long N : {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 50})
            for (const long K : {1, 2, 19}) expect_product(table, ta, tb, M, N, K);
}

TYPED_TEST(MatmulKernel, TransposesAsManyElementsAsItSays) {
  for (const auto& table : test::instruction_sets<TypeParam>())
    expect_product(table, false, true, 3, kernels::kSmallMatrix / 16, 16);
}

}  // namespace
}  // namespace xtgrad
