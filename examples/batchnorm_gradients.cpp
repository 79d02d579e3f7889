// batchnorm_gradients: the laws of BatchNorm's backward pass, predicted and measured; where dx comes from; by batch size
#include <fmt/format.h>

#include <cmath>
#include <xtgrad/batchnorm/laws.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/options.hpp"
#include "kit/plot.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

struct Options {
  std::size_t batch_size = 32;
  double eps = 1e-5;
  std::uint64_t seed = 0;
  std::string plot;
};

// 64-32-16-10 on the digits, with the biases that BatchNorm makes useless, so that their law can be seen.
Sequential<double> make_network(double eps) {
  return Sequential<double>{Linear<double>(64, 32), BatchNorm1d<double>(32, {.eps = eps}), Tanh<double>(),
                            Linear<double>(32, 16), BatchNorm1d<double>(16, {.eps = eps}), Relu<double>(),
                            Linear<double>(16, 10)};
}

Batch<double> first_rows(std::size_t m, std::uint64_t seed) {
  const auto rows = kit::load_data_set("digits", "", seed).rows.train;
  std::vector<std::size_t> positions;
  for (std::size_t n = 0; n < std::min(m, rows.size()); ++n) positions.push_back(n);
  const Dataset<float> batch = rows.rows(positions.data(), positions.size());
  return {Tensor<double>(xt::cast<double>(batch.x.value())), batch.y};
}

double norm(const Tensor<double>& t) { return std::sqrt(sum(t * t).item()); }

void print_laws(Sequential<double>& net, const Batch<double>& batch) {
  kit::Table table({"layer", "law", "predicted", "measured", "residual"});
  for (const Law& law : batch_norm_laws(net, batch))
    table.add({law.layer, law.statement, fmt::format("{:.3e}", law.predicted), fmt::format("{:.3e}", law.measured),
               fmt::format("{:.0e}", law.residual)});
  fmt::print("{}", table.text());
}

// The three terms of dx in the first layer, and single elements beside a finite difference and the usual mistake.
void print_anatomy(Sequential<double>& net, const Batch<double>& batch) {
  auto& bn = net.get<BatchNorm1d<double>>(1);
  bn.update(false);
  Tensor<double> z, y, shift;  // the layer's input and output; what is added to the input
  const std::size_t first = net[0].add_hook([&](Module<double>&, const Tensor<double>&, Tensor<double>& out) {
    if (shift.defined()) out = out + shift;
    z = out;
  });
  const std::size_t second =
      net[1].add_hook([&](Module<double>&, const Tensor<double>&, Tensor<double>& out) { y = out; });
  const auto loss = [&] { return cross_entropy(net(batch.x), batch.y); };

  const Tensor<double> value = loss();
  const auto gradients = grad(value, {z, y});
  const Tensor<double> x = z.detach(), dx = gradients[0], dy = gradients[1];
  const NoGrad guard;
  const Tensor<double> centred = x - mean(x, {0}), inv_std = 1 / sqrt(var(x, {0}, true) + bn.options().eps);
  const Tensor<double> xhat = centred * inv_std, scale = bn.gamma() * inv_std;
  const Tensor<double> direct = scale * dy, mean_term = scale * mean(dy, {0}) + 0 * dy,
                       xhat_term = scale * xhat * mean(dy * xhat, {0});

  kit::Table terms({"term of dx in layer 1", "norm", "share"});
  const auto add = [&](const char* name, const Tensor<double>& t) {
    terms.add({name, fmt::format("{:.4e}", norm(t)), fmt::format("{:.2f} %", 100 * norm(t) / norm(direct))});
  };
  add("gamma s dy", direct);
  add("- gamma s mean(dy)", mean_term);
  add("- gamma s xhat mean(dy xhat)", xhat_term);
  add("dx", dx);
  add("dx - their sum", dx - (direct - mean_term - xhat_term));
  add("what is wrong if the statistics count as constants", direct - dx);
  fmt::print("\n{}\n", terms.text());

  kit::Table elements({"row", "channel", "dx", "finite difference", "statistics as constants"});
  for (std::size_t i = 0; i < 5; ++i) {
    const std::size_t n = i * x.shape()[0] / 5, c = i * x.shape()[1] / 5;
    const double h = 1e-5;
    const auto shifted = [&](double by) {
      Array<double> delta = full_array<double>(x.shape(), 0);
      delta(n, c) = by;
      shift = Tensor<double>(std::move(delta));
      return loss().item();
    };
    elements.add({std::to_string(n), std::to_string(c), fmt::format("{:+.6e}", dx.value()(n, c)),
                  fmt::format("{:+.6e}", (shifted(h) - shifted(-h)) / (2 * h)),
                  fmt::format("{:+.6e}", direct.value()(n, c))});
  }
  fmt::print("{}", elements.text());
  net[0].remove_hook(first);
  net[1].remove_hook(second);
}

