// Batch-norm kernels of every instruction set against __float128.
//
// In float a result is within one unit in the last place of the exact one, or, where terms cancel, within
// kCancelled of the sum of their absolute values; in double the latter is all that is asked.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <concepts>
#include <functional>

#include "../numbers.hpp"
#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

using test::absolute;
using test::Quad;

constexpr double kCancelled = 1e-12;
constexpr double kEps = 1e-5;

/// One batch (N, C, L) and all that is exactly true of it.
template <class T> struct Batch {
  std::size_t N, C, L, m;
  std::vector<T> x, dy, gamma, beta;
  std::vector<Quad> mu, m2, inv_std, sum_dy, sum_dy_xhat, size_dy, size_dy_xhat;

  Batch(std::size_t rows, std::size_t channels, std::size_t length, double mean)
      : N(rows),
        C(channels),
        L(length),
        m(N * L),
        x(test::normal<T>(mean, 1, m * C, m + C)),
        dy(test::normal<T>(0.1, 1, m * C, m + C + 1)),
        gamma(test::normal<T>(1, 0.5, C, 3)),
        beta(test::normal<T>(0, 1, C, 4)) {
    for (auto* row : {&mu, &m2, &inv_std, &sum_dy, &sum_dy_xhat, &size_dy, &size_dy_xhat}) row->assign(C, 0);
    const auto count = static_cast<Quad>(m);
    for (std::size_t c = 0; c < C; ++c) {
      for (std::size_t n = 0; n < m; ++n) mu[c] += static_cast<Quad>(x[at(n, c)]);
      mu[c] /= count;
      for (std::size_t n = 0; n < m; ++n) m2[c] += centred(n, c) * centred(n, c);
      inv_std[c] = 1 / test::root(m2[c] / count + static_cast<Quad>(kEps));
      for (std::size_t n = 0; n < m; ++n) {
        const auto d = static_cast<Quad>(dy[at(n, c)]);
        sum_dy[c] += d;
        size_dy[c] += absolute(d);
        sum_dy_xhat[c] += d * centred(n, c) * inv_std[c];
        size_dy_xhat[c] += absolute(d * centred(n, c) * inv_std[c]);
      }
    }
  }

  /// Where value n of the channel c is.
  std::size_t at(std::size_t n, std::size_t c) const { return (n / L * C + c) * L + n % L; }
  Quad centred(std::size_t n, std::size_t c) const { return static_cast<Quad>(x[at(n, c)]) - mu[c]; }
  kernels::Extent whole() const {
    return {static_cast<long>(N), static_cast<long>(C), static_cast<long>(L), 0, static_cast<long>(N)};
  }
};

kernels::Extent whole(std::integral auto m, std::integral auto C) {
  return {static_cast<long>(m), static_cast<long>(C), 1, 0, static_cast<long>(m)};
}

/// The channels' statistics, rounded to double.
struct Statistics {
  std::vector<double> first, mean, rest, inv_std;

  template <class T> explicit Statistics(const Batch<T>& b) {
    for (std::size_t c = 0; c < b.C; ++c) {
      first.push_back(static_cast<double>(b.x[b.at(0, c)]));
      mean.push_back(static_cast<double>(static_cast<T>(b.mu[c])));
      rest.push_back(static_cast<double>(b.mu[c] - static_cast<Quad>(mean[c])));
      inv_std.push_back(static_cast<double>(b.inv_std[c]));
    }
  }
  kernels::Channels view() const { return {mean.data(), rest.data(), inv_std.data()}; }
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
    for (const double mean : {0.0, 1e3, 1e6}) {
      for (const std::size_t N : {2U, 3U, 7U, 8U, 9U, 33U, 1000U})
        for (const std::size_t C : {1U, 7U, 8U, 9U, 16U, 31U, 33U, 63U, 520U})
          if (C <= 63 || (N >= 7 && N <= 9)) for_each_set(Batch<T>(N, C, 1, mean), mean, f);
      for (const std::size_t N : {1U, 2U, 5U})
        for (const std::size_t L : {2U, 3U, 7U, 8U, 9U, 16U, 33U, 200U})
          for (const std::size_t C : {1U, 3U, 8U, 520U})
            if (C <= 8 || L == 7) for_each_set(Batch<T>(N, C, L, mean), mean, f);
    }
  }

 private:
  template <class F> static void for_each_set(const Batch<T>& batch, double mean, F f) {
    for (const auto& table : test::instruction_sets<T>()) {
      if (testing::Test::HasFailure()) return;
      SCOPED_TRACE(fmt::format("{}: ({}, {}, {}), mean {}", table.instruction_set, batch.N, batch.C, batch.L, mean));
      f(table, batch);
    }
  }
};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(BatchNormKernel, Precisions);

