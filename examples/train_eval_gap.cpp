// train_eval_gap: why eval mode gives another loss than train mode, part by part, and a chain of layers that shrinks
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <xtgrad/batchnorm/report.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

struct Options : kit::StudyOptions {
  std::size_t layers = 20;
  std::size_t batch_size = 64;
  std::size_t epochs = 1;
  double lr = 1e-2;
};

// A report on a network in training, and the gap of its loss measured apart from it.
struct Look {
  BatchNormReport report;
  double gap = 0;
  double scale = 1;  // of the losses, for rounding
};

Look train_and_look(const Options& o, std::uint64_t seed) {
  manual_seed(seed);
  Sequential<double> net = kit::make_mlp<double>({64, 64, 32, 10}, BatchNorm1dOptions{});
  const Dataset<float> digits = kit::load_data_set("digits", "", seed).rows.train;
  const Dataset<double> rows =
      kit::in_double(kit::first_rows(digits, digits.size() / o.batch_size * o.batch_size));  // whole batches

  DataLoader<double> loader(rows, {.batch_size = o.batch_size, .shuffle = true, .seed = seed});
  Adam<double> adam(net.parameters(), {.lr = o.lr});
  for (std::size_t epoch = 0; epoch < o.epochs; ++epoch) kit::train_epoch(net, loader, adam);
  DataLoader<double> in_order(rows, {.batch_size = o.batch_size});
  Look look{.report = batch_norm_report(net, in_order)};
  net.eval();
  look.gap = kit::evaluate(net, rows, o.batch_size).loss;
  net.train();
  const double batch_loss = kit::evaluate(net, rows, o.batch_size).loss;
  look.gap -= batch_loss;
  look.scale = std::max(1.0, std::abs(batch_loss));
  return look;
}

void print_report(const Options& o, const BatchNormReport& report) {
  fmt::print("digits, 64-64-32-10, after {} epoch(s) in batches of {}; the same rows under each choice of statistics\n",
             o.epochs, o.batch_size);
  kit::Table choices({"statistics", "loss", "accuracy", "mean |dy| to EMA"});
  for (const StatisticsResult& r : report.statistics)
    choices.add({r.statistics, fmt::format("{:.6f}", r.loss), fmt::format("{:.2f} %", 100 * r.accuracy),
                 fmt::format("{:.4f}", r.distance)});
  fmt::print("{}", choices.text());

  kit::Table parts({"part of the gap", "loss", "accuracy"});
  double loss = 0, accuracy = 0;
  for (const GapPart& part : report.parts) {
    parts.add({part.part, fmt::format("{:+.6f}", part.loss), fmt::format("{:+.2f} %", 100 * part.accuracy)});
    loss += part.loss;
    accuracy += part.accuracy;
  }
  parts.add({"sum", fmt::format("{:+.6f}", loss), fmt::format("{:+.2f} %", 100 * accuracy)});
  parts.add({"measured: EMA - batch", fmt::format("{:+.6f}", report.loss_gap),
             fmt::format("{:+.2f} %", 100 * report.accuracy_gap)});
  fmt::print("\n{}", parts.text());

  kit::Table layers(
      {"layer", "part", "scale: theory", "predicted", "measured", "shift: theory", "predicted", "measured"});
  for (const LayerPart& p : report.layers) {
    std::vector<std::string> line{p.layer, p.part};
    for (const double LayerPart::Map::*number : {&LayerPart::Map::scale, &LayerPart::Map::shift})
      for (const LayerPart::Map& map : {p.theory, p.predicted, p.measured})
        line.push_back(fmt::format("{:.5f}", map.*number));
    layers.add(line);
  }
  fmt::print("\nWhat each part does to xhat, root mean squares over the channels:\n{}", layers.text());
  fmt::print(
      "Theory: independent rows, and weights that stand still. Predicted: from the statistics. Measured: on the "
      "outputs.\n"
      "Above another BatchNorm the rows are no longer independent, so there is less sampling noise than theory says; "
      "and\n"
      "where the lag is beyond theory, the weights have moved faster than the running statistics.\n");
}

// What the parts of a report leave open.
struct Remainders {
  double loss = 0;    // the gap less the sum of its parts
  double scale = 0;   // of a layer's part: predicted less measured, the largest
  double Bessel = 0;  // the same of that part, theory less measured
};

