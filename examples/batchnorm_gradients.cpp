// batchnorm_gradients: the laws of BatchNorm's backward pass, predicted and measured; where dx comes from; by batch size
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <xtgrad/batchnorm/laws.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/options.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

struct Options : kit::StudyOptions {
  std::size_t batch_size = 32;
  double eps = 1e-5;
};

// 64-32-16-10 on the digits, with the biases that BatchNorm makes useless, so that their law can be seen.
Sequential<double> make_network(double eps) {
  return Sequential<double>{Linear<double>(64, 32), BatchNorm1d<double>(32, {.eps = eps}), Tanh<double>(),
                            Linear<double>(32, 16), BatchNorm1d<double>(16, {.eps = eps}), Relu<double>(),
                            Linear<double>(16, 10)};
}

Batch<double> first_batch(std::size_t m, std::uint64_t seed) {
  return *DataLoader<double>(kit::in_double(kit::load_data_set("digits", "", seed).rows.train), {.batch_size = m})
              .begin();
}

double norm(const Tensor<double>& t) { return std::sqrt(sum(t * t).item()); }

// Of every seed a network and a batch; the table is that of the first, a claim has the worst residual of all.
void check_laws(const Options& o, kit::Study& study) {
  std::vector<std::pair<std::string, double>> worst;  // law and residual
  kit::Table table({"layer", "law", "predicted", "measured", "residual"});
  for (std::uint64_t seed = o.seed; seed < o.seed + o.seeds; ++seed) {
    manual_seed(seed);
    Sequential<double> net = make_network(o.eps);
    for (const Law& law : batch_norm_laws(net, first_batch(o.batch_size, seed))) {
      if (seed == o.seed)
        table.add({law.layer, law.statement, fmt::format("{:.3e}", law.predicted), fmt::format("{:.3e}", law.measured),
                   fmt::format("{:.0e}", law.residual)});
      const std::string name = law.statement.substr(0, law.statement.find(", to "));
      const auto known = std::ranges::find(worst, name, &std::pair<std::string, double>::first);
      if (known == worst.end())
        worst.emplace_back(name, law.residual);
      else
        known->second = kit::worse(known->second, law.residual);
    }
  }
  fmt::print("{}", table.text());
  for (const auto& [law, residual] : worst) study.exact(law, 0, residual, 1e-12);
}

// The three terms of dx in the first layer, and single elements beside a finite difference and the usual mistake.
void print_anatomy(Sequential<double>& net, const Batch<double>& batch, kit::Study& study) {
  auto& bn = net.get<BatchNorm1d<double>>(1);
  bn.update(false);
  Tensor<double> z, y, shift;  // the layer's input and output; what is added to the input
  const std::size_t first = net[0].add_hook([&](Module<double>&, const Tensor<double>&, Tensor<double>& out) {
    if (shift.defined()) out = out + shift;
    z = out;
  });
  const std::size_t second =
      net[1].add_hook([&](Module<double>&, const Tensor<double>&, Tensor<double>& out) { y = out; });
  // Row by row: differences are then taken of small numbers, and lose less to rounding.
  const auto losses = [&] { return cross_entropy(net(batch.x), batch.y, {.reduction = Reduction::none}); };

  const Tensor<double> value = mean(losses());
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
  double worst = 0;
  const double size = norm(dx) / std::sqrt(static_cast<double>(dx.size()));
  for (std::size_t i = 0; i < 5; ++i) {
    const std::size_t n = i * x.shape()[0] / 5, c = i * x.shape()[1] / 5;
    const double h = 1e-5 * std::sqrt(1 + bn.options().eps);
    const auto shifted = [&](double by) {
      Array<double> delta = full_array<double>(x.shape(), 0);
      delta(n, c) = by;
      shift = Tensor<double>(std::move(delta));
      return losses();
    };
    const double difference = mean(shifted(h) - shifted(-h)).item() / (2 * h), element = dx.value()(n, c);
    worst = kit::worse(worst, std::abs(element - difference) / size);
    elements.add({std::to_string(n), std::to_string(c), fmt::format("{:+.6e}", element),
                  fmt::format("{:+.6e}", difference), fmt::format("{:+.6e}", direct.value()(n, c))});
  }
  fmt::print("{}", elements.text());
  study.near("dx beside finite differences, largest difference by rms of dx", 0, worst, 1e-5);
  net[0].remove_hook(first);
  net[1].remove_hook(second);
}

