// Batch-norm kernels of every instruction set against __float128.
//
// In float a result is within one unit in the last place of the exact one, or, where terms cancel, within
// kCancelled of the sum of their absolute values; in double the latter is all that is asked.
#include <gtest/gtest.h>

#include <algorithm>

#include "../numbers.hpp"
#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

using test::absolute;
using test::Quad;

constexpr double kCancelled = 1e-12;
constexpr double kEps = 1e-5;

/// One batch and all that is exactly true of it.
template <class T> struct Batch {
  std::size_t m, C;
  std::vector<T> x, dy, gamma, beta;
  std::vector<Quad> mu, m2, inv_std, sum_dy, sum_dy_xhat, size_dy, size_dy_xhat;

  Batch(std::size_t rows, std::size_t channels, double mean)
      : m(rows),
        C(channels),
        x(test::normal<T>(mean, 1, m * C, m + C)),
        dy(test::normal<T>(0.1, 1, m * C, m + C + 1)),
        gamma(test::normal<T>(1, 0.5, C, 3)),
        beta(test::normal<T>(0, 1, C, 4)) {
    for (auto* row : {&mu, &m2, &inv_std, &sum_dy, &sum_dy_xhat, &size_dy, &size_dy_xhat}) row->assign(C, 0);
    const auto count = static_cast<Quad>(m);
    for (std::size_t c = 0; c < C; ++c) {
      for (std::size_t n = 0; n < m; ++n) mu[c] += static_cast<Quad>(x[n * C + c]);
      mu[c] /= count;
      for (std::size_t n = 0; n < m; ++n) m2[c] += centred(n, c) * centred(n, c);
      inv_std[c] = 1 / test::root(m2[c] / count + static_cast<Quad>(kEps));
      for (std::size_t n = 0; n < m; ++n) {
        const auto d = static_cast<Quad>(dy[n * C + c]);
        sum_dy[c] += d;
        size_dy[c] += absolute(d);
        sum_dy_xhat[c] += d * centred(n, c) * inv_std[c];
        size_dy_xhat[c] += absolute(d * centred(n, c) * inv_std[c]);
      }
    }
  }

  Quad centred(std::size_t n, std::size_t c) const { return static_cast<Quad>(x[n * C + c]) - mu[c]; }
};

kernels::Extent whole(std::integral auto m, std::integral auto C) {
  return {static_cast<long>(m), static_cast<long>(C), 0, static_cast<long>(C)};
}

/// What a kernel calculated of the channels, with inv_std as the op has it.
struct Measured {
  std::vector<double> shift, offset, m2, inv_std;

  template <class T>
  Measured(const kernels::Table<T>& table, const Batch<T>& b) : shift(b.C), offset(b.C), m2(b.C), inv_std(b.C) {
    table.batch_moments(whole(b.m, b.C), b.x.data(), shift.data(), offset.data(), m2.data());
    for (std::size_t c = 0; c < b.C; ++c) inv_std[c] = 1 / std::sqrt(m2[c] / static_cast<double>(b.m) + kEps);
  }
  kernels::Channels view() const { return {shift.data(), offset.data(), inv_std.data()}; }
};

template <class T> void expect_near(T got, Quad exact, Quad terms, const char* what) {
  const Quad allowed = sizeof(T) == 4 ? std::max(test::ulp<T>(exact), static_cast<Quad>(kCancelled) * terms)
                                      : static_cast<Quad>(kCancelled) * terms;
  EXPECT_LE(static_cast<double>(absolute(static_cast<Quad>(got) - exact)), static_cast<double>(allowed))
      << what << ": " << got << ", expected " << static_cast<double>(exact);
}

