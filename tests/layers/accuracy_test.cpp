// BatchNorm1d against __float128 on every edge input, in both modes and precisions; what the lines "report:" say is
// printed at the end of tests/run.
//
// A result in float is within 1 ULP of the exact one, in double within 4. Where it is a sum that cancels, it may
// instead be within 1e-13 of the sum of the absolute values of its terms:
//
//   y             gamma * xhat, beta; in double also gamma * mean|xhat|, since x - mu is exact to the digits of sigma
//   dx            gamma * inv_std times dy, dy / m of every row, xhat * dy * xhat / m of every row
//   dgamma        dy * xhat of every row
//   dbeta         dy of every row
//   running_mean  (1 - a) * old, a * x / m of every row
//   running_var   in double (1 - a) * old, a * (x - mu)^2 / (m - 1) of every row; none in float
//
// Where the exact result, or one that near to it, is beyond the largest T, it is infinite. Where the exact one is not
// finite, neither is it, and a y that is NaN is NaN. Without variance, y is beta and dgamma 0.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>

#include "../framework/exact.hpp"
#include "oracle.hpp"
#include "xtgrad/layers/batch_norm1d.hpp"
#include "xtgrad/parallel.hpp"

namespace xtgrad {
namespace {

using exact::absolute;
using exact::blend;
using exact::Quad;
using exact::Quads;
using exact::Value;
using test::ulp;

// --- Inputs

struct Profile {
  const char* name;
  enum { normal, constant, uniform, zeros, zeros_and_ones } kind;
  double mean, std;
};
constexpr Profile kProfiles[] = {{"mean 0, std 1", Profile::normal, 0, 1},
                                 {"mean 0, std 1e-2", Profile::normal, 0, 1e-2},
                                 {"mean 1e3, std 1", Profile::normal, 1e3, 1},
                                 {"mean 1e3, std 1e-2", Profile::normal, 1e3, 1e-2},
                                 {"mean 1e6, std 1", Profile::normal, 1e6, 1},
                                 {"mean 1e6, std 1e-2", Profile::normal, 1e6, 1e-2},
                                 {"mean 1e7, std 1", Profile::normal, 1e7, 1},
                                 {"mean 1e7, std 1e-2", Profile::normal, 1e7, 1e-2},
                                 {"constant 0.1", Profile::constant, 0.1, 0},
                                 {"constant 1e7", Profile::constant, 1e7, 0},
                                 {"scale 1e-40", Profile::normal, 0, 1e-40},
                                 {"scale 1e-20", Profile::normal, 0, 1e-20},
                                 {"scale 1e18", Profile::normal, 0, 1e18},
                                 {"+-0", Profile::zeros, 0, 0},
                                 {"+-0 and +-1", Profile::zeros_and_ones, 0, 1},
                                 {"scale 3e38", Profile::uniform, 0, 3e38}};  // its variance overflows float
constexpr std::size_t kMeansAndStds = 8, kAll = std::size(kProfiles), kModest = kAll - 1;

template <class T> std::vector<T> draw(const Profile& profile, std::size_t count, std::uint64_t seed) {
  if (profile.kind == Profile::normal) return test::normal<T>(profile.mean, profile.std, count, seed);
  if (profile.kind == Profile::constant) return std::vector<T>(count, static_cast<T>(profile.mean));
  std::vector<T> values = test::between<T>(-1, 1, count, seed);
  for (T& v : values) {
    if (profile.kind == Profile::uniform)
      v *= static_cast<T>(profile.std);
    else
      v = std::copysign(T(profile.kind == Profile::zeros || std::abs(v) < T(0.5) ? 0 : 1), v);
  }
  return values;
}

/// One element that is not finite.
struct Fault {
  enum Where { nowhere, x, gamma, dy, running_mean, running_var } where = nowhere;
  double value = 0;
};

struct Case {
  Shape shape;
  std::size_t profile, dy_profile;
  double eps;
  std::optional<double> momentum;
  bool training;
  std::size_t number;  ///< seeds the values
  Fault fault = {};
  NonFinite non_finite = NonFinite::skip;

