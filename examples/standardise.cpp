// standardise: BatchNorm1d beside (x - mean) / std, number by number, and why they differ
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <xtgrad/datasets/csv.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/options.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

// At most this many rows and columns of the input are printed; the statistics always see all of it.
constexpr std::size_t kShown = 6;

struct Input {
  Array<double> x;  // (N, C)
  std::vector<std::string> names;
};

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

void compare(const Input& input) {
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
      if (batch.m2(c) > 0) gap = std::max(gap, std::abs(y.value()(n, c) - standardised(n, c, m)));
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
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"BatchNorm1d beside (x - mean) / std, number by number, and why they differ"};
  std::string data;
  app.add_option("--data", data, "a CSV file of numbers, one column a channel (default: three rows, two columns)");
  return kit::run_main(app, argc, argv, [&] { compare(read(data)); });
}