template <class T> class BatchNormKernel : public testing::Test {
 protected:
  template <class F> static void for_each_batch(F f) {
    for (const double mean : {0.0, 1e3, 1e6})
      for (const std::size_t m : {2U, 3U, 7U, 8U, 9U, 33U, 1000U})
        for (const std::size_t C : {1U, 7U, 8U, 9U, 16U, 33U, 520U}) {
          if (C > 33 && (m < 7 || m > 9)) continue;
          const Batch<T> batch(m, C, mean);
          for (const auto& table : test::instruction_sets<T>()) {
            if (testing::Test::HasFailure()) return;
            SCOPED_TRACE(std::string(table.instruction_set) + ": m " + std::to_string(m) + ", C " + std::to_string(C) +
                         ", mean " + std::to_string(mean));
            f(table, batch);
          }
        }
  }
};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(BatchNormKernel, Precisions);

TYPED_TEST(BatchNormKernel, MomentsAreExactToDouble) {
  this->for_each_batch([](const auto& table, const auto& b) {
    const Measured got(table, b);
    for (std::size_t c = 0; c < b.C; ++c) {
      const Quad mean = static_cast<Quad>(got.shift[c]) + static_cast<Quad>(got.offset[c]);
      EXPECT_LE(static_cast<double>(absolute(mean - b.mu[c])), 1e-14) << "mean of channel " << c;
      EXPECT_LE(static_cast<double>(absolute(static_cast<Quad>(got.m2[c]) - b.m2[c]) / b.m2[c]), kCancelled)
          << "m2 of channel " << c;
    }
  });
}

TYPED_TEST(BatchNormKernel, OutputIsExactToAUnitInTheLastPlace) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Measured stats(table, b);
    for (int mode = 0; mode < 4; ++mode) {
      const bool gamma = mode % 2 == 1, beta = mode / 2 == 1;
      std::vector<T> y(b.m * b.C + 1, 77);
      table.batch_norm(whole(b.m, b.C), b.x.data(), stats.view(), gamma ? b.gamma.data() : nullptr,
                       beta ? b.beta.data() : nullptr, y.data());
      for (std::size_t n = 0; n < b.m; ++n)
        for (std::size_t c = 0; c < b.C; ++c) {
          const Quad scale = b.inv_std[c] * (gamma ? static_cast<Quad>(b.gamma[c]) : 1);
          const Quad shift = beta ? static_cast<Quad>(b.beta[c]) : 0;
          const Quad product = b.centred(n, c) * scale;
          expect_near(y[n * b.C + c], product + shift, absolute(product) + absolute(shift) + absolute(scale), "y");
        }
      EXPECT_EQ(y.back(), 77);
    }
  });
}

TYPED_TEST(BatchNormKernel, SumsAreExact) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Measured stats(table, b);
    std::vector<double> sum_dy(b.C), sum_dy_xhat(b.C);
    table.batch_norm_sums(whole(b.m, b.C), b.x.data(), b.dy.data(), stats.view(), sum_dy.data(), sum_dy_xhat.data());
    for (std::size_t c = 0; c < b.C; ++c) {
      expect_near(static_cast<T>(sum_dy[c]), b.sum_dy[c], b.size_dy[c], "sum_dy");
      expect_near(static_cast<T>(sum_dy_xhat[c]), b.sum_dy_xhat[c], b.size_dy_xhat[c], "sum_dy_xhat");
    }
  });
}