  oracle::Axes3 axes() const { return oracle::Axes3(shape); }
  /// The profile itself on one channel; the others take turns with those whose variance does not overflow float.
  const Profile& of_x(std::size_t c) const {
    return kProfiles[c == number % shape[1] ? profile : (profile + c) % kModest];
  }
  const Profile& of_dy(std::size_t c) const { return kProfiles[(dy_profile + c) % kAll]; }
  std::uint64_t seed(std::size_t c, std::size_t what) const { return (number * 64 + c) * 8 + what; }
  std::size_t bad_channel() const { return number % shape[1]; }

  std::string text(const char* type) const {
    constexpr const char* kWhere[] = {"no fault", "x", "gamma", "dy", "running_mean", "running_var"};
    return fmt::format("BatchNorm1d<{}>, {}, input {}, x: {}, dy: {}, eps {}, momentum {}, case {}, {} {}", type,
                       training ? "train" : "eval", to_string(shape), kProfiles[profile].name,
                       kProfiles[dy_profile].name, eps, momentum ? std::to_string(*momentum) : "none", number,
                       kWhere[fault.where], fault.where ? std::to_string(fault.value) : "");
  }
};

// --- Judgement

enum Result { kY, kDx, kDgamma, kDbeta, kRunningMean, kRunningVar };
constexpr const char* kResults[] = {"y", "dx", "dgamma", "dbeta", "running_mean", "running_var"};
constexpr double kOfTerms = 1e-13;

struct Tally {
  std::size_t values = 0, cancelling = 0;
  double worst_ulp = 0, worst_ratio = 0;
};

template <class T> constexpr bool kIsFloat = sizeof(T) == sizeof(float);

class Table {
 public:
  std::size_t cases = 0, failures = 0;

  template <class T> bool accepts(Result result, T got, const Value& want, double limit) {
    Tally& tally = tallies_[kIsFloat<T> ? 0 : 1][result];
    ++tally.values;
    const Quad error = absolute(static_cast<Quad>(got) - want.exact);
    const Quad largest = static_cast<Quad>(std::numeric_limits<T>::max());
    if (!(want.exact - want.exact == 0))
      return !std::isfinite(got) && (result != kY || std::isnan(got) == (want.exact != want.exact));
    if (std::isinf(got))
      return (got > 0 ? want.exact : -want.exact) + static_cast<Quad>(kOfTerms) * want.terms > largest;
    const double ulps = static_cast<double>(error / ulp<T>(want.exact));
    if (ulps <= limit) {
      tally.worst_ulp = std::max(tally.worst_ulp, ulps);
      return true;
    }
    const double ratio = static_cast<double>(error / want.terms);
    if (!(ratio <= kOfTerms)) return false;
    ++tally.cancelling;
    tally.worst_ratio = std::max(tally.worst_ratio, ratio);
    return true;
  }

  void print() const {
    std::printf("report: BatchNorm1d against __float128, %zu cases\n", cases);
    std::printf("report:   %-12s  %-6s  %9s  %10s  %9s  %14s\n", "", "", "values", "cancelling", "worst ULP",
                "worst of terms");
    for (std::size_t precision = 0; precision < 2; ++precision)
      for (std::size_t r = 0; r < tallies_[0].size(); ++r) {
        const Tally& t = tallies_[precision][r];
        std::printf("report:   %-12s  %-6s  %9zu  %10zu  %9.4f  %14.1e\n", kResults[r], precision ? "double" : "float",
                    t.values, t.cancelling, t.worst_ulp, t.worst_ratio);
      }
  }

