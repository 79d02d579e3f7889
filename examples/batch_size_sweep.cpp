// batch_size_sweep: small batches hurt BatchNorm, in eval mode and in the gradient
//
// Ioffe 2017 (Batch renormalization): with small batches the statistics are noise, and a network trained under them is
// another than the one evaluated. Here networks with and without BatchNorm see the same rows in batches of m, for the same
// number of epochs, at a rate in proportion to m.
//
// The mean of the batches' gradients is, without BatchNorm, the gradient of the whole set. With it the loss of a row depends
// on its batch, and (m - 2) of m directions of the gradient pass each normalisation: none of two rows. Their xhat is
// +- u / sqrt(u^2 + eps), u half their difference, and eps leaks the derivative eps / (u^2 + eps)^(3/2): next to nothing
// where |u| is well above sqrt(eps), and 1 / sqrt(eps) below. In one channel such spikes are rare, but their mean does not
// vanish with eps (the area under them is 2), and their mean square is in proportion to eps^(-1/2).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
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

const std::vector<std::size_t> kWidths{64, 64, 32, 10};
constexpr std::size_t kRows = 1200;  // that gradients are taken on; every m divides them

// What was measured with batches of m, a value for each seed.
struct Size {
  std::size_t m;
  std::vector<double> plain = {}, eval = {}, batch = {};  // accuracy on the held-out rows
  std::vector<double> cosine = {};                        // between the mean gradient and that of the whole set
  std::vector<double> length = {};                        // of the first layer's mean gradient
};

kit::Mean ratio(std::vector<double> a, const std::vector<double>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] /= b[i];
  return kit::mean_of(a);
}

Sequential<float> train(const Dataset<float>& rows, const std::optional<BatchNorm1dOptions>& norm, std::size_t m,
                        std::size_t epochs, std::uint64_t seed) {
  manual_seed(seed);
  Sequential<float> net = kit::make_mlp<float>(kWidths, norm);
  SGD<float> sgd(net.parameters(), {.lr = 0.1 * static_cast<double>(m) / 60, .momentum = 0.9});
  DataLoader<float> loader(rows, {.batch_size = m, .shuffle = true, .drop_last = true, .seed = seed});
  for (std::size_t epoch = 0; epoch < epochs; ++epoch) kit::train_epoch(net, loader, sgd);
  net.eval();
  return net;
}

void add_accuracies(Size& size, const Split<float>& data, std::size_t epochs, std::uint64_t seed) {
  Sequential<float> plain = train(data.train, std::nullopt, size.m, epochs, seed);
  size.plain.push_back(kit::evaluate(plain, data.test, data.test.size()).accuracy);
  Sequential<float> net = train(data.train, BatchNorm1dOptions{}, size.m, epochs, seed);
  size.eval.push_back(kit::evaluate(net, data.test, data.test.size()).accuracy);
  const NormaliseWith<float> guard(net, Statistics::batch);
  size.batch.push_back(kit::evaluate(net, data.test, size.m).accuracy);
}

// The gradients of the weights below the last layer.
struct Gradients {
  std::vector<Tensor<double>> mean;  // over the batches, of each layer
  std::vector<double> square;        // of each layer, the mean of its squared length
};

double dot(const Tensor<double>& a, const Tensor<double>& b) { return sum(a * b).item(); }
double dot(const Gradients& a, const Gradients& b) { return dot(a.mean[0], b.mean[0]) + dot(a.mean[1], b.mean[1]); }

// Of a network that has not been trained.
Gradients gradients(const Dataset<double>& rows, const std::optional<BatchNorm1dOptions>& norm, std::size_t m,
                    std::uint64_t seed) {
  manual_seed(seed);
  Sequential<double> net = kit::make_mlp<double>(kWidths, norm);
  const std::vector<Tensor<double>> weights{net.get<Linear<double>>(0).weight(),
                                            net.get<Linear<double>>(norm ? 3 : 2).weight()};
  DataLoader<double> loader(rows, {.batch_size = m});
  const double share = 1 / static_cast<double>(loader.batches());
  Gradients all{{Tensor<double>::zeros(weights[0].shape()), Tensor<double>::zeros(weights[1].shape())}, {0, 0}};
  for (auto [x, y] : loader) {
    const std::vector<Tensor<double>> of_batch = grad(cross_entropy(net(x), y), weights);
    for (std::size_t l = 0; l < weights.size(); ++l) {
      all.mean[l] = all.mean[l] + share * of_batch[l];
      all.square[l] += share * dot(of_batch[l], of_batch[l]);
    }
  }
  return all;
}