TYPED_TEST(BatchNormKernel, SumsOfDeviationsAreExactToDouble) {
  this->for_each_batch([](const auto& table, const auto& b) {
    const Statistics stats(b);
    std::vector<double> sum(b.C), squares(b.C);
    table.batch_moments(b.whole(), b.x.data(), stats.first.data(), sum.data(), squares.data());
    for (std::size_t c = 0; c < b.C; ++c) {
      Quad exact = 0, size = 0, exact_squares = 0;
      for (std::size_t n = 0; n < b.m; ++n) {
        const Quad d = static_cast<Quad>(b.x[b.at(n, c)]) - static_cast<Quad>(stats.first[c]);
        exact += d;
        size += absolute(d);
        exact_squares += d * d;
      }
      // Sums of 8 and then of their sums: so many additions, whose errors grow with the root of their number (Higham and
      // Mary 2019). All m one after the other would need sqrt(m).
      const double allowed = 2 * std::sqrt(8 + static_cast<double>(b.m) / 8) * 0x1p-53;
      EXPECT_NEAR(sum[c], static_cast<double>(exact), allowed * static_cast<double>(size)) << "channel " << c;
      EXPECT_NEAR(squares[c], static_cast<double>(exact_squares), allowed * static_cast<double>(exact_squares))
          << "channel " << c;
    }
  });
}

TYPED_TEST(BatchNormKernel, OutputIsExactToAUnitInTheLastPlace) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Statistics stats(b);
    for (int mode = 0; mode < 4; ++mode) {
      const bool gamma = mode % 2 == 1, beta = mode / 2 == 1;
      std::vector<T> y(b.m * b.C + 1, 77);
      table.batch_norm(b.whole(), b.x.data(), stats.view(), gamma ? b.gamma.data() : nullptr,
                       beta ? b.beta.data() : nullptr, y.data());
      for (std::size_t n = 0; n < b.m; ++n)
        for (std::size_t c = 0; c < b.C; ++c) {
          const Quad scale = b.inv_std[c] * (gamma ? static_cast<Quad>(b.gamma[c]) : 1);
          const Quad shift = beta ? static_cast<Quad>(b.beta[c]) : 0;
          const Quad product = b.centred(n, c) * scale;
          expect_near(y[b.at(n, c)], product + shift, absolute(product) + absolute(shift) + absolute(scale), "y");
        }
      EXPECT_EQ(y.back(), 77);
    }
  });
}

TYPED_TEST(BatchNormKernel, SumsAreExact) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Statistics stats(b);
    std::vector<double> sum_dy(b.C), sum_dy_xhat(b.C);
    table.batch_norm_sums(b.whole(), b.x.data(), b.dy.data(), stats.view(), sum_dy.data(), sum_dy_xhat.data());
    for (std::size_t c = 0; c < b.C; ++c) {
      expect_near(static_cast<T>(sum_dy[c]), b.sum_dy[c], b.size_dy[c], "sum_dy");
      expect_near(static_cast<T>(sum_dy_xhat[c]), b.sum_dy_xhat[c], b.size_dy_xhat[c], "sum_dy_xhat");
    }
  });
}

