// train_eval_gap: why eval mode gives another loss than train mode, part by part, and a chain of layers that shrinks
#include <fmt/format.h>

#include <cmath>
#include <xtgrad/batchnorm/report.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/options.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

struct Options {
  std::size_t layers = 20;
  std::size_t batch_size = 64;
  std::size_t epochs = 1;
  double lr = 1e-2;
  std::uint64_t seed = 0;
};

Dataset<double> digits(std::uint64_t seed) {
  const Dataset<float> rows = kit::load_data_set("digits", "", seed).rows.train;
  return {Tensor<double>(xt::cast<double>(rows.x.value())), rows.y};
}

// A network in training, looked at after some epochs.
void print_network(const Options& o) {
  manual_seed(o.seed);
  Sequential<double> net{Linear<double>(64, 64, {.bias = false}),
                         BatchNorm1d<double>(64),
                         Relu<double>(),
                         Linear<double>(64, 32, {.bias = false}),
                         BatchNorm1d<double>(32),
                         Relu<double>(),
                         Linear<double>(32, 10)};
  DataLoader<double> loader(digits(o.seed),
                            {.batch_size = o.batch_size, .shuffle = true, .drop_last = true, .seed = o.seed});
  Adam<double> adam(net.parameters(), {.lr = o.lr});
  for (std::size_t epoch = 0; epoch < o.epochs; ++epoch)
    for (auto [x, y] : loader) {
      adam.zero_grad();
      cross_entropy(net(x), y).backward();
      adam.step();
    }
  const BatchNormReport report = batch_norm_report(net, loader);

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

// Each layer normalises with the biased variance in train mode and with the unbiased one in eval mode.
void print_chain(const Options& o) {
  constexpr std::size_t C = 8;
  Sequential<double> chain;
  for (std::size_t i = 0; i < o.layers; ++i)
    chain.add(BatchNorm1d<double>(C, {.eps = 0, .momentum = std::nullopt, .affine = false}));
  Generator generator(o.seed);
  Tensor<double> x, y;
  for (int batch = 0; batch < 20; ++batch) {
    // white: mean 0 and biased variance 1 in every column
    x = batch_norm(generator.normal<double>({o.batch_size, C}), Tensor<double>(), Tensor<double>(), 0).y;
    y = chain(x);
  }
  chain.eval();
  const Tensor<double> z = chain(x);
  const double m = static_cast<double>(o.batch_size);
  fmt::print(
      "\nA chain of {} BatchNorm1d without gamma and beta, batches of {}, eval mode to train mode:\n"
      "predicted ((m-1)/m)^(L/2) = {:.3f}\nmeasured  {:.3f}\n",
      o.layers, o.batch_size, std::pow((m - 1) / m, static_cast<double>(o.layers) / 2),
      std::sqrt(sum(z * z).item() / sum(y * y).item()));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Why eval mode gives another loss than train mode, part by part"};
  Options o;
  app.add_option("--layers", o.layers, "of the chain")->check(kit::whole(1, 1000))->capture_default_str();
  app.add_option("--batch-size", o.batch_size, "of the network and of the chain")
      ->check(kit::whole(3, 700))
      ->capture_default_str();
  app.add_option("--epochs", o.epochs, "of the network")->check(kit::whole())->capture_default_str();
  app.add_option("--lr", o.lr, "learning rate")->check(kit::positive())->capture_default_str();
  app.add_option("--seed", o.seed, "of the weights and the rows")->check(kit::whole(0))->capture_default_str();
  return kit::run_main(app, argc, argv, [&] {
    print_network(o);
    print_chain(o);
  });
}