TYPED_TEST(BatchNormKernel, GradientOfTheInputIsExactToAUnitInTheLastPlace) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Measured stats(table, b);
    std::vector<double> sum_dy(b.C), sum_dy_xhat(b.C);
    table.batch_norm_sums(whole(b.m, b.C), b.x.data(), b.dy.data(), stats.view(), sum_dy.data(), sum_dy_xhat.data());
    const auto count = static_cast<Quad>(b.m);
    for (const bool gamma : {false, true}) {
      std::vector<T> dx(b.m * b.C + 1, 77);
      table.batch_norm_dx(whole(b.m, b.C), b.x.data(), b.dy.data(), stats.view(), gamma ? b.gamma.data() : nullptr,
                          sum_dy.data(), sum_dy_xhat.data(), dx.data());
      for (std::size_t n = 0; n < b.m; ++n)
        for (std::size_t c = 0; c < b.C; ++c) {
          const Quad scale = b.inv_std[c] * (gamma ? static_cast<Quad>(b.gamma[c]) : 1);
          const auto d = static_cast<Quad>(b.dy[n * b.C + c]);
          const Quad mean_dy = b.sum_dy[c] / count;
          const Quad weighted = b.centred(n, c) * b.inv_std[c] * b.sum_dy_xhat[c] / count;
          const Quad terms = absolute(scale) * (absolute(d) + b.size_dy[c] / count +
                                                absolute(b.centred(n, c) * b.inv_std[c]) * b.size_dy_xhat[c] / count);
          expect_near(dx[n * b.C + c], scale * (d - mean_dy - weighted), terms, "dx");
        }
      EXPECT_EQ(dx.back(), 77);
    }
  });
}

TYPED_TEST(BatchNormKernel, SecondOrderIsASumOfThreeTerms) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Measured stats(table, b);
    const std::vector<double> k = test::normal<double>(0, 1, 5 * b.C, 9);
    const std::vector<T> ggx = test::normal<T>(0.2, 1, b.m * b.C, 10);
    const auto row = [&](std::size_t i) { return k.data() + i * b.C; };
    std::vector<T> d(b.m * b.C + 1, 77);
    table.batch_norm_ddx(whole(b.m, b.C), b.x.data(), b.dy.data(), ggx.data(), stats.view(),
                         {row(0), row(1), row(2), row(3), row(4)}, d.data());
    for (std::size_t i = 0; i < b.m * b.C; ++i) {
      const std::size_t c = i % b.C;
      const auto of = [&](std::size_t r) { return static_cast<Quad>(row(r)[c]); };
      const Quad terms[] = {of(0) * b.centred(i / b.C, c), of(1) * (static_cast<Quad>(b.dy[i]) - of(3)),
                            of(2) * (static_cast<Quad>(ggx[i]) - of(4))};
      Quad sum = 0, size = absolute(of(0));
      for (const Quad term : terms) {
        sum += term;
        size += absolute(term);
      }
      expect_near(d[i], sum, size, "d");
    }
    EXPECT_EQ(d.back(), 77);
  });
}

TYPED_TEST(BatchNormKernel, ScaleIsOneProduct) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Measured stats(table, b);
    for (const bool gamma : {false, true}) {
      std::vector<T> dx(b.m * b.C);
      table.batch_norm_scale(whole(b.m, b.C), b.dy.data(), stats.inv_std.data(), gamma ? b.gamma.data() : nullptr,
                             dx.data());
      for (std::size_t i = 0; i < dx.size(); ++i) {
        const Quad exact =
            b.inv_std[i % b.C] * (gamma ? static_cast<Quad>(b.gamma[i % b.C]) : 1) * static_cast<Quad>(b.dy[i]);
        expect_near(dx[i], exact, absolute(exact), "dx");
      }
    }
  });
}

TYPED_TEST(BatchNormKernel, AConstantChannelHasNoVarianceAtAll) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>())
    for (const double value : {0.1, 1e7, -3e38, 1e-40})
      for (const long C : {1, 5, 8, 19}) {
        constexpr long m = 1000;
        const std::vector<T> x(static_cast<std::size_t>(m * C), static_cast<T>(value));
        std::vector<double> shift(static_cast<std::size_t>(C)), offset = shift, m2 = shift;
        table.batch_moments(whole(m, C), x.data(), shift.data(), offset.data(), m2.data());
        for (std::size_t c = 0; c < shift.size(); ++c) {
          EXPECT_EQ(static_cast<T>(shift[c]), x[0]);
          EXPECT_EQ(offset[c], 0);
          EXPECT_EQ(m2[c], 0);
        }
      }
}

