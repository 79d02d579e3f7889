#include "study.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <stdexcept>
#include <xtgrad/parallel.hpp>

#include "metrics_log.hpp"
#include "options.hpp"
#include "table.hpp"

namespace kit {

Mean mean_of(const std::vector<double>& values) {
  if (values.empty()) throw std::invalid_argument("mean_of: no values");
  const double n = static_cast<double>(values.size());
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  for (const double v : values) squares += (v - sum / n) * (v - sum / n);
  return {sum / n, values.size() == 1 ? std::numeric_limits<double>::quiet_NaN() : std::sqrt(squares / (n - 1) / n)};
}

Mean mean_difference(const std::vector<double>& a, const std::vector<double>& b) {
  std::vector<double> differences;
  for (std::size_t i = 0; i < a.size(); ++i) differences.push_back(a[i] - b.at(i));
  return mean_of(differences);
}

std::string with_error(Mean mean, int decimals) {
  return std::isnan(mean.standard_error)
             ? fmt::format("{:.{}f}", mean.value, decimals)
             : fmt::format("{:.{}f} +- {:.{}f}", mean.value, decimals, mean.standard_error, decimals);
}

std::string percent(Mean share) { return with_error({100 * share.value, 100 * share.standard_error}, 2) + " %"; }

double worse(double a, double b) { return std::isnan(a) || a > b ? a : b; }

void add_means(Plot& plot, const std::string& name, const std::vector<double>& x, const std::vector<Mean>& means) {
  std::vector<double> low, middle, high;
  for (const auto& [mean, error] : means) {
    const double around = std::isnan(error) ? 0 : error;
    low.push_back(mean - around);
    middle.push_back(mean);
    high.push_back(mean + around);
  }
  plot.add_band(name, x, low, middle, high);
}

void StudyOptions::add_to(CLI::App& app, std::size_t default_seeds, std::size_t quick_seeds) {
  seeds = default_seeds;
  app.add_option("--seed", seed, "the first seed")->check(whole(0))->capture_default_str();
  auto* const count = app.add_option("--seeds", seeds, "how many seeds, for mean and standard error")
                          ->check(whole(1, 100000))
                          ->capture_default_str();
  app.add_option("--threads", threads, "threads in kernels")->check(whole(1, 1024))->capture_default_str();
  app.add_flag("--quick", quick, "a shorter run, with larger errors");
  app.add_option("--plot", plot, "draw the curves into FILE.png or FILE.svg");
  app.add_option("--csv", csv, "write the points of the curves to FILE.csv");
  app.add_option("--json", json, "write a line for each claim to FILE.jsonl");
  app.parse_complete_callback([this, count, quick_seeds] {
    if (quick && count->empty()) seeds = quick_seeds;
  });
}

Study::Study(std::string name, const StudyOptions& options)
    : name_(std::move(name)), plot_(options.plot), csv_(options.csv), json_(options.json) {
  xtgrad::set_num_threads(options.threads);
  if (!plot_.empty()) Plot::check(plot_);
  if (!csv_.empty() && !json_.empty() && same_file(csv_, json_))
    throw std::runtime_error(csv_ + " cannot hold both curves and claims");
  for (const std::string& file : {csv_, json_})
    if (!file.empty()) MetricsLog::check(file);
}

const char* Claim::verdict() const {
  // How far inside the bounds the measurement lies; negative outside.
  const double inside = relation == '=' ? tolerance - std::abs(measured.value - expected)
                                        : (relation == '<' ? 1 : -1) * (expected - measured.value);
  if (!(std::abs(inside) >= 2 * measured.standard_error)) return "inconclusive";
  return inside >= 0 ? "reproduces" : "does not reproduce";
}

std::vector<std::string> Claim::cells() const {
  const double error = measured.standard_error;
  return {text,
          relation == '='   ? fmt::format("{:.5g} +- {:.2g}", expected, tolerance)
          : relation == '<' ? fmt::format("at most {:.5g}", expected)
                            : fmt::format("at least {:.5g}", expected),
          fmt::format("{:.5g}", measured.value),
          error == 0          ? "-"
          : std::isnan(error) ? "unknown"
                              : fmt::format("{:.2g}", error),
          verdict()};
}

void Study::finish(const Plot& plot) const {
  Table table(Claim::headers());
  for (const Claim& c : claims_) table.add(c.cells());
  fmt::print("\n{}", table.text());
  if (!json_.empty()) {
    MetricsLog log(json_, {"study", "claim", "exact", "relation", "expected", "measured", "standard_error", "tolerance",
                           "verdict"});
    for (const Claim& c : claims_)
      log.row(name_, c.text, c.exact, std::string(1, c.relation), c.expected, c.measured.value,
              c.measured.standard_error, c.tolerance, c.verdict());
  }
  if (!csv_.empty()) {
    MetricsLog log(csv_, {"series", plot.x_label, plot.y_label, "low", "high"});
    for (const Plot::Series& s : plot.series)
      for (std::size_t i = 0; i < s.x.size(); ++i)
        log.row(s.name, s.x[i], s.y[i], s.low.empty() ? s.y[i] : s.low[i], s.high.empty() ? s.y[i] : s.high[i]);
  }
  if (plot_.empty()) return;
  plot.save(plot_);
  fmt::print("plot: {}\n", plot_);
}

}  // namespace kit
