// standardise: BatchNorm1d beside (x - mean) / std, number by number, and why they differ
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <xtgrad/datasets/csv.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/options.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

// At most this many rows and columns of the input are printed; the statistics always see all of it.
constexpr std::size_t kShown = 6;

struct Input {
  Array<double> x;  // (N, C)
  std::vector<std::string> names;
};

// What the thread says of its rows, to four digits: the outputs, and per column running mean and variance.
const Array<double> kThreadOutputs{{1.2727, -1.2655}, {-0.1024, 1.1794}, {-1.1703, 0.0860}};
const Array<double> kThreadMean{-0.1069, -0.0551}, kThreadVar{0.9522, 0.9266};

Input read(const std::string& file) {
  // The rows of the thread that asked. It shows four digits of each and computed with more: the two fifth digits are
  // the smallest change that gives all its other numbers (its 0.7227 and 0.2660 do not follow from four digits).
  if (file.empty()) return {{{-0.3176, -1.08419}, {-1.1290, -0.0545}, {-1.75911, -0.5150}}, {"0", "1"}};
  Csv csv = read_csv(file);
  if (csv.rows < 2)
    throw std::runtime_error(fmt::format("{}: {} data row; a standard deviation needs two or more", file, csv.rows));
  if (csv.header.empty())
    for (std::size_t c = 0; c < csv.columns; ++c) csv.header.push_back(std::to_string(c));
  Array<double> x = empty_array<double>({csv.rows, csv.columns});
  std::copy(csv.values.begin(), csv.values.end(), x.data());
  return {std::move(x), csv.header};
}

std::string number(double value) {
  return std::abs(value) >= 1e5 ? fmt::format("{:.4e}", value) : fmt::format("{:.4f}", value);
}

double largest_difference(const Array<double>& a, const Array<double>& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.size(); ++i) largest = kit::worse(largest, std::abs(a.data()[i] - b.data()[i]));
  return largest;
}

// After one step, from the definition: the largest differences over rows and columns.
void claim_formulas(kit::Study& study, const Array<double>& x, const Moments& batch, const Array<double>& y,
                    const BatchNorm1d<double>& bn) {
  const double m = static_cast<double>(x.shape()[0]), eps = bn.options().eps, a = *bn.options().momentum;
  double outputs = 0, ratio = 0, mean = 0, var = 0;
  for (std::size_t c = 0; c < x.shape()[1]; ++c) {
    const double biased = batch.m2(c) / m, unbiased = batch.m2(c) / (m - 1);
    double squares = 0;
    for (std::size_t n = 0; n < x.shape()[0]; ++n) {
      outputs = kit::worse(outputs, std::abs(y(n, c) - (x(n, c) - batch.mean(c)) / std::sqrt(biased + eps)));
      squares += y(n, c) * y(n, c);
    }
    // The squares of (x - mean) / unbiased std add up to m - 1.
    if (unbiased > 0) ratio = kit::worse(ratio, std::abs(squares / (m - 1) * (1 + eps / biased) / (m / (m - 1)) - 1));
    mean = kit::worse(mean, std::abs(bn.running_mean().value()(c) - a * batch.mean(c)) / (1 + std::abs(batch.mean(c))));
    var = kit::worse(var, std::abs(bn.running_var().value()(c) - (1 - a) - a * unbiased) / (1 + unbiased));
  }
  study.exact("train mode less (x - mean) / sqrt(biased var + eps)", 0, outputs, 1e-12);
  study.exact("squares of train mode over those with the unbiased std, less m/(m-1)", 0, ratio, 1e-12);
  study.exact("running_mean less 0.9 * 0 + 0.1 * mean, relative", 0, mean, 1e-12);
  study.exact("running_var less 0.9 * 1 + 0.1 * unbiased var, relative", 0, var, 1e-12);
}

// The first column against what is made of it.
kit::Plot draw(const Array<double>& x, const std::string& name, const Moments& batch, const BatchNorm1d<double>& bn) {
  const double m = static_cast<double>(x.shape()[0]), eps = bn.options().eps;
  std::vector<double> column;
  for (std::size_t n = 0; n < x.shape()[0]; ++n) column.push_back(x(n, 0));
  std::sort(column.begin(), column.end());
  kit::Plot plot{.title = "BatchNorm1d and (x - mean) / std", .x_label = "x, column " + name, .y_label = "y"};
  const auto line = [&](const char* label, double mean, double var) {
    std::vector<double> y;
    for (const double value : column) y.push_back((value - mean) / std::sqrt(var));
    plot.add(label, column, y);
  };
  line("BatchNorm1d, train", batch.mean(0), batch.m2(0) / m + eps);
  line("(x - mean) / unbiased std", batch.mean(0), batch.unbiased(0));
  line("BatchNorm1d, eval", bn.running_mean().value()(0), bn.running_var().value()(0) + eps);
  return plot;
}