Remainders remainders(const Look& look) {
  Remainders r{.loss = look.gap};
  for (const GapPart& part : look.report.parts) r.loss -= part.loss;
  for (const LayerPart& p : look.report.layers) {
    r.scale = kit::worse(r.scale, std::abs(p.predicted.scale / p.measured.scale - 1));
    if (p.part == "Bessel") r.Bessel = kit::worse(r.Bessel, std::abs(p.theory.scale / p.measured.scale - 1));
  }
  return r;
}

// What may be left at least: the running means, 0 but for rounding, are some 1e-17.
constexpr double kLeast = 1e-11;

// Each layer normalises with the biased variance in train mode and with the unbiased one in eval mode: what is left of the
// values after each of them, eval mode to train mode.
std::vector<double> shrink(const Options& o, std::uint64_t seed) {
  constexpr std::size_t C = 8;
  Sequential<double> chain;
  for (std::size_t i = 0; i < o.layers; ++i)
    chain.add(BatchNorm1d<double>(C, {.eps = 0, .momentum = std::nullopt, .affine = false}));
  Generator generator(seed);
  Tensor<double> x;
  for (int batch = 0; batch < 20; ++batch) {
    // white: mean 0 and biased variance 1 in every column, as it is after each layer in train mode
    x = batch_norm(generator.normal<double>({o.batch_size, C}), Tensor<double>(), Tensor<double>(), 0).y;
    chain(x);
  }
  chain.eval();
  std::vector<double> left;
  const double whole = sum(x * x).item();
  for (std::size_t i = 0; i < o.layers; ++i) {
    x = chain[i](x);
    left.push_back(std::sqrt(sum(x * x).item() / whole));
  }
  return left;
}

void run(const Options& o) {
  const double m = static_cast<double>(o.batch_size), most = std::floor(2 * std::log(kLeast) / std::log((m - 1) / m));
  if (static_cast<double>(o.layers) > most)
    throw CLI::ValidationError(
        "--layers", fmt::format("{} layers leave less of batches of {} than rounding does; at most {}", o.layers,
                                o.batch_size, most));
  kit::Study study("train_eval_gap", o);
  Remainders worst;
  for (std::uint64_t seed = o.seed; seed < o.seed + o.seeds; ++seed) {
    const Look look = train_and_look(o, seed);
    if (seed == o.seed) print_report(o, look.report);
    const Remainders r = remainders(look);
    const double relative = std::abs(r.loss) / look.scale;
    worst = {kit::worse(worst.loss, relative), kit::worse(worst.scale, r.scale), kit::worse(worst.Bessel, r.Bessel)};
  }
  study.exact("eval less train mode: measured gap less the sum of its parts", 0, worst.loss, 1e-12);
  study.exact("scale of Bessel's part, sqrt((m-1)/m) less measured, relative", 0, worst.Bessel, 1e-9);
  study.near("scale of any part, predicted less measured, relative", 0, worst.scale, 1e-4);

  std::vector<double> depth, predicted;
  for (std::size_t i = 1; i <= o.layers; ++i) {
    depth.push_back(static_cast<double>(i));
    predicted.push_back(std::pow((m - 1) / m, depth.back() / 2));
  }
  const std::vector<double> measured = shrink(o, o.seed);
  study.exact(fmt::format("chain of {} layers, eval to train mode: ((m-1)/m)^(L/2)", o.layers), predicted.back(),
              measured.back(), 1e-9 * predicted.back());
  kit::Plot plot{.title = fmt::format("A chain of BatchNorm1d without gamma and beta, batches of {}", o.batch_size),
                 .x_label = "layers L",
                 .y_label = "norm in eval mode over norm in train mode"};
  plot.add("predicted ((m-1)/m)^(L/2)", depth, predicted);
  plot.add("measured", depth, measured);
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Why eval mode gives another loss than train mode, part by part"};
  Options o;
  app.add_option("--layers", o.layers, "of the chain")->check(kit::whole(1, 1000))->capture_default_str();
  app.add_option("--batch-size", o.batch_size, "of the network and of the chain")
      ->check(kit::whole(4, 700))
      ->capture_default_str();
  app.add_option("--epochs", o.epochs, "of the network")->check(kit::whole())->capture_default_str();
  app.add_option("--lr", o.lr, "learning rate")->check(kit::positive())->capture_default_str();
  o.add_to(app);
  return kit::run_main(app, argc, argv, [&] { run(o); });
}
