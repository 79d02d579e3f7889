// scale_invariance: weight decay on weights before BatchNorm is a schedule of the learning rate, and nothing else
//
// BN((c W) x) = BN(W x): the loss does not know the length of W, and its gradient shrinks as W grows. SGD with weight decay
// wd and rate lr is therefore SGD without decay whose rate is lr a^(-2t-1) in step t, a = 1 - lr wd (van Laarhoven 2017;
// Li and Arora 2019): its weights are a^-t times as long, and point the same way. Here eps is 0, there is no momentum, decay
// acts on weights followed by BatchNorm only, and the last layer is frozen.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/study.hpp"

namespace {

using namespace xtgrad;

constexpr double kRate = 0.05, kDecay = 0.1;
constexpr double kNever = std::numeric_limits<double>::infinity();

// How a run sets the learning rate of its weights.
enum class Rates { constant, growing };

struct Run {
  std::vector<double> losses;
  double length = 0;  // of all weights before BatchNorm, at the end
  double growth = 0;  // of its square, over the sum of lr^2 |dW|^2 of the steps
};

double squared_length(const std::vector<Tensor<double>>& tensors) {
  double total = 0;
  for (const Tensor<double>& t : tensors) total += sum(t * t).item();
  return total;
}

Run train(const Dataset<double>& rows, std::uint64_t seed, double decay, Rates rates, double eps, std::size_t steps) {
  manual_seed(seed);
  Sequential<double> net = kit::make_mlp<double>({64, 64, 32, 10}, BatchNorm1dOptions{.eps = eps});
  std::vector<Tensor<double>> weights, others;
  for (auto& [name, tensor] : net.named_parameters())
    if (name == "0.weight" || name == "3.weight")
      weights.push_back(tensor);
    else if (name.starts_with("6."))
      tensor.requires_grad(false);
    else
      others.push_back(tensor);
  SGD<double> sgd({{weights, {.lr = kRate, .weight_decay = decay}}, {others, {.lr = kRate}}});

  DataLoader<double> loader(rows, {.batch_size = 64, .shuffle = true, .drop_last = true, .seed = seed});
  const double a = 1 - kRate * kDecay, start = squared_length(weights);
  Run run;
  double steps_squared = 0;
  while (run.losses.size() < steps)
    for (auto [x, y] : loader) {
      if (rates == Rates::growing)
        sgd.set_lr(kRate * std::pow(a, -2.0 * static_cast<double>(run.losses.size()) - 1), 0);
      sgd.zero_grad();
      const Tensor<double> loss = cross_entropy(net(x), y);
      loss.backward();
      for (const Tensor<double>& w : weights) steps_squared += std::pow(sgd.lr(0), 2) * squared_length({w.grad()});
      sgd.step();
      run.losses.push_back(loss.item());
      if (run.losses.size() == steps) break;
    }
  run.length = std::sqrt(squared_length(weights));
  run.growth = (squared_length(weights) - start) / steps_squared;
  return run;
}

double largest_difference(const Run& a, const Run& b) {
  double largest = 0;
  for (std::size_t t = 0; t < a.losses.size(); ++t) largest = kit::worse(largest, std::abs(a.losses[t] - b.losses[t]));
  return largest;
}

void run(const kit::StudyOptions& options) {
  kit::Study study("scale_invariance", options);
  constexpr std::size_t steps = 200;
  const double a = 1 - kRate * kDecay;
  const Dataset<double> rows = kit::in_double(kit::load_data_set("digits", "", options.seed).rows.train);
  fmt::print("digits, 64-64-32-10 with BatchNorm, SGD in double, lr {}, weight decay {}, {} steps, {} seed(s)\n", kRate,
             kDecay, steps, options.seeds);

  Run decayed, growing, neither;  // of the last seed
  double apart = 0, length = 0, growth = 0, without = kNever, with_eps = kNever;
  for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    const auto compare = [&](double decay, Rates rates, double eps) {
      return train(rows, seed, decay, rates, eps, steps);
    };
    decayed = compare(kDecay, Rates::constant, 0);
    growing = compare(0, Rates::growing, 0);
    neither = compare(0, Rates::constant, 0);
    apart = kit::worse(apart, largest_difference(decayed, growing));
    length = kit::worse(length, std::abs(growing.length / decayed.length * std::pow(a, steps) - 1));
    growth = kit::worse(growth, std::abs(neither.growth - 1));
    without = -kit::worse(-without, -largest_difference(decayed, neither));
    with_eps = -kit::worse(
        -with_eps, -largest_difference(compare(kDecay, Rates::constant, 1e-3), compare(0, Rates::growing, 1e-3)));
  }
  fmt::print("loss after the last step: {:.10f} with decay, {:.10f} with growing rates, {:.10f} with neither\n",
             decayed.losses.back(), growing.losses.back(), neither.losses.back());
  study.exact("loss curves of decay and of growing rates, largest difference", 0, apart, 1e-8);
  study.exact("|W| with growing rates over |W| with decay less a^-t, relative", 0, length, 1e-8);
  study.exact("growth of |W|^2 with neither less sum of lr^2 |dW|^2, relative", 0, growth, 1e-8);
  study.at_least("loss curves where the rates do not grow, largest difference", 1e-3, {without});
  study.at_least("loss curves with eps = 1e-3, largest difference", 1e-6, {with_eps});

  std::vector<double> t(steps);
  for (std::size_t i = 0; i < steps; ++i) t[i] = static_cast<double>(i);
  kit::Plot plot{.title = "Weight decay as a learning rate", .x_label = "step", .y_label = "training loss (nats)"};
  plot.add("weight decay 0.1", t, decayed.losses);
  plot.add("no decay, rate lr a^(-2t-1)", t, growing.losses);
  plot.add("no decay, rate lr", t, neither.losses);
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Weight decay before BatchNorm against a schedule of the learning rate"};
  kit::StudyOptions options;
  options.add_to(app);
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
