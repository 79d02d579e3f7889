// A study: claims from theory or from a paper, each with what is expected, what was measured, and a verdict.
//
//     kit::StudyOptions options;
//     options.add_to(app);
//     kit::Study study("scale_invariance", options);
//     study.exact("the two loss curves are one", 0, difference, 1e-8);
//     study.finish(plot);
//
// Expected values and tolerances are written down before the measurement. The verdict is `reproduces` where the
// measurement is within them, `does not reproduce` where it is not, and `inconclusive` where two standard errors would change
// that, or where the standard error is not known.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "plot.hpp"

namespace kit {

/// A mean over seeds, and its standard error.
struct Mean {
  double value = 0, standard_error = 0;
};
/// Throws std::invalid_argument if there are none. The standard error of one value is not known: NaN.
Mean mean_of(const std::vector<double>& values);
/// Of a - b, seed by seed.
Mean mean_difference(const std::vector<double>& a, const std::vector<double>& b);
/// Of what `number` takes from each of the runs.
template <class Runs, class Number> Mean mean_over(const Runs& runs, Number number) {
  std::vector<double> values;
  for (const auto& run : runs) values.push_back(number(run));
  return mean_of(values);
}
/// "1.576 +- 0.011", or the value alone where the error is not known.
std::string with_error(Mean mean, int decimals);
/// A share as "97.25 +- 0.14 %".
std::string percent(Mean share);

/// The larger of two, and NaN if one of them is: what std::max() makes of NaN depends on the order.
double worse(double a, double b);

/// A line through means, in a band of one standard error.
void add_means(Plot& plot, const std::string& name, const std::vector<double>& x, const std::vector<Mean>& means);

/// What all studies can be asked.
struct StudyOptions {
  std::uint64_t seed = 0;
  std::size_t seeds = 1;
  int threads = 1;
  bool quick = false;
  std::string plot, csv, json;

  /// Adds --seed, --seeds (`default_seeds` if not given, `quick_seeds` with --quick), --threads, --quick (which a short
  /// study may pass over), --plot, --csv and --json.
  void add_to(CLI::App& app, std::size_t default_seeds = 1, std::size_t quick_seeds = 1);
};

/// A claim and its measurement.
struct Claim {
  std::string text;
  char relation;  ///< '=': within the tolerance of `expected`; '>', '<': at least, at most
  bool exact;     ///< a law or an identity, which holds but for rounding
  double expected, tolerance;
  Mean measured;

  const char* verdict() const;
  /// What a table shows of it, under the headers.
  std::vector<std::string> cells() const;
  static std::vector<std::string> headers() { return {"claim", "expected", "measured", "std. error", "verdict"}; }
};

class Study {
 public:
  /// Throws, before anything is computed, if a file that the options name cannot be written, or is named twice.
  Study(std::string name, const StudyOptions& options);

  /// The measurement is `expected` but for rounding, for which there is `tolerance`: a law or an identity.
  void exact(const std::string& claim, double expected, double measured, double tolerance) {
    claims_.push_back({claim, '=', true, expected, tolerance, {measured}});
  }
  /// The measurement is `expected`, give or take `tolerance`.
  void near(const std::string& claim, double expected, Mean measured, double tolerance) {
    claims_.push_back({claim, '=', false, expected, tolerance, measured});
  }
  void near(const std::string& claim, double expected, double measured, double tolerance) {
    near(claim, expected, Mean{measured}, tolerance);
  }
  /// The measurement is at least, or at most, `bound`.
  void at_least(const std::string& claim, double bound, Mean measured) {
    claims_.push_back({claim, '>', false, bound, 0, measured});
  }
  void at_most(const std::string& claim, double bound, Mean measured) {
    claims_.push_back({claim, '<', false, bound, 0, measured});
  }

  /// Prints the table of claims and verdicts, and writes what the options ask for: the claims as JSON lines, the points of
  /// the plot as CSV, and the plot.
  void finish(const Plot& plot) const;

 private:
  std::string name_, plot_, csv_, json_;
  std::vector<Claim> claims_;
};

}  // namespace kit
