// paper_mnist: the first experiment of the BatchNorm paper, sigmoids with and without it, over a grid of rates and weights
//
// Ioffe and Szegedy 2015, section 4.1 and Figure 1: a network of three hidden layers of 100 sigmoids, batches of 60 and
// Gaussian initial weights. BatchNorm before each sigmoid "helps the network train faster and achieve higher accuracy", and
// the distribution of a sigmoid's input is then "more stable". The paper gives neither the learning rate nor the standard
// deviation of the weights, so both claims are put to every cell of a grid of them. It trains for 50000 steps on binary
// images; here there are fewer steps, and grey pixels.
//
// Trains faster: the mean accuracy over the evaluations, the first of which is before the training, BN - plain, is at least
// 0. Drifts less: of the input of each sigmoid of the last hidden layer, for 1000 fixed rows with batch statistics, take the
// 15th, 50th and 85th percentile at every evaluation; a unit's drift is (largest - smallest median) / mean width from 15th
// to 85th. BatchNorm sets mean and width by beta and gamma, whatever the layers below do. Where a plain network has not
// begun to learn, the input hardly differs from row to row, and its drift is large. Both networks have the same initial
// weights and see the same batches.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <xtgrad/batchnorm/layers.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

constexpr std::size_t kBatch = 60, kTestRows = 2000, kFixedRows = 1000;
constexpr std::optional<double> kStds[] = {0.01, 0.1, std::nullopt};  // of the weights; nullopt: 1/sqrt(fan_in)
constexpr double kRates[] = {0.01, 0.1, 1};

struct Options : kit::StudyOptions {
  std::string data = kit::installed_images();
  std::size_t steps() const { return quick ? 300 : 5000; }
  std::size_t every() const { return quick ? 50 : 250; }  // steps between evaluations
};

enum class Norm { batch, none };

Sequential<> make_net(std::size_t inputs, Norm norm, std::optional<double> weight_std, std::uint64_t seed) {
  auto net = kit::make_mlp<float>({inputs, 100, 100, 100, 10}, norm == Norm::none, [&](Sequential<>& n, std::size_t w) {
    if (norm == Norm::batch) n.add(BatchNorm1d<>(w));
    n.add(Sigmoid<>());
  });
  Generator random(seed);
  for (auto& [name, parameter] : net.named_parameters())
    if (parameter.shape().size() == 2)
      init::normal(parameter, weight_std.value_or(1 / std::sqrt(static_cast<double>(parameter.shape()[1]))), random);
    else if (name.ends_with("bias"))
      parameter.mutable_value().fill(0);
  return net;
}

struct Percentiles {
  double low, median, high;  // 15th, 50th, 85th
};

// Of the inputs of each sigmoid of the last hidden layer.
std::vector<Percentiles> sigmoid_inputs(Sequential<>& net, const Tensor<>& x) {
  const NoGrad no_grad;
  const NormaliseWith batch_statistics(net, Statistics::batch);
  Tensor<> h = x;                                                  // (N, D), then (N, 100)
  for (std::size_t i = 0; i + 2 < net.size(); ++i) h = net[i](h);  // all but the last sigmoid and the last Linear
  std::vector<Percentiles> units;
  std::vector<float> values(h.shape()[0]);
  for (std::size_t unit = 0; unit < h.shape()[1]; ++unit) {
    for (std::size_t n = 0; n < values.size(); ++n) values[n] = h.value()(n, unit);
    std::sort(values.begin(), values.end());
    const auto at = [&](double p) {
      return static_cast<double>(
          values[static_cast<std::size_t>(std::lround(p * static_cast<double>(values.size() - 1)))]);
    };
    units.push_back({at(0.15), at(0.5), at(0.85)});
  }
  return units;
}

// What a network was like at the beginning and then at every evaluation.
struct Course {
  std::vector<double> accuracy = {};  // on held-out rows, in eval mode
  std::vector<std::vector<Percentiles>> units = {};

  double mean_accuracy() const {
    return std::accumulate(accuracy.begin(), accuracy.end(), 0.0) / static_cast<double>(accuracy.size());
  }
  double final_accuracy() const { return accuracy.back(); }
  double drift() const {
    double sum = 0;
    for (std::size_t u = 0; u < units[0].size(); ++u) {
      double smallest = units[0][u].median, largest = smallest, width = 0;
      for (const std::vector<Percentiles>& now : units) {
        smallest = std::min(smallest, now[u].median);
        largest = std::max(largest, now[u].median);
        width += (now[u].high - now[u].low) / static_cast<double>(units.size());
      }
      sum += (largest - smallest) / width;
    }
    return sum / static_cast<double>(units[0].size());
  }
};

