// gradient_explosion: at initialisation BatchNorm makes gradients grow with every layer, by a factor that theory gives
//
// Yang et al. 2019 (A mean field theory of batch normalization): going down through BatchNorm layers of a wide random
// network, the squared norm of the gradient grows by pi / (pi - 1) a ReLU layer for large batches, and by
// (m - 2) / (m - 3) a linear layer for batches of m > 3.
//
// The ReLU factor is taken in the middle of a deep network, where activations have settled. In a linear network of finite
// width n they do not: their directions drift from layer to layer, as the plot shows. Theory's factor is that of one layer,
// on the rows at which activations would settle, for an independent gradient. There the weights have m - 1 of their n
// directions among the rows, in which a longer weight does not make a longer gradient: the factor is
// (m - 2) / (m - 3) (1 - 2/n).
#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <xtgrad/xtgrad.hpp>

#include "kit/options.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"

namespace {

using namespace xtgrad;

constexpr std::size_t kWidth = 256, kWide = 1024, kDepth = 24;
// Of the layers, counted from the input, those whose growth is taken: activations and gradients have settled there.
constexpr std::size_t kFirst = 8, kLast = 20;

// The squared norm of the gradient at the input of each layer of one random network, in double.
std::vector<double> squared_norms(std::uint64_t seed, std::size_t m, bool relu) {
  Generator random(seed);
  std::vector<Tensor<double>> inputs{random.normal<double>({m, kWidth})};
  inputs[0].requires_grad(true);
  for (std::size_t l = 0; l < kDepth; ++l) {
    const Tensor<double> weight =
        random.normal<double>({kWidth, kWidth}, 0, 1 / std::sqrt(static_cast<double>(kWidth)));
    const Tensor<double> y = batch_norm(linear(inputs.back(), weight, Tensor<double>()), {}, {}, 0.0).y;
    inputs.push_back(relu ? xtgrad::relu(y) : y);
  }
  const Tensor<double> top = inputs.back();
  inputs.pop_back();
  std::vector<double> norms;
  for (const Tensor<double>& g : grad(top, inputs, {.seed = random.normal<double>(top.shape())}))
    norms.push_back(sum(g * g).item());
  return norms;
}

// m rows of n that are equally far from each other: as BatchNorm gives them, with mean 0 and variance 1.
Tensor<double> settled_rows(Generator& random, std::size_t m, std::size_t n) {
  Tensor<double> rows = random.normal<double>({m, n});
  auto& x = rows.mutable_value();
  for (std::size_t i = 0; i < m; ++i) {  // Gram and Schmidt
    for (std::size_t j = 0; j < i; ++j) {
      double along = 0;
      for (std::size_t k = 0; k < n; ++k) along += x(i, k) * x(j, k);
      for (std::size_t k = 0; k < n; ++k) x(i, k) -= along * x(j, k);
    }
    double squares = 0;
    for (std::size_t k = 0; k < n; ++k) squares += x(i, k) * x(i, k);
    for (std::size_t k = 0; k < n; ++k) x(i, k) /= std::sqrt(squares);
  }
  const double M = static_cast<double>(m);
  return (rows - mean(rows, {0})) * std::sqrt(static_cast<double>(n) * M / (M - 1));
}

// Growth - 1 through a linear layer on settled rows, of a gradient that does not depend on it and whose mean is 0, as it is
// below any BatchNorm.
kit::Mean linear_growth(std::size_t m, std::size_t width, std::size_t layers, std::uint64_t first_seed) {
  kit::Progress bar(fmt::format("linear layer of width {}, m = {}", width, m), layers);
  std::vector<double> growth;
  for (std::size_t s = 0; s < layers; ++s) {
    Generator random(first_seed + (std::uint64_t{m} << 32) + s);  // other rows and weights for each m
    Tensor<double> x = settled_rows(random, m, width);
    x.requires_grad(true);
    const Tensor<double> weight = random.normal<double>({width, width}, 0, 1 / std::sqrt(static_cast<double>(width)));
    const Tensor<double> y = batch_norm(linear(x, weight, Tensor<double>()), {}, {}, 0.0).y;
    Tensor<double> dy = random.normal<double>(y.shape());
    dy = dy - mean(dy, {0});
    const Tensor<double> dx = grad(y, {x}, {.seed = dy})[0];
    growth.push_back(sum(dx * dx).item() / sum(dy * dy).item() - 1);
    bar.advance();
  }
  bar.clear();
  return kit::mean_of(growth);
}

// Theory's growth at both widths, and in the limit of a wide layer.
void check_linear(kit::Study& study, const kit::StudyOptions& options) {
  const std::size_t layers = options.quick ? 100 : 1000;
  fmt::print("one linear layer: on the rows at which activations would settle, {} layers, {} of width {}\n", layers,
             layers / 4, kWide);
  std::vector<kit::Mean> growth;
  for (const std::size_t m : {8U, 32U, 128U}) {
    growth.push_back(linear_growth(m, kWidth, layers, options.seed));
    const double M = static_cast<double>(m), n = static_cast<double>(kWidth), limit = 1 / (M - 3);
    if (m < 128)
      study.near(fmt::format("one linear layer, m = {}: growth - 1 is 1/(m-3)", m), limit, growth.back(), 0.15 * limit);
    study.near(fmt::format("one linear layer, m = {}: growth - 1 is (m-2)/(m-3) (1 - 2/n) - 1", m),
               (M - 2) / (M - 3) * (1 - 2 / n) - 1, growth.back(), (m < 128 ? 0.05 : 0.15) * limit);
  }
  const double limit = 1.0 / (32 - 3);
  study.near(fmt::format("one linear layer, m = 32, width {}: growth - 1 is 1/(m-3)", kWide), limit,
             linear_growth(32, kWide, layers / 4, options.seed), 0.15 * limit);
  for (std::size_t i = 0; i + 1 < growth.size(); ++i)
    study.at_least(
        fmt::format("one linear layer, growth falls from m = {}", i == 0 ? "8 to 32" : "32 to 128"), 0,
        {growth[i].value - growth[i + 1].value, std::hypot(growth[i].standard_error, growth[i + 1].standard_error)});
}

struct Growth {
  kit::Mean factor;
  std::vector<double> norms;  // mean over seeds of the squared norm at each layer, over that at the top
};

Growth measure(const char* what, std::size_t m, bool relu, std::size_t seeds, std::uint64_t first_seed) {
  kit::Progress bar(fmt::format("{}, m = {}", what, m), seeds);
  std::vector<double> factors;
  Growth growth{{}, std::vector<double>(kDepth, 0)};
  for (std::size_t s = 0; s < seeds; ++s) {
    const std::vector<double> norms = squared_norms(first_seed + s, m, relu);
    double sum = 0;
    for (std::size_t l = kFirst; l < kLast; ++l) sum += norms[l] / norms[l + 1];
    factors.push_back(sum / static_cast<double>(kLast - kFirst));
    for (std::size_t l = 0; l < kDepth; ++l)
      growth.norms[l] += norms[l] / norms[kDepth - 1] / static_cast<double>(seeds);
    bar.advance();
  }
  bar.clear();
  growth.factor = kit::mean_of(factors);
  return growth;
}

void run(const kit::StudyOptions& options) {
  kit::Study study("gradient_explosion", options);
  const std::size_t seeds = options.seeds;
  fmt::print("{} layers of width {} at initialisation, growth of the squared gradient norm per layer, {} seeds\n",
             kDepth, kWidth, seeds);
  const double relu_factor = std::numbers::pi / (std::numbers::pi - 1);
  kit::Plot plot{.title = "Squared gradient norm at initialisation",
                 .x_label = "layers below the top",
                 .y_label = "squared norm over that of the top layer",
                 .log_y = true};
  std::vector<double> depth(kDepth);
  for (std::size_t l = 0; l < kDepth; ++l) depth[l] = static_cast<double>(kDepth - 1 - l);
  const auto record = [&](const char* what, std::size_t m, const Growth& growth) {
    plot.add(fmt::format("{}, m = {}", what, m), depth, growth.norms);
  };

  const Growth relu = measure("ReLU", 128, true, seeds, options.seed);
  record("ReLU", 128, relu);
  study.near("ReLU, m = 128: pi / (pi - 1)", relu_factor, relu.factor, 0.03 * relu_factor);
  for (const std::size_t m : {8U, 32U, 128U}) record("linear", m, measure("linear", m, false, seeds, options.seed));

  check_linear(study, options);
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"How fast gradients grow through BatchNorm layers at initialisation"};
  kit::StudyOptions options;
  options.add_to(app, 20, 5);
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
