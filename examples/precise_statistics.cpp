// precise_statistics: BatchNorm's moving averages against statistics measured anew, by the rows that go into them
//
// Wu and Johnson 2021 (Rethinking "Batch" in BatchNorm, section 3): an exponential moving average (EMA) of batch statistics
// holds those of weights that training has left behind. Statistics measured anew with the final weights ("precise") give a
// better network in eval mode, and 10^3 to 10^4 rows suffice for them.
//
// Each network is trained once, with momentum 1: the running statistics are then the last batch's, and the program blends
// them into EMAs itself. Adam's rate stays where it is, so that the weights still move at the end.
//
// Theory: rows enter the first layer independently, and the mean of n of N of them, drawn without replacement, has the
// variance s^2/n (1 - n/N). An EMA with weight a for each of t batches holds its initial values with weight r = (1 - a)^t,
// and averages noise like m (2 - a)/a (1 - r)/(1 + r) rows of equal weight, m in a batch.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <xtgrad/batchnorm/layers.hpp>
#include <xtgrad/batchnorm/recalibrate.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

constexpr std::size_t kBatch = 32, kEpochs = 2;
constexpr std::array kMomenta = {0.5, 0.1, 0.01, 0.001};

// Running mean and variance of every BatchNorm layer, end to end.
template <class T> std::vector<double> running_statistics(Sequential<T>& net) {
  std::vector<double> all;
  for (const auto& [label, bn] : batch_norm_layers(net))
    for (const Tensor<T>& statistic : {bn->running_mean(), bn->running_var()})
      all.insert(all.end(), statistic.data(), statistic.data() + statistic.size());
  return all;
}

void set_running_statistics(Sequential<float>& net, const std::vector<double>& all) {
  auto next = all.begin();
  for (const auto& [label, bn] : batch_norm_layers(net)) {
    Array<float> mean = bn->running_mean().value(), var = mean;
    for (Array<float>* const statistic : {&mean, &var})
      for (float& value : statistic->storage()) value = static_cast<float>(*next++);
    bn->set_running_statistics(mean, var);
  }
}

template <class T> struct Trained {
  Sequential<T> net;
  std::vector<double> last;                   // running statistics
  std::vector<std::vector<double>> averages;  // of the running statistics after each step, for each of kMomenta
};

template <class T>
Trained<T> train(const Dataset<T>& rows, const BatchNorm1dOptions& norm, std::uint64_t seed, std::size_t steps) {
  manual_seed(seed);
  Trained<T> run{kit::make_mlp<T>({rows.x.shape()[1], 100, 100, 10}, norm), {}, {}};
  run.last = running_statistics(run.net);
  run.averages.assign(kMomenta.size(), run.last);
  Adam<T> adam(run.net.parameters(), {.lr = 1e-2});
  DataLoader<T> loader(rows, {.batch_size = kBatch, .shuffle = true, .drop_last = true, .seed = seed});
  for (std::size_t t = 0; t < steps;)
    for (auto [x, y] : loader) {
      adam.zero_grad();
      cross_entropy(run.net(x), y).backward();
      adam.step();
      run.last = running_statistics(run.net);
      for (std::size_t k = 0; k < kMomenta.size(); ++k)
        for (std::size_t i = 0; i < run.last.size(); ++i)
          run.averages[k][i] += kMomenta[k] * (run.last[i] - run.averages[k][i]);
      if (++t == steps) break;
    }
  run.net.eval();
  return run;
}

// The program's averages are the layers' own, and those hold their initial values with weight r. In double; networks that
// differ in momentum alone have the same weights and batches.
void check_averages(kit::Study& study, const Dataset<double>& rows, std::uint64_t seed) {
  constexpr std::size_t steps = 50, k = 1;
  constexpr double a = kMomenta[k];
  const std::vector<double> kept = train(rows, {.momentum = 1}, seed, steps).averages[k],
                            layer = train(rows, {.momentum = a}, seed, steps).last,
                            without = train(rows, {.momentum = a, .debias = true}, seed, steps).last,
                            initial = train(rows, {}, seed, 0).last;
  double apart = 0, moved = 0, along = 0, whole = 0;  // layer = (1 - r) without + r initial
  for (std::size_t i = 0; i < layer.size(); ++i) {
    apart += std::pow(kept[i] - layer[i], 2);
    moved += std::pow(initial[i] - layer[i], 2);
    along += (layer[i] - without[i]) * (initial[i] - without[i]);
    whole += std::pow(initial[i] - without[i], 2);
  }
  study.exact("EMA kept by the program, a = 0.1, minus the layers': relative", 0, std::sqrt(apart / moved), 1e-12);
  study.exact("weight of the initial values after 50 steps: (1 - a)^50", std::pow(1 - a, steps), along / whole, 1e-12);
}

// A choice of statistics, and what was measured under it for each seed.
struct Choice {
  std::string name;
  double rows;                         // that it averages
  std::vector<double> loss, accuracy;  // on the held-out rows
  std::vector<double> noise;           // squared error of the first layer's mean over the error that theory gives
};

// Replaces the running statistics by precise ones of these rows, and returns the first layer's mean and variance.
std::pair<Tensor<float>, Tensor<float>> measure_statistics(Sequential<float>& net, const Dataset<float>& rows) {
  DataLoader<float> loader(rows, {.batch_size = kBatch, .min_batch = 2});
  recalibrate(net, loader);
  const auto& first = net.get<BatchNorm1d<float>>(1);
  return {Tensor<float>(first.running_mean().value()), Tensor<float>(first.running_var().value())};
}