// Of m independent directions two are taken away: 1 and xhat.
kit::Plot print_batch_sizes(const Options& o, kit::Study& study) {
  constexpr std::size_t C = 256;
  kit::Table table({"m", "predicted (m-2)/m", "measured |dx|^2 / (gamma s |dy|)^2"});
  std::vector<double> ms, predicted, measured;
  for (const std::size_t m : {2U, 3U, 4U, 6U, 8U, 16U, 32U, 64U, 128U, 256U}) {
    std::vector<double> kept;  // by channel
    for (std::uint64_t seed = o.seed; seed < o.seed + o.seeds; ++seed) {
      Generator generator(seed);
      Tensor<double> x = generator.normal<double>({m, C});
      const Tensor<double> dy = generator.normal<double>({m, C});
      const BatchNormResult<double> result = batch_norm(x.requires_grad(true), Tensor<double>(), Tensor<double>(), 0);
      const Tensor<double> dx = grad(result.y, {x}, {.seed = dy})[0];
      for (std::size_t c = 0; c < C; ++c) {
        double dx2 = 0, dy2 = 0;
        for (std::size_t n = 0; n < m; ++n) {
          dx2 += std::pow(dx.value()(n, c), 2);
          dy2 += std::pow(dy.value()(n, c), 2);
        }
        kept.push_back(dx2 * result.batch.m2(c) / static_cast<double>(m) / dy2);
      }
    }
    const kit::Mean share = kit::mean_of(kept);
    ms.push_back(static_cast<double>(m));
    predicted.push_back((static_cast<double>(m) - 2) / static_cast<double>(m));
    measured.push_back(share.value);
    table.add({std::to_string(m), fmt::format("{:.4f}", predicted.back()),
               fmt::format("{:.4f} +- {:.4f}", share.value, share.standard_error)});
    if (m == 2)
      study.exact("share of a random gradient that gets through, m = 2", 0, share.value, 1e-12);
    else if (m == 4 || m == 32)
      study.near(fmt::format("share of a random gradient that gets through, m = {}: (m-2)/m", m), predicted.back(),
                 share, m == 4 ? 0.05 : 0.02);
  }
  fmt::print("\nHow much of a random gradient gets through at eps = 0, mean of {} channels of Gaussian values:\n{}",
             C * o.seeds, table.text());
  kit::Plot plot{.title = "What BatchNorm lets through of a random gradient",
                 .x_label = "values per channel m",
                 .y_label = "|dx|^2 / (gamma s |dy|)^2",
                 .log_x = true};
  plot.add("predicted (m-2)/m", ms, predicted);
  plot.add("measured", ms, measured);
  return plot;
}

void run(const Options& o) {
  kit::Study study("batchnorm_gradients", o);
  const Batch<double> batch = first_batch(o.batch_size, o.seed);
  fmt::print(
      "digits, a batch of {} rows, eps {}; s = 1 / sqrt(var + eps), d = eps / (var + eps), S sums over a channel\n\n",
      batch.y.size(), o.eps);
  check_laws(o, study);
  manual_seed(o.seed);
  Sequential<double> net = make_network(o.eps);
  print_anatomy(net, batch, study);
  study.finish(print_batch_sizes(o, study));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"The laws of BatchNorm's backward pass, predicted and measured, and where dx comes from"};
  Options o;
  app.add_option("--batch-size", o.batch_size, "rows in the batch")->check(kit::whole(3, 1437))->capture_default_str();
  app.add_option("--eps", o.eps, "added to the variance; with 0 the laws hold exactly")
      ->check(kit::between(0, 100))
      ->capture_default_str();
  o.add_to(app);
  return kit::run_main(app, argc, argv, [&] { run(o); });
}