// Of m independent directions two are taken away: 1 and xhat.
void print_batch_sizes(const Options& o) {
  constexpr std::size_t C = 256;
  kit::Table table({"m", "predicted (m-2)/m", "measured |dx|^2 / (gamma s |dy|)^2"});
  std::vector<double> ms, predicted, measured;
  Generator generator(o.seed);
  for (const std::size_t m : {2U, 3U, 4U, 6U, 8U, 16U, 32U, 64U, 128U, 256U}) {
    Tensor<double> x = generator.normal<double>({m, C});
    const Tensor<double> dy = generator.normal<double>({m, C});
    const BatchNormResult<double> result = batch_norm(x.requires_grad(true), Tensor<double>(), Tensor<double>(), o.eps);
    const Tensor<double> dx = grad(result.y, {x}, {.seed = dy})[0];
    double kept = 0;
    for (std::size_t c = 0; c < C; ++c) {
      double dx2 = 0, dy2 = 0;
      for (std::size_t n = 0; n < m; ++n) {
        dx2 += std::pow(dx.value()(n, c), 2);
        dy2 += std::pow(dy.value()(n, c), 2);
      }
      kept += dx2 * (result.batch.m2(c) / static_cast<double>(m) + o.eps) / dy2 / C;
    }
    ms.push_back(static_cast<double>(m));
    predicted.push_back((static_cast<double>(m) - 2) / static_cast<double>(m));
    measured.push_back(kept);
    table.add({std::to_string(m), fmt::format("{:.4f}", predicted.back()), fmt::format("{:.4f}", kept)});
  }
  fmt::print("\nHow much of a random gradient gets through, mean of {} channels of Gaussian values:\n{}", C,
             table.text());
  if (o.plot.empty()) return;
  kit::Plot plot{.title = "What BatchNorm lets through of a random gradient",
                 .x_label = "values per channel m",
                 .y_label = "|dx|^2 / (gamma s |dy|)^2",
                 .log_x = true};
  plot.add("predicted (m-2)/m", ms, predicted);
  plot.add("measured", ms, measured);
  plot.save(o.plot);
  fmt::print("plot: {}\n", o.plot);
}

void run(const Options& o) {
  if (!o.plot.empty()) kit::Plot::check(o.plot);
  manual_seed(o.seed);
  Sequential<double> net = make_network(o.eps);
  const Batch<double> batch = first_rows(o.batch_size, o.seed);
  fmt::print(
      "digits, a batch of {} rows, eps {}; s = 1 / sqrt(var + eps), d = eps / (var + eps), S sums over a channel\n\n",
      batch.y.size(), o.eps);
  print_laws(net, batch);
  print_anatomy(net, batch);
  print_batch_sizes(o);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The laws of BatchNorm's backward pass, predicted and measured, and where dx comes from"};
  Options o;
  app.add_option("--batch-size", o.batch_size, "rows in the batch")->check(kit::whole(3, 1437))->capture_default_str();
  app.add_option("--eps", o.eps, "added to the variance; with 0 the laws hold exactly")
      ->check(kit::between(0, 1e6))
      ->capture_default_str();
  app.add_option("--seed", o.seed, "of the weights and the rows")->check(kit::whole(0))->capture_default_str();
  app.add_option("--plot", o.plot, "draw what gets through by batch size into FILE.png or FILE.svg");
  return kit::run_main(app, argc, argv, [&] { run(o); });
}