void compare(const Input& input, bool thread, const kit::StudyOptions& options) {
  kit::Study study("standardise", options);
  const Array<double>& x = input.x;
  const std::size_t N = x.shape()[0], C = x.shape()[1];
  const double m = static_cast<double>(N);

  BatchNorm1d<double> bn(C, {.affine = false});
  const Tensor<double> y = bn(Tensor<double>(x));
  bn.eval();
  const Tensor<double> y_eval = bn(Tensor<double>(x));
  const Moments batch = channel_moments(Tensor<double>(x));

  const auto standardised = [&](std::size_t n, std::size_t c, double divisor) {
    return (x(n, c) - batch.mean(c)) / std::sqrt(batch.m2(c) / divisor);
  };
  fmt::print("{} rows, {} columns; BatchNorm1d({}, affine = false), eps {}, momentum {}\n\n", N, C, C, bn.options().eps,
             *bn.options().momentum);

  kit::Table values({"row", "column", "x", "BatchNorm1d, train", "(x - mean) / biased std", "(x - mean) / unbiased std",
                     "BatchNorm1d, eval"});
  double gap = 0;
  for (std::size_t n = 0; n < N; ++n)
    for (std::size_t c = 0; c < C; ++c) {
      if (batch.m2(c) > 0) gap = kit::worse(gap, std::abs(y.value()(n, c) - standardised(n, c, m)));
      if (n < kShown && c < kShown)
        values.add({std::to_string(n), input.names[c], number(x(n, c)), number(y.value()(n, c)),
                    number(standardised(n, c, m)), number(standardised(n, c, m - 1)), number(y_eval.value()(n, c))});
    }
  fmt::print("{}", values.text());
  if (N > kShown || C > kShown) fmt::print("(the first {} rows and columns)\n", kShown);

  kit::Table statistics(
      {"column", "mean", "biased var", "unbiased var", "unbiased std", "running_mean", "running_var"});
  for (std::size_t c = 0; c < std::min(C, kShown); ++c)
    statistics.add({input.names[c], number(batch.mean(c)), number(batch.m2(c) / m), number(batch.m2(c) / (m - 1)),
                    number(std::sqrt(batch.m2(c) / (m - 1))), number(bn.running_mean().value()(c)),
                    number(bn.running_var().value()(c))});
  fmt::print("\n{}num_batches_tracked = {}\n", statistics.text(), bn.num_batches_tracked());

  fmt::print(R"(
why
  train = biased      In train mode BatchNorm1d is (x - mean) / sqrt(biased var + eps), the variance divided by m = {}:
                      only so is mean(y^2) = 1. What is left, at most {:.1e}, is eps.
  train > unbiased    std() of most libraries divides by m - 1, so that result is smaller by sqrt((m-1)/m) = {:.4f}.
  running_mean        is 0.9 * 0 + 0.1 * mean: one step away from its initial value 0.
  running_var         is 0.9 * 1 + 0.1 * unbiased var: it estimates the population, and starts at 1.
  eval                In eval mode it is (x - running_mean) / sqrt(running_var + eps), far from train mode after one
                      step: the weight of the initial values after t steps is 0.9^t.
)",
             N, gap, std::sqrt((m - 1) / m));
  for (std::size_t c = 0; c < C; ++c)
    if (batch.m2(c) == 0)
      fmt::print("  column {}: all values are equal, the std is 0: BatchNorm1d gives 0, a division gives nan\n",
                 input.names[c]);
  claim_formulas(study, x, batch, y.value(), bn);
  if (thread) {
    study.near("outputs less those of the thread, which has four digits", 0,
               largest_difference(y.value(), kThreadOutputs), 5e-5);
    study.near("running mean less the thread's", 0, largest_difference(bn.running_mean().value(), kThreadMean), 5e-5);
    study.near("running variance less the thread's", 0, largest_difference(bn.running_var().value(), kThreadVar), 5e-5);
  }
  study.finish(draw(x, input.names[0], batch, bn));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"BatchNorm1d beside (x - mean) / std, number by number, and why they differ"};
  std::string data;
  kit::StudyOptions options;
  app.add_option("--data", data, "a CSV file of numbers, one column a channel (default: three rows, two columns)");
  options.add_to(app);
  return kit::run_main(app, argc, argv, [&] { compare(read(data), data.empty(), options); });
}