TYPED_TEST(BatchNormKernel, GradientOfTheInputIsExactToAUnitInTheLastPlace) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Statistics stats(b);
    std::vector<double> sum_dy(b.C), sum_dy_xhat(b.C);
    table.batch_norm_sums(b.whole(), b.x.data(), b.dy.data(), stats.view(), sum_dy.data(), sum_dy_xhat.data());
    const auto count = static_cast<Quad>(b.m);
    for (const bool gamma : {false, true}) {
      std::vector<T> dx(b.m * b.C + 1, 77);
      table.batch_norm_dx(b.whole(), b.x.data(), b.dy.data(), stats.view(), gamma ? b.gamma.data() : nullptr,
                          sum_dy.data(), sum_dy_xhat.data(), dx.data());
      for (std::size_t n = 0; n < b.m; ++n)
        for (std::size_t c = 0; c < b.C; ++c) {
          const Quad scale = b.inv_std[c] * (gamma ? static_cast<Quad>(b.gamma[c]) : 1);
          const auto d = static_cast<Quad>(b.dy[b.at(n, c)]);
          const Quad mean_dy = b.sum_dy[c] / count;
          const Quad weighted = b.centred(n, c) * b.inv_std[c] * b.sum_dy_xhat[c] / count;
          const Quad terms = absolute(scale) * (absolute(d) + b.size_dy[c] / count +
                                                absolute(b.centred(n, c) * b.inv_std[c]) * b.size_dy_xhat[c] / count);
          expect_near(dx[b.at(n, c)], scale * (d - mean_dy - weighted), terms, "dx");
        }
      EXPECT_EQ(dx.back(), 77);
    }
  });
}

TYPED_TEST(BatchNormKernel, SecondOrderIsASumOfThreeTerms) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Statistics stats(b);
    const std::vector<double> k = test::normal<double>(0, 1, 5 * b.C, 9);
    const std::vector<T> ggx = test::normal<T>(0.2, 1, b.m * b.C, 10);
    const auto row = [&](std::size_t i) { return k.data() + i * b.C; };
    std::vector<T> d(b.m * b.C + 1, 77);
    table.batch_norm_ddx(b.whole(), b.x.data(), b.dy.data(), ggx.data(), stats.view(),
                         {row(0), row(1), row(2), row(3), row(4)}, d.data());
    for (std::size_t n = 0; n < b.m; ++n)
      for (std::size_t c = 0; c < b.C; ++c) {
        const std::size_t i = b.at(n, c);
        const auto of = [&](std::size_t r) { return static_cast<Quad>(row(r)[c]); };
        const Quad terms[] = {of(0) * b.centred(n, c), of(1) * (static_cast<Quad>(b.dy[i]) - of(3)),
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

TYPED_TEST(BatchNormKernel, AConstantChannelHasNoVarianceAtAll) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>())
    for (const double value : {0.1, 1e7, -3e38, 1e-40})
      for (const long C : {1, 5, 8, 19}) {
        constexpr long m = 1000;
        const std::vector<T> x(static_cast<std::size_t>(m * C), static_cast<T>(value));
        const std::vector<double> shift(static_cast<std::size_t>(C), static_cast<double>(x[0]));
        std::vector<double> sum(shift.size()), squares = sum;
        table.batch_moments(whole(m, C), x.data(), shift.data(), sum.data(), squares.data());
        EXPECT_EQ(sum, std::vector<double>(shift.size()));
        EXPECT_EQ(squares, sum);
      }
}

TYPED_TEST(BatchNormKernel, NaNInOneChannelStaysThere) {
  using T = TypeParam;
  for (const auto& table : test::instruction_sets<T>()) {
    constexpr std::size_t m = 5, C = 19;
    for (std::size_t bad = 0; bad < C; ++bad) {
      std::vector<T> x = test::normal<T>(0, 1, m * C);
      x[2 * C + bad] = std::numeric_limits<T>::quiet_NaN();
      const std::vector<double> shift(C);
      std::vector<double> sum(C), squares(C);
      table.batch_moments(whole(m, C), x.data(), shift.data(), sum.data(), squares.data());
      for (std::size_t c = 0; c < C; ++c) {
        EXPECT_EQ(std::isnan(sum[c]), c == bad);
        EXPECT_EQ(std::isnan(squares[c]), c == bad);
      }
    }
  }
}