Course train(Sequential<> net, const Split<float>& rows, double lr, const Options& options, std::uint64_t seed) {
  const Tensor<> fixed = slice(rows.test.x, 0, 0, std::min(kFixedRows, rows.test.size()));
  SGD<> sgd(net.parameters(), {.lr = lr});
  DataLoader<> loader(rows.train, {.batch_size = kBatch, .shuffle = true, .drop_last = true, .seed = seed});
  Course course;
  const auto look = [&] {
    net.eval();
    course.accuracy.push_back(kit::evaluate(net, rows.test, kTestRows).accuracy);
    net.train();
    course.units.push_back(sigmoid_inputs(net, fixed));
  };
  look();
  for (std::size_t step = 0; step < options.steps();)
    for (const Batch<float>& batch : loader) {
      sgd.zero_grad();
      cross_entropy(net(batch.x), batch.y).backward();
      sgd.step();
      if (++step % options.every() == 0) look();
      if (step == options.steps()) break;
    }
  return course;
}

// The two networks of one seed; a cell of the grid has all seeds.
struct Pair {
  Course bn, plain;
};
using Cell = std::vector<Pair>;
using Measure = double (Course::*)() const;

kit::Mean difference(const Cell& cell, Measure of) {
  return kit::mean_over(cell, [of](const Pair& p) { return (p.bn.*of)() - (p.plain.*of)(); });
}

// The first evaluation at which BN, in the mean over seeds, is as accurate as the plain network at the end.
std::string catches_up(const Cell& cell, std::size_t every) {
  const double goal = kit::mean_over(cell, [](const Pair& p) { return p.plain.final_accuracy(); }).value;
  for (std::size_t i = 0; i < cell[0].bn.accuracy.size(); ++i)
    if (kit::mean_over(cell, [i](const Pair& p) { return p.bn.accuracy[i]; }).value >= goal)
      return std::to_string(i * every);
  return "never";
}

void add_unit(kit::Plot& plot, const char* name, const Course& course, std::size_t every) {
  std::vector<double> step, low, median, high;
  for (std::size_t i = 0; i < course.units.size(); ++i) {
    const Percentiles& unit = course.units[i][0];
    step.push_back(static_cast<double>(i * every));
    low.push_back(unit.low);
    median.push_back(unit.median);
    high.push_back(unit.high);
  }
  plot.add_band(name, step, low, median, high);
}

void run(const Options& options) {
  kit::Study study("paper_mnist", options);
  kit::DataSet data = kit::load_data_set(options.data, "", options.seed);
  data.rows.test = kit::first_rows(data.rows.test, kTestRows);
  fmt::print(
      "{}, {}-100-100-100-10 with sigmoids, batches of {}, SGD, {} steps (the paper has 50000), {} seed(s);\n"
      "accuracy on {} held-out rows in eval mode, every {} steps, the last and the mean of all\n\n",
      options.data, data.columns(), kBatch, options.steps(), options.seeds, data.rows.test.size(), options.every());
  kit::Table table(
      {"std", "lr", "final BN", "plain", "mean BN", "plain", "drift BN", "plain", "BN has plain's final at step"});
  kit::Plot plot{.title = "Input of unit 0 of the last hidden layer, std 0.1, lr 0.1: median, 15th to 85th percentile",
                 .x_label = "training step",
                 .y_label = "value before the sigmoid"};

  kit::Progress bar(options.data, std::size(kStds) * std::size(kRates) * options.seeds);
  for (const std::optional<double> weight_std : kStds)
    for (const double lr : kRates) {
      Cell cell;
      for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
        const auto course = [&](Norm norm) {
          return train(make_net(data.columns(), norm, weight_std, seed), data.rows, lr, options, seed);
        };
        cell.push_back({course(Norm::batch), course(Norm::none)});
        bar.advance();
      }
      const std::string std_name = weight_std ? fmt::format("{}", *weight_std) : "1/sqrt(fan_in)";
      std::vector<std::string> row{std_name, fmt::format("{}", lr)};
      for (const Measure of : {&Course::final_accuracy, &Course::mean_accuracy, &Course::drift})
        for (const auto net : {&Pair::bn, &Pair::plain})
          row.push_back(fmt::format("{:.{}f}",
                                    kit::mean_over(cell, [=](const Pair& p) { return (p.*net.*of)(); }).value,
                                    of == &Course::drift ? 2 : 4));
      row.push_back(catches_up(cell, options.every()));
      table.add(row);
      study.at_least(fmt::format("std {}, lr {}: mean accuracy, BN - plain", std_name, lr), 0,
                     difference(cell, &Course::mean_accuracy));
      study.at_most(fmt::format("std {}, lr {}: drift, BN - plain", std_name, lr), 0, difference(cell, &Course::drift));
      if (weight_std == 0.1 && lr == 0.1) {
        add_unit(plot, "without BatchNorm", cell[0].plain, options.every());
        add_unit(plot, "with BatchNorm", cell[0].bn, options.every());
      }
    }
  bar.clear();
  fmt::print("{}", table.text());
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The first experiment of the BatchNorm paper, over a grid of learning rates and initial weights"};
  Options options;
  options.add_to(app, 3, 2);
  app.add_option("--data", options.data, "mnist, fashion or digits")
      ->check(CLI::IsMember({"mnist", "fashion", "digits"}))
      ->capture_default_str();
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
