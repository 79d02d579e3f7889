#include "xtgrad/blas.hpp"

#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "support.hpp"
#include "xtgrad/parallel.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using blas::Op;

// Expects gemm to agree with the definition: an error of K roundings of the sum of absolute terms at most.
template <class T> void expect_product(Op a, Op b, long M, long N, long K) {
  Generator generator(static_cast<std::uint64_t>(M * 10007 + N * 101 + K));
  const auto draw = [&](long size) {
    std::vector<T> x(static_cast<std::size_t>(size));
    for (T& value : x) value = static_cast<T>(generator.normal());
    return x;
  };
  const std::vector<T> A = draw(M * K), B = draw(K * N);
  std::vector<T> C = draw(M * N);  // what was there before does not count
  const std::vector<T> bias = draw(N);
  const bool biased = K % 3 != 0;
  blas::gemm(a, b, M, N, K, A.data(), B.data(), C.data(), biased ? bias.data() : nullptr);
  for (long i = 0; i < M; ++i)
    for (long j = 0; j < N; ++j) {
      const auto at = static_cast<std::size_t>(i * N + j);
      long double sum = biased ? static_cast<long double>(bias[static_cast<std::size_t>(j)]) : 0, size = std::abs(sum);
      for (long k = 0; k < K; ++k) {
        const auto left = static_cast<long double>(A[static_cast<std::size_t>(a == Op::plain ? i * K + k : k * M + i)]);
        const auto right =
            static_cast<long double>(B[static_cast<std::size_t>(b == Op::plain ? k * N + j : j * K + k)]);
        sum += left * right;
        size += std::abs(left * right);
      }
      const auto error = std::abs(static_cast<long double>(C[at]) - sum);
      ASSERT_LE(error,
                static_cast<long double>(std::numeric_limits<T>::epsilon()) * static_cast<long double>(K + 2) * size)
          << M << " x " << N << " x " << K << " at " << i << ", " << j;
    }
}

template <class T> class Gemm : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Gemm, Precisions);

TYPED_TEST(Gemm, AgreesWithTheDefinitionForEveryTranspositionAndSize) {
  for (const Op a : {Op::plain, Op::transposed})
    for (const Op b : {Op::plain, Op::transposed})
      for (const long M : {1, 2, 5, 17, 40})
        for (const long N : {1, 3, 7, 8, 16, 45})
          for (const long K : {1, 4, 33}) expect_product<TypeParam>(a, b, M, N, K);
}

// OpenBLAS takes few rows, for which the kernel would copy all of B.
TYPED_TEST(Gemm, AgreesWithTheDefinitionOnBothSidesOfTheKernelsLimits) {
  for (const Op a : {Op::plain, Op::transposed})
    for (const Op b : {Op::plain, Op::transposed})
      for (const long M : {1, 2, 7, 8, 9})
        for (const long N : {63, 64, 65})
          for (const long K : {64, 257}) expect_product<TypeParam>(a, b, M, N, K);
}

TYPED_TEST(Gemm, AgreesWithTheDefinitionWhereItIsSplitIntoPieces) {
  for (const Op a : {Op::plain, Op::transposed})
    for (const Op b : {Op::plain, Op::transposed}) {
      expect_product<TypeParam>(a, b, 290, 190, 185);
      expect_product<TypeParam>(a, b, 190, 290, 185);
      expect_product<TypeParam>(a, b, 4, 900, 600);
      expect_product<TypeParam>(a, b, 400, 3, 170);
    }
}

TYPED_TEST(Gemm, OfAnEmptySumIsZerosOrTheBias) {
  std::vector<TypeParam> C(6, 7);
  blas::gemm<TypeParam>(Op::plain, Op::plain, 2, 3, 0, nullptr, nullptr, C.data());
  EXPECT_EQ(C, std::vector<TypeParam>(6, 0));
  const std::vector<TypeParam> bias{1, 2, 3};
  blas::gemm<TypeParam>(Op::plain, Op::plain, 2, 3, 0, nullptr, nullptr, C.data(), bias.data());
  EXPECT_EQ(C, (std::vector<TypeParam>{1, 2, 3, 1, 2, 3}));
}

TYPED_TEST(Gemm, OfAnEmptyResultDoesNothing) {
  blas::gemm<TypeParam>(Op::plain, Op::plain, 0, 3, 2, nullptr, nullptr, nullptr);
  blas::gemm<TypeParam>(Op::transposed, Op::plain, 2, 0, 2, nullptr, nullptr, nullptr);
}

TYPED_TEST(Gemm, DoesNotReadAResultThatItOnlyWrites) {
  const std::vector<TypeParam> A{1, 2}, B{3, 4};
  std::vector<TypeParam> C{std::numeric_limits<TypeParam>::quiet_NaN()};
  blas::gemm<TypeParam>(Op::plain, Op::plain, 1, 1, 2, A.data(), B.data(), C.data());
  EXPECT_EQ(C[0], 11);
}

TYPED_TEST(Gemm, LetsNaNThrough) {
  std::vector<TypeParam> A(16, 0), B(16, 0), C(16, 0);
  A[0] = std::numeric_limits<TypeParam>::quiet_NaN();
  blas::gemm<TypeParam>(Op::plain, Op::plain, 4, 4, 4, A.data(), B.data(), C.data());
  for (std::size_t j = 0; j < 4; ++j) EXPECT_TRUE(std::isnan(C[j]));
  EXPECT_EQ(C[4], 0);
}

TYPED_TEST(Gemm, HasTheSameBitsForEveryNumberOfThreads) {
  for (const auto& [M, N, K] : {std::array{300L, 250L, 170L}, {250L, 300L, 170L}, {4L, 900L, 600L}}) {
    Generator generator(1);
    const auto A = generator.normal<TypeParam>({static_cast<std::size_t>(M * K)}),
               B = generator.normal<TypeParam>({static_cast<std::size_t>(K * N)});
    std::vector<TypeParam> serial;
    for (const int threads : {1, 2, 4}) {
      set_num_threads(threads);
      std::vector<TypeParam> C(static_cast<std::size_t>(M * N));
      blas::gemm<TypeParam>(Op::plain, Op::transposed, M, N, K, A.data(), B.data(), C.data());
      if (serial.empty()) serial = C;
      EXPECT_EQ(C, serial) << threads;
    }
  }
  set_num_threads(1);
}

}  // namespace
}  // namespace xtgrad