// Adds a value of one network to each list of each choice. The EMAs come first, all rows last.
void measure(std::vector<Choice>& choices, Trained<float>& run, const Split<float>& data, std::uint64_t seed) {
  const auto add = [&](Choice& choice) {
    const kit::Evaluation<float> result = kit::evaluate(run.net, data.test, 1000);
    choice.loss.push_back(result.loss);
    choice.accuracy.push_back(result.accuracy);
  };
  for (std::size_t k = 0; k < kMomenta.size(); ++k) {
    set_running_statistics(run.net, run.averages[k]);
    add(choices[k]);
  }
  const std::size_t N = data.train.size();
  const std::vector<std::size_t> order = Generator(seed).permutation(N);
  const auto all = measure_statistics(run.net, data.train.rows(order.data(), N));
  add(choices.back());
  for (std::size_t i = kMomenta.size(); i + 1 < choices.size(); ++i) {
    const double n = choices[i].rows, theory = (1 - n / static_cast<double>(N)) / n;
    const auto some = measure_statistics(run.net, data.train.rows(order.data(), static_cast<std::size_t>(n)));
    add(choices[i]);
    const Tensor<float> squares = (some.first - all.first) * (some.first - all.first) / all.second;
    choices[i].noise.push_back(static_cast<double>(mean(squares).item()) / theory);
  }
}

void run(const kit::StudyOptions& options, const std::string& name) {
  kit::Study study("precise_statistics", options);
  Split<float> data = kit::load_data_set(name, "", options.seed).rows;
  data = {kit::first_rows(data.train, options.quick ? 2000 : 10000),
          kit::first_rows(data.test, options.quick ? 1000 : 5000)};
  const std::size_t N = data.train.size(), steps = kEpochs * (N / kBatch);
  fmt::print("{}, {}-100-100-10 with BatchNorm, {} rows, Adam at lr 1e-2, {} steps in batches of {}, {} seed(s)\n",
             name, data.train.x.shape()[1], N, steps, kBatch, options.seeds);
  check_averages(study, kit::in_double(kit::first_rows(data.train, 1600)), options.seed);

  std::vector<Choice> choices;
  for (const double a : kMomenta) {
    const double r = std::pow(1 - a, steps);
    choices.push_back({fmt::format("EMA, a = {}", a), kBatch * (2 - a) / a * (1 - r) / (1 + r), {}, {}, {}});
  }
  const auto rows_there = static_cast<double>(N);
  for (const double n : {32.0, 100.0, 320.0, 1000.0, 3200.0, rows_there})
    if (n <= rows_there) choices.push_back({"precise", n, {}, {}, {}});
  kit::Progress bar("networks", options.seeds);
  for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    Trained<float> trained = train(data.train, {.momentum = 1}, seed, steps);
    measure(choices, trained, data, seed);
    bar.advance();
  }
  bar.clear();

  const Choice& all = choices.back();
  kit::Table table({"statistics", "rows", "loss", "excess loss", "std. error", "accuracy", "noise / theory"});
  for (const Choice& c : choices) {
    const kit::Mean excess = kit::mean_difference(c.loss, all.loss);
    table.add({c.name, fmt::format("{:.0f}", c.rows), fmt::format("{:.5f}", kit::mean_of(c.loss).value),
               fmt::format("{:+.5f}", excess.value),
               std::isnan(excess.standard_error) ? "unknown" : fmt::format("{:.5f}", excess.standard_error),
               fmt::format("{:.2f} %", 100 * kit::mean_of(c.accuracy).value),
               c.noise.empty() ? "-" : fmt::format("{:.3f}", kit::mean_of(c.noise).value)});
  }
  fmt::print(
      "{}{} held-out rows; excess over precise with all rows; an EMA's rows are those it is worth against noise\n",
      table.text(), data.test.size());

  for (const std::size_t k : {1U, 2U, 0U})
    study.at_least(fmt::format("loss, {} minus precise", choices[k].name), 0,
                   kit::mean_difference(choices[k].loss, all.loss));
  const auto with = [&](double rows) { return *std::ranges::find(choices, rows, &Choice::rows); };
  study.at_least("loss, EMA, a = 0.1 minus precise with 1000 rows", 0,
                 kit::mean_difference(choices[1].loss, with(1000).loss));
  study.near("accuracy, precise: 1000 rows minus all", 0, kit::mean_difference(with(1000).accuracy, all.accuracy),
             0.005);
  study.at_most("accuracy, precise: 100 rows minus all", 0, kit::mean_difference(with(100).accuracy, all.accuracy));
  study.near("first layer, 1000 rows: squared error of the mean over theory", 1, kit::mean_of(with(1000).noise), 0.15);

  kit::Plot plot{.title = name + ": what a network loses by its BatchNorm statistics",
                 .x_label = "rows measured",
                 .y_label = "held-out loss above that with all rows (nats)",
                 .log_x = true,
                 .log_y = true};
  std::vector<double> rows, excess;
  for (std::size_t i = kMomenta.size(); i + 1 < choices.size(); ++i) {
    rows.push_back(choices[i].rows);
    excess.push_back(kit::mean_difference(choices[i].loss, all.loss).value);
  }
  plot.add("precise", rows, excess);
  for (std::size_t k = 0; k < kMomenta.size(); ++k)
    plot.add(choices[k].name, rows,
             std::vector<double>(rows.size(), kit::mean_difference(choices[k].loss, all.loss).value));
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"BatchNorm's moving averages against statistics measured anew"};
  kit::StudyOptions options;
  options.add_to(app, 100, 10);
  std::string data = kit::installed_images();
  app.add_option("--data", data, "digits, fashion or mnist")
      ->check(CLI::IsMember({"digits", "fashion", "mnist"}))
      ->capture_default_str();
  return kit::run_main(app, argc, argv, [&] { run(options, data); });
}