 private:
  std::array<std::array<Tally, std::size(kResults)>, 2> tallies_;
};

// --- One case

template <class T> T rounded(Quad x) { return static_cast<T>(x); }

template <class T> class Trial {
 public:
  Trial(const Case& which, Table& table)
      : case_(which),
        table_(table),
        axes_(which.shape),
        m_(axes_.N * axes_.L),
        bn_(axes_.C, {.eps = which.eps, .momentum = which.momentum, .non_finite = which.non_finite}) {
    ++table_.cases;
    earlier_batches();
    set_state();
    set_inputs();
  }

  void run() {
    if (case_.training && m_ == 1) return expect_refusal();
    bn_.train(case_.training);
    const Tensor<T> y = bn_(x_);
    y.backward(dy_);
    std::vector<exact::Batch> batches;
    for (std::size_t c = 0; c < axes_.C; ++c) batches.push_back(check_channel(c, y));
    check_buffers(batches);
  }

 private:
  void earlier_batches() {
    before_ = static_cast<std::int64_t>(case_.number % 3);
    for (std::int64_t i = 0; i < before_; ++i) bn_(Generator(1).normal<T>({3, axes_.C}));
  }

  void set_state() {
    constexpr double kScales[] = {1, 1, 1e-20, 1, 0, 1e18, 1};
    mean_ = var_ = empty_array<T>({axes_.C});
    T* const gamma = bn_.gamma().mutable_value().data();
    T* const beta = bn_.beta().mutable_value().data();
    const auto spoil = [this](Fault::Where where, std::size_t c, T& value) {
      if (case_.fault.where == where && c == case_.bad_channel()) value = static_cast<T>(case_.fault.value);
    };
    for (std::size_t c = 0; c < axes_.C; ++c) {
      const std::vector<T> draws = test::normal<T>(0, 1, 3, case_.seed(c, 0));
      const Profile& x = case_.of_x(c);
      const double most = static_cast<double>(std::numeric_limits<T>::max());
      gamma[c] = draws[0] * static_cast<T>(kScales[(case_.number + c) % std::size(kScales)]);
      beta[c] = draws[1] * static_cast<T>(kScales[(case_.number / 2 + c) % std::size(kScales)]);
      // In training every other blend (1 - a) * old + a * mu cancels.
      const double a = case_.training && case_.number % 2 > 0 ? case_.momentum.value_or(0) : 0;
      const double old = a > 0 && a < 1 ? -a / (1 - a) * x.mean : x.mean;
      mean_(c) = static_cast<T>(old + 0.3 * x.std * static_cast<double>(draws[2]));
      var_(c) = static_cast<T>(std::min(x.std * x.std * (0.5 + std::abs(static_cast<double>(draws[2]))), most));
      spoil(Fault::gamma, c, gamma[c]);
      spoil(Fault::running_mean, c, mean_(c));
      spoil(Fault::running_var, c, var_(c));
    }
    bn_.set_running_statistics(mean_, var_);
  }

  void set_inputs() {
    Array<T> x = empty_array<T>(case_.shape), dy = empty_array<T>(case_.shape);
    for (std::size_t c = 0; c < axes_.C; ++c) {
      std::vector<T> xs = draw<T>(case_.of_x(c), m_, case_.seed(c, 1)),
                     dys = draw<T>(case_.of_dy(c), m_, case_.seed(c, 2));
      if (c == case_.bad_channel() && m_ > 0) {
        const std::size_t bad = case_.number % m_;
        if (case_.fault.where == Fault::x) xs[bad] = static_cast<T>(case_.fault.value);
        if (case_.fault.where == Fault::dy) dys[bad] = static_cast<T>(case_.fault.value);
      }
      std::size_t k = 0;
      axes_.each_of_channel(c, [&](std::size_t i) {
        x.data()[i] = xs[k];
        dy.data()[i] = dys[k++];
      });
      xs_.emplace_back(xs.begin(), xs.end());
      dys_.emplace_back(dys.begin(), dys.end());
    }
    x_ = oracle::trained(Tensor<T>(std::move(x)));
    dy_ = std::move(dy);
  }

  void expect_refusal() {
    EXPECT_THROW(bn_(x_), std::invalid_argument);
    expect_buffers_kept(0);
  }

  exact::Batch check_channel(std::size_t c, const Tensor<T>& y) {
    const exact::Batch batch(xs_[c]);
    const bool through = case_.training;
    const Quad gamma = static_cast<Quad>(bn_.gamma().data()[c]), beta = static_cast<Quad>(bn_.beta().data()[c]);
    const exact::Channel want(xs_[c], dys_[c], gamma, beta, static_cast<Quad>(case_.eps),
                              through ? batch.mean.exact : static_cast<Quad>(mean_(c)),
                              through ? batch.biased : static_cast<Quad>(var_(c)), through);
    const double limit = kIsFloat<T> ? 1 : 4, none_if_constant = want.spread == 0 ? 0 : limit;
    std::size_t k = 0;
    axes_.each_of_channel(c, [&](std::size_t i) {
      Value yk = want.y[k];
      if (through && !kIsFloat<T>) yk.terms += absolute(gamma) * want.spread;
      expect(kY, c, y.data()[i], yk, none_if_constant);
      expect(kDx, c, x_.grad().data()[i], want.dx[k], limit);
      ++k;
    });
    expect(kDgamma, c, bn_.gamma().grad().data()[c], want.dgamma, none_if_constant);
    expect(kDbeta, c, bn_.beta().grad().data()[c], want.dbeta, limit);
    return batch;
  }

  void check_buffers(const std::vector<exact::Batch>& batches) {
    const bool updates = case_.training && m_ > 0;
    bool finite = true;
    for (const exact::Batch& b : batches)
      finite = finite && std::isfinite(rounded<T>(b.mean.exact)) && std::isfinite(rounded<T>(b.unbiased));
    if (!updates || (!finite && case_.non_finite == NonFinite::skip)) return expect_buffers_kept(updates ? 1 : 0);
    EXPECT_EQ(bn_.num_batches_tracked(), before_ + 1);
    EXPECT_EQ(bn_.skipped_batches(), 0);
    const Quad a = case_.momentum ? Quad(*case_.momentum) : 1 / static_cast<Quad>(before_ + 1);
    const double limit = kIsFloat<T> ? 1 : 4;
    for (std::size_t c = 0; c < axes_.C; ++c) {
      const exact::Batch& b = batches[c];
      Value var = blend(a, static_cast<Quad>(var_(c)), {b.unbiased, b.unbiased});
      if (kIsFloat<T>) var.terms = 0;
      expect(kRunningMean, c, bn_.running_mean().data()[c], blend(a, static_cast<Quad>(mean_(c)), b.mean), limit);
      expect(kRunningVar, c, bn_.running_var().data()[c], var, limit);
    }
  }

  void expect_buffers_kept(std::int64_t skipped) {
    EXPECT_EQ(bn_.num_batches_tracked(), before_);
    EXPECT_EQ(bn_.skipped_batches(), skipped);
    for (std::size_t c = 0; c < axes_.C; ++c) {
      expect(kRunningMean, c, bn_.running_mean().data()[c], {static_cast<Quad>(mean_(c)), 0}, 0);
      expect(kRunningVar, c, bn_.running_var().data()[c], {static_cast<Quad>(var_(c)), 0}, 0);
    }
  }

  void expect(Result result, std::size_t c, T got, const Value& want, double limit) {
    if (table_.accepts(result, got, want, limit)) return;
    constexpr std::size_t kShown = 20;
    if (++table_.failures <= kShown)
      ADD_FAILURE() << kResults[result] << " in channel " << c << " is " << oracle::wide(got) << ", expected "
                    << static_cast<double>(want.exact) << ", off by "
                    << static_cast<double>(absolute(static_cast<Quad>(got) - want.exact) / ulp<T>(want.exact))
                    << " ULP, " << static_cast<double>(absolute(static_cast<Quad>(got) - want.exact) / want.terms)
                    << " of its terms: " << case_.text(kIsFloat<T> ? "float" : "double");
  }

  const Case& case_;
  Table& table_;
  oracle::Axes3 axes_;
  std::size_t m_;
  BatchNorm1d<T> bn_;
  std::int64_t before_ = 0;
  Array<T> mean_, var_;
  Tensor<T> x_, dy_;
  std::vector<Quads> xs_, dys_;
};

// --- All cases

constexpr double kEps[] = {0, 1e-5, 1};
constexpr std::optional<double> kMomenta[] = {0, 0.1, 1, std::nullopt};

/// Every combination of N, C, layout, kind of x and eps; kind of dy and momentum by a hash, which gives every pair.
template <class F> void each_small_case(F f) {
  std::size_t number = 0;
  for (const std::size_t N : {0U, 1U, 2U, 3U, 7U, 8U, 9U, 33U})
    for (const std::size_t C : {1U, 7U, 8U, 9U, 33U})
      for (const Shape& shape : {Shape{N, C}, Shape{N, C, 1}, Shape{N, C, 2}, Shape{N, C, 5}})
        for (std::size_t profile = 0; profile < kAll; ++profile)
          for (const double eps : kEps) {
            const std::size_t any = number * 0x9E3779B97F4A7C15U >> 32U;
            f(Case{shape, profile, any % kAll, eps, kMomenta[any / kAll % std::size(kMomenta)], true, number});
            ++number;
          }
}

/// m = 1e5, the means and standard deviations; more channels than a kernel takes at a time; three axes with a long last
/// one; and a first value far from all others. Those of more than 2^18 values are summed in parts.
template <class F> void each_large_case(F f) {
  for (const std::size_t C : {1U, 9U})
    for (std::size_t profile = 0; profile < kMeansAndStds; profile += C == 1 ? 1 : 4)
      f(Case{{100000, C}, profile, profile % 3, 1e-5, kMomenta[profile % 4], true, profile});
  f(Case{{130, 2100}, 0, 1, 1e-5, 0.1, true, 1});
  f(Case{{3, 2, 50001}, 3, 1, 1e-5, 0.1, true, 2});
  f(Case{{100000, 3}, 0, 0, 1e-5, 0.1, true, 0, Fault{Fault::x, 1e3}});
}

/// One NaN or infinity.
template <class F> void each_faulty_case(F f) {
  constexpr double kInf = std::numeric_limits<double>::infinity(), kNaN = std::numeric_limits<double>::quiet_NaN();
  std::size_t number = 0;
  for (const std::size_t N : {2U, 3U, 8U, 33U})
    for (const std::size_t C : {1U, 7U, 9U, 33U})
      for (const Shape& shape : {Shape{N, C}, Shape{N, C, 5}})
        for (const NonFinite non_finite : {NonFinite::skip, NonFinite::propagate})
          for (const auto where : {Fault::x, Fault::gamma, Fault::dy, Fault::running_mean, Fault::running_var})
            for (const double bad : {kInf, -kInf, kNaN}) {
              if (where == Fault::running_var && !(bad > 0)) continue;  // refused
              f(Case{shape, number % kModest, number % 7, kEps[number % 3], kMomenta[(number / 3) % 4], true, number,
                     Fault{where, bad}, non_finite});
              ++number;
            }
}

template <class T> void run(Table& table) {
  const auto in_both_modes = [&table](Case c) {
    for (const bool training : {true, false}) {
      c.training = training;
      Trial<T>(c, table).run();
    }
  };
  each_small_case(in_both_modes);
  each_faulty_case(in_both_modes);
  each_large_case(in_both_modes);
}

TEST(BatchNorm1dAccuracy, IsExactToTheLastDigitsOnEveryEdgeInput) {
  const oracle::Warnings two_values_per_channel;
  Table table;
  run<float>(table);
  run<double>(table);
  table.print();
  EXPECT_GE(table.cases, 5000U);
  EXPECT_EQ(table.failures, 0U);
}

template <class T> std::vector<Tensor<T>> results(const Case& c, int threads) {
  set_num_threads(threads);
  BatchNorm1d<T> bn(c.shape[1]);
  bn.train(c.training);
  Generator generator(c.number);
  const Tensor<T> x = oracle::trained(generator.normal<T>(c.shape, 1e3, 1));
  const Tensor<T> y = bn(x);
  y.backward(generator.normal<T>(c.shape));
  set_num_threads(1);
  return {y, x.grad(), bn.gamma().grad(), bn.beta().grad(), bn.running_mean(), bn.running_var()};
}

template <class T> void expect_same_bits(const std::vector<Tensor<T>>& a, const std::vector<Tensor<T>>& b) {
  for (std::size_t r = 0; r < a.size(); ++r)
    EXPECT_EQ(std::memcmp(a[r].data(), b[r].data(), a[r].size() * sizeof(T)), 0) << kResults[r];
}

TEST(BatchNorm1dAccuracy, IsTheSameToTheBitForEveryNumberOfThreadsAndEveryRun) {
  std::size_t number = 0;
  // The last five are shared among threads, by rows: they have 2^18 values and more.
  for (const Shape& shape : {Shape{2, 1}, Shape{9, 33}, Shape{33, 9, 5}, Shape{100000, 9}, Shape{2100, 129},
                             Shape{130, 2100}, Shape{300, 200, 5}, Shape{3, 2, 50001}})
    for (const bool training : {true, false}) {
      Case c{shape, 0, 0, 1e-5, 0.1, training, ++number};
      const auto once = results<float>(c, 1);
      const auto once_in_double = results<double>(c, 1);
      for (const int threads : {1, 2, 4}) {
        expect_same_bits(once, results<float>(c, threads));
        expect_same_bits(once_in_double, results<double>(c, threads));
      }
    }
}

}  // namespace
}  // namespace xtgrad