TYPED_TEST(BatchNormKernel, AChannelHasTheSameBitsWhereverItStands) {
  using T = TypeParam;
  constexpr std::size_t m = 50, kMost = 40;
  const auto column = test::normal<T>(3, 2, m, 1), dcolumn = test::normal<T>(0, 1, m, 2);
  for (const auto& table : test::instruction_sets<T>()) {
    std::vector<T> first_seen;
    for (std::size_t C = 1; C <= kMost; ++C)
      for (std::size_t at = 0; at < C; at += 3) {
        auto x = test::normal<T>(0, 1, m * C, 5), dy = test::normal<T>(0, 1, m * C, 6);
        for (std::size_t n = 0; n < m; ++n) {
          x[n * C + at] = column[n];
          dy[n * C + at] = dcolumn[n];
        }
        const std::vector<double> mean(C, 3), rest(C, 0x1p-25), inv_std(C, 0.75);
        const kernels::Channels stats{mean.data(), rest.data(), inv_std.data()};
        std::vector<double> sums[4];
        for (auto& sum : sums) sum.resize(C);
        std::vector<T> dx(m * C), mine;
        table.batch_moments(whole(m, C), x.data(), mean.data(), sums[0].data(), sums[1].data());
        table.batch_norm_sums(whole(m, C), x.data(), dy.data(), stats, sums[2].data(), sums[3].data());
        table.batch_norm_dx(whole(m, C), x.data(), dy.data(), stats, nullptr, sums[2].data(), sums[3].data(),
                            dx.data());
        for (const auto& sum : sums) mine.push_back(static_cast<T>(sum[at]));
        for (std::size_t n = 0; n < m; ++n) mine.push_back(dx[n * C + at]);
        if (first_seen.empty()) first_seen = mine;
        ASSERT_EQ(mine, first_seen) << table.instruction_set << ": channel " << at << " of " << C;
      }
  }
}

TYPED_TEST(BatchNormKernel, PartsOfTheRowsAreThoseOfTheWhole) {
  using T = TypeParam;
  this->for_each_batch([](const auto& table, const Batch<T>& b) {
    const Statistics stats(b);
    const std::vector<double> k = test::normal<double>(0, 1, 5 * b.C, 9);
    const auto row = [&](std::size_t i) { return k.data() + i * b.C; };
    const std::size_t size = b.m * b.C;
    // y, dx, d of the second order, and the four sums
    const auto results = [&](const std::vector<kernels::Extent>& parts) {
      std::vector<T> maps(3 * size + 1, 77);
      std::vector<double> sums(4 * b.C);
      for (const kernels::Extent& e : parts) {
        std::vector<double> mine(4 * b.C);
        const auto sum = [&](std::size_t i) { return mine.data() + i * b.C; };
        table.batch_moments(e, b.x.data(), stats.first.data(), sum(0), sum(1));
        table.batch_norm_sums(e, b.x.data(), b.dy.data(), stats.view(), sum(2), sum(3));
        std::transform(sums.begin(), sums.end(), mine.begin(), sums.begin(), std::plus<>());
        table.batch_norm(e, b.x.data(), stats.view(), b.gamma.data(), b.beta.data(), maps.data());
        table.batch_norm_dx(e, b.x.data(), b.dy.data(), stats.view(), b.gamma.data(), row(0), row(1),
                            maps.data() + size);
        table.batch_norm_ddx(e, b.x.data(), b.dy.data(), b.x.data(), stats.view(),
                             {row(0), row(1), row(2), row(3), row(4)}, maps.data() + 2 * size);
      }
      return std::pair(maps, sums);
    };
    const kernels::Extent all = b.whole();
    if (b.N == 1) return;
    const auto once = results({all});
    for (const long cut : {1L, all.N / 2, all.N - 1}) {
      kernels::Extent before = all, after = all;
      before.last = after.first = cut;
      const std::vector<T> begun = results({before}).first;
      const auto from = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(cut) * b.C * b.L);
      for (std::ptrdiff_t map = 0; map < 3; ++map) {
        const auto start = begun.begin() + map * static_cast<std::ptrdiff_t>(size);
        ASSERT_TRUE(std::all_of(start + from, start + static_cast<std::ptrdiff_t>(size), [](T v) { return v == 77; }))
            << "map " << map << " writes beyond row " << cut;
      }
      const auto twice = results({before, after});
      ASSERT_EQ(twice.first, once.first) << "cut at row " << cut;
      for (std::size_t i = 0; i < 4 * b.C; ++i) {
        const std::size_t c = i % b.C;
        const double terms = i / b.C == 1   ? once.second[i]
                             : i / b.C == 2 ? static_cast<double>(b.size_dy[c])
                             : i / b.C == 3 ? static_cast<double>(b.size_dy_xhat[c])
                                            : std::sqrt(static_cast<double>(b.m) * once.second[b.C + c]);
        ASSERT_NEAR(twice.second[i], once.second[i], kCancelled * terms) << "sum " << i / b.C << ", row " << cut;
      }
    }
  });
}

}  // namespace
}  // namespace xtgrad
