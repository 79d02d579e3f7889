// The products of every instruction set against long double.
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

// With room for copies of A where the kernel asks for it.
template <class T>
void multiply(const kernels::Table<T>& table, bool ta, bool tb, long M, long N, long K, const T* A, long lda,
              const T* B, long ldb, const T* bias, T* C, long ldc) {
  std::vector<T> copies(static_cast<std::size_t>(table.matmul_copies(ta, M, K)));
  table.matmul(ta, tb, M, N, K, A, lda, B, ldb, bias, C, ldc, copies.empty() ? nullptr : copies.data());
}

// An error of K roundings of the sum of absolute terms at most, and what lies between the rows of the result stays. Rows
// lie `gap` elements farther apart than they are long.
template <class T>
void expect_product(const kernels::Table<T>& table, bool ta, bool tb, long M, long N, long K, long gap = 0) {
  const auto size = [](long a, long b) { return static_cast<std::size_t>(a * b); };
  const long lda = (ta ? M : K) + gap, ldb = (tb ? K : N) + gap, ldc = N + gap;
  const auto A = test::normal<T>(0, 1, size(ta ? K : M, lda), 1), B = test::normal<T>(0, 1, size(tb ? N : K, ldb), 2);
  const auto bias = test::normal<T>(0, 1, static_cast<std::size_t>(N), 3);
  const bool biased = K % 3 != 0;
  std::vector<T> C(size(M, ldc) + 1, 77);
  multiply(table, ta, tb, M, N, K, A.data(), lda, B.data(), ldb, biased ? bias.data() : nullptr, C.data(), ldc);
  for (long i = 0; i < M; ++i) {
    for (long j = 0; j < N; ++j) {
      long double sum = biased ? static_cast<long double>(bias[static_cast<std::size_t>(j)]) : 0, terms = std::abs(sum);
      for (long k = 0; k < K; ++k) {
        const long double term = static_cast<long double>(A[static_cast<std::size_t>(ta ? k * lda + i : i * lda + k)]) *
                                 static_cast<long double>(B[static_cast<std::size_t>(tb ? j * ldb + k : k * ldb + j)]);
        sum += term;
        terms += std::abs(term);
      }
      const long double error = std::abs(static_cast<long double>(C[static_cast<std::size_t>(i * ldc + j)]) - sum);
      ASSERT_LE(error,
                static_cast<long double>(K + 1) * static_cast<long double>(std::numeric_limits<T>::epsilon()) * terms)
          << table.instruction_set << ": " << M << " x " << N << " x " << K << (ta ? " T" : " N") << (tb ? "T" : "N")
          << " at " << i << ", " << j;
    }
    for (long j = N; j < ldc; ++j) ASSERT_EQ(C[static_cast<std::size_t>(i * ldc + j)], 77);
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

TYPED_TEST(MatmulKernel, AgreesWithTheDefinitionWhereRowsLieApart) {
  for (const auto& table : test::instruction_sets<TypeParam>())
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        expect_product(table, ta, tb, 9, 67, 5, 3);
        expect_product(table, ta, tb, 210, 21, 5, 3);
        expect_product(table, ta, tb, 210, 3, 5, 3);
      }
}

// Sums and rows of more than one block, and as many rows and elements as copies of A and B are worth.
TYPED_TEST(MatmulKernel, AgreesWithTheDefinitionBeyondItsBlocks) {
  for (const auto& table : test::instruction_sets<TypeParam>())
    for (const bool ta : {false, true})
      for (const bool tb : {false, true}) {
        for (const long K : {511, 512, 513, 1100}) expect_product(table, ta, tb, 5, 67, K);
        for (const long M : {199, 200, 512, 513, 1030}) expect_product(table, ta, tb, M, 19, 3);
        for (const long M : {527, 528, 529, 1100}) expect_product(table, ta, tb, M, 1, 514, 2);
        for (const long M : {15, 16, 127, 128, 129, 257}) expect_product(table, ta, tb, M, 67, 130, 3);
        expect_product(table, ta, tb, 131, 9, 515, 3);
      }
}

// What one row is multiplied with does not depend on how many rows there are, nor on how A and B lie in memory.
TYPED_TEST(MatmulKernel, HasTheSameBitsInEveryTile) {
  constexpr long M = 211, N = 67, K = 530;
  const auto A = test::normal<TypeParam>(0, 1, M * K, 1), B = test::normal<TypeParam>(0, 1, K * N, 2);
  std::vector<TypeParam> transposed(B.size()), transposed_a(A.size());
  for (std::size_t k = 0; k < K; ++k) {
    for (std::size_t n = 0; n < N; ++n) transposed[n * K + k] = B[k * N + n];
    for (std::size_t m = 0; m < M; ++m) transposed_a[k * M + m] = A[m * K + k];
  }
  for (const auto& table : test::instruction_sets<TypeParam>()) {
    std::vector<TypeParam> together(M * N), row(N), column(M);
    multiply<TypeParam>(table, false, false, M, N, K, A.data(), K, B.data(), N, nullptr, together.data(), N);
    for (std::size_t i = 0; i < M; ++i) {
      multiply<TypeParam>(table, false, true, 1, N, K, A.data() + i * K, K, transposed.data(), K, nullptr, row.data(),
                          N);
      EXPECT_TRUE(std::equal(row.begin(), row.end(), together.begin() + static_cast<long>(i * N)))
          << table.instruction_set << ", row " << i;
    }
    for (std::size_t n = 0; n < N; ++n) {
      multiply<TypeParam>(table, false, true, M, 1, K, A.data(), K, transposed.data() + n * K, K, nullptr,
                          column.data(), 1);
      for (std::size_t i = 0; i < M; ++i) ASSERT_EQ(column[i], together[i * N + n]) << table.instruction_set << n;
      multiply<TypeParam>(table, true, false, M, 1, K, transposed_a.data(), M, B.data() + n, N, nullptr, column.data(),
                          1);
      for (std::size_t i = 0; i < M; ++i) ASSERT_EQ(column[i], together[i * N + n]) << table.instruction_set << n;
    }
    std::vector<TypeParam> of_transpose(M * N);
    multiply<TypeParam>(table, true, false, M, N, K, transposed_a.data(), M, B.data(), N, nullptr, of_transpose.data(),
                        N);
    EXPECT_EQ(of_transpose, together) << table.instruction_set;
    table.matmul(true, false, M, N, K, transposed_a.data(), M, B.data(), N, nullptr, of_transpose.data(), N, nullptr);
    EXPECT_EQ(of_transpose, together) << table.instruction_set << " without copies";
  }
}

}  // namespace
}  // namespace xtgrad