void run(const kit::StudyOptions& options) {
  kit::Study study("batch_size_sweep", options);
  set_warning_handler([](const std::string&) {});  // BatchNorm1d warns of batches of two rows
  const std::size_t epochs = options.quick ? 4 : 15;
  fmt::print("digits, 64-64-32-10, ReLU, SGD with momentum 0.9 at lr 0.1 m / 60, {} epochs, {} seed(s)\n", epochs,
             options.seeds);

  std::vector<Size> sizes{{2}, {4}, {8}, {16}, {60}};
  double identity = 0;                  // plain network: largest relative difference of the two gradients
  double without_eps = 0;               // two rows: largest gradient over that of 60, with eps = 0
  std::vector<double> spikes, smaller;  // two rows: root mean square of the second layer's gradient by eps
  kit::Progress bar("training", options.seeds * sizes.size());
  for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed) {
    const Split<float> data = kit::load_data_set("digits", "", seed).rows;
    const Dataset<double> rows = kit::in_double(kit::first_rows(data.train, kRows));
    const auto with_eps = [&](double eps, std::size_t m) { return gradients(rows, {{.eps = eps}}, m, seed); };
    const Gradients plain_whole = gradients(rows, std::nullopt, kRows, seed), whole = with_eps(1e-5, kRows);
    for (Size& size : sizes) {
      add_accuracies(size, data, epochs, seed);
      const Gradients plain = gradients(rows, std::nullopt, size.m, seed), norm = with_eps(1e-5, size.m);
      for (std::size_t l = 0; l < 2; ++l) {
        const Tensor<double> apart = plain.mean[l] - plain_whole.mean[l];
        identity = kit::worse(identity, std::sqrt(dot(apart, apart) / dot(plain_whole.mean[l], plain_whole.mean[l])));
      }
      size.cosine.push_back(dot(norm, whole) / std::sqrt(dot(norm, norm) * dot(whole, whole)));
      size.length.push_back(std::sqrt(dot(norm.mean[0], norm.mean[0])));
      bar.advance();
    }
    const Gradients two = with_eps(0, 2), sixty = with_eps(0, 60);
    for (std::size_t l = 0; l < 2; ++l)
      without_eps = kit::worse(without_eps, std::sqrt(two.square[l] / sixty.square[l]));
    spikes.push_back(std::sqrt(with_eps(1e-6, 2).square[1]));
    smaller.push_back(std::sqrt(with_eps(1e-4, 2).square[1]));
  }
  bar.clear();
  const Size &least = sizes.front(), &most = sizes.back();

  kit::Table table({"m", "plain", "BN, eval mode", "BN, batch statistics", "cosine", "first layer's gradient"});
  for (const Size& s : sizes) {
    const auto percent = [](const std::vector<double>& accuracy) { return kit::percent(kit::mean_of(accuracy)); };
    table.add({std::to_string(s.m), percent(s.plain), percent(s.eval), percent(s.batch),
               fmt::format("{:.4f}", kit::mean_of(s.cosine).value),
               fmt::format("{:.4f}", ratio(s.length, most.length).value)});
  }
  fmt::print(
      "{}accuracy on held-out rows; at initialisation: cosine of the mean of the batches' gradients and the whole "
      "set's,\n"
      "and the length of the first layer's over that at m = 60\n",
      table.text());

  study.at_least("BN, eval mode: accuracy at m = 60 minus m = 2", 0.01, kit::mean_difference(most.eval, least.eval));
  study.at_most("m = 2: accuracy with batch statistics minus eval mode", 0,
                kit::mean_difference(least.batch, least.eval));
  study.near("m = 60: accuracy with batch statistics minus eval mode", 0, kit::mean_difference(most.batch, most.eval),
             0.01);
  study.at_most("m = 2: accuracy of BN, eval mode, minus plain", 0, kit::mean_difference(least.eval, least.plain));
  study.at_least("m = 60: accuracy of BN, eval mode, minus plain", 0, kit::mean_difference(most.eval, most.plain));
  study.exact("plain: mean of the batches' gradients minus the whole set's", 0, identity, 1e-12);
  study.at_least("BN: cosine of these two at m = 60 minus m = 2", 0, kit::mean_difference(most.cosine, least.cosine));
  study.at_least("BN: cosine of these two at m = 60", 0.9, kit::mean_of(most.cosine));
  study.exact("eps = 0: gradients at m = 2 over m = 60", 0, without_eps, 1e-9);
  study.at_most("eps = 1e-5: first layer's gradient at m = 2 over m = 60", 0.05, ratio(least.length, most.length));
  study.near("m = 2: second layer's RMS gradient, eps = 1e-6 over 1e-4: 100^(1/4)", std::sqrt(10),
             ratio(spikes, smaller), 0.1 * std::sqrt(10));

  kit::Plot plot{.title = "digits: accuracy after training in batches of m, with standard error",
                 .x_label = "m (rows in a batch)",
                 .y_label = "accuracy on held-out rows (%)",
                 .log_x = true};
  const auto add = [&](const char* name, std::vector<double> Size::*accuracy) {
    std::vector<double> m;
    std::vector<kit::Mean> means;
    for (const Size& s : sizes) {
      m.push_back(static_cast<double>(s.m));
      std::vector<double> percents = s.*accuracy;
      for (double& value : percents) value *= 100;
      means.push_back(kit::mean_of(percents));
    }
    kit::add_means(plot, name, m, means);
  };
  add("plain", &Size::plain);
  add("BatchNorm, eval mode", &Size::eval);
  add("BatchNorm, batch statistics", &Size::batch);
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"What small batches do to BatchNorm, in eval mode and in the gradient"};
  kit::StudyOptions options;
  options.add_to(app, 20, 3);
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