TEST(BatchNormKernelInDouble, MomentsKeepDigitsAtALargeMeanAndASmallDeviation) {
  // Plain double sums of x and x^2 lose most digits of this variance.
  constexpr std::size_t m = 100'000;
  const auto x = test::normal<double>(1e6, 1e-2, m);
  Quad mu = 0, squares = 0;
  for (const double v : x) mu += static_cast<Quad>(v);
  mu /= static_cast<Quad>(m);
  for (const double v : x) squares += (static_cast<Quad>(v) - mu) * (static_cast<Quad>(v) - mu);
  for (const auto& table : test::instruction_sets<double>()) {
    double shift = 0, offset = 0, m2 = 0;
    table.batch_moments(whole(m, 1), x.data(), &shift, &offset, &m2);
    EXPECT_LE(static_cast<double>(absolute(static_cast<Quad>(shift) + static_cast<Quad>(offset) - mu)), 1e-15);
    EXPECT_LE(static_cast<double>(absolute(static_cast<Quad>(m2) - squares) / squares), kCancelled);
  }
}

TYPED_TEST(BatchNormKernel, NaNInOneChannelStaysThere) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>()) {
    constexpr std::size_t m = 5, C = 19;
    for (std::size_t bad = 0; bad < C; ++bad) {
      std::vector<T> x = test::normal<T>(0, 1, m * C);
      x[2 * C + bad] = std::numeric_limits<T>::quiet_NaN();
      std::vector<double> shift(C), offset(C), m2(C);
      table.batch_moments(whole(m, C), x.data(), shift.data(), offset.data(), m2.data());
      for (std::size_t c = 0; c < C; ++c) {
        EXPECT_EQ(std::isnan(offset[c]), c == bad);
        EXPECT_EQ(std::isnan(m2[c]), c == bad);
      }
    }
  }
}

TYPED_TEST(BatchNormKernel, AChannelHasTheSameBitsWhereverItStands) {
  using T = TypeParam;
  constexpr std::size_t m = 50, kMost = 40;
  const auto column = test::normal<T>(3, 2, m, 1), dcolumn = test::normal<T>(0, 1, m, 2);
  for (const auto& table : test::instruction_sets<T>()) {
    std::vector<T> first_dx;
    for (std::size_t C = 1; C <= kMost; ++C)
      for (std::size_t at = 0; at < C; at += 3) {
        auto x = test::normal<T>(0, 1, m * C, 5), dy = test::normal<T>(0, 1, m * C, 6);
        for (std::size_t n = 0; n < m; ++n) {
          x[n * C + at] = column[n];
          dy[n * C + at] = dcolumn[n];
        }
        std::vector<double> shift(C), offset(C), m2(C), inv_std(C), a(C), b(C);
        std::vector<T> dx(m * C), mine;
        kernels::Extent e = whole(m, C);
        for (const auto& [begin, end] : {std::pair{0L, e.C / 2}, {e.C / 2, e.C}}) {  // as two threads would
          e.first = begin;
          e.last = end;
          table.batch_moments(e, x.data(), shift.data(), offset.data(), m2.data());
          for (std::size_t c = 0; c < C; ++c) inv_std[c] = 1 / std::sqrt(m2[c] / m + kEps);
          const kernels::Channels stats{shift.data(), offset.data(), inv_std.data()};
          table.batch_norm_sums(e, x.data(), dy.data(), stats, a.data(), b.data());
          table.batch_norm_dx(e, x.data(), dy.data(), stats, nullptr, a.data(), b.data(), dx.data());
        }
        for (std::size_t n = 0; n < m; ++n) mine.push_back(dx[n * C + at]);
        if (first_dx.empty()) first_dx = mine;
        ASSERT_EQ(mine, first_dx) << table.instruction_set << ": channel " << at << " of " << C;
      }
  }
}

}  // namespace
}  // namespace xtgrad
