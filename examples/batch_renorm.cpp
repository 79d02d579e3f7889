// batch_renorm: at small m BatchNorm trains one function and evaluates another; Batch Renormalization does not
//
// Ioffe 2017 (Batch Renormalization: towards reducing minibatch dependence in batch-normalized models): with
// r = clip(sigma_B / sigma) and d = clip((mu_B - mu) / sigma), through which no gradient flows, a layer gives in training what
// it gives in evaluation; with r = 1 and d = 0 it is BatchNorm. As there, training begins with r_max = 1 and d_max = 0, which
// then grow to 3 and 5, and running statistics move by 0.01 a step.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <xtgrad/batchnorm/batch_renorm1d.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

enum class Norm { batch_norm, batch_renorm };

constexpr double kMomentum = 0.01, kRate = 1e-3, kRMax = 3, kDMax = 5;

template <class T> Sequential<T> make_network(Norm norm, double r_max = 1, double d_max = 0) {
  return kit::make_mlp<T>({64, 64, 32, 10}, false, [&](Sequential<T>& net, std::size_t width) {
    if (norm == Norm::batch_norm)
      net.add(BatchNorm1d<T>(width, {.momentum = kMomentum}));
    else
      net.add(BatchRenorm1d<T>(width, {.momentum = kMomentum, .r_max = r_max, .d_max = d_max}));
    net.add(Relu<T>());
  });
}

// After a quarter of the steps the limits grow, until at half of them they are there.
void set_limits(Sequential<float>& net, double share_of_steps) {
  const double grown = std::clamp(4 * share_of_steps - 1, 0.0, 1.0);
  for (std::size_t i = 0; i < net.size(); ++i)
    if (auto* const layer = dynamic_cast<BatchRenorm1d<float>*>(&net[i]))
      layer->limits(1 + grown * (kRMax - 1), grown * kDMax);
}

struct Result {
  std::vector<double> by_epoch;  // accuracy in eval mode
  double train_mode = 0;         // accuracy with the statistics of batches of m rows
  double difference = 0;         // mean |train mode - eval mode| of the outputs
};

// Both modes on the held-out rows, in batches of m; the statistics are put back after each.
void compare_modes(Sequential<float>& net, const Dataset<float>& rows, std::size_t m, Result& result) {
  const NoGrad guard;
  const auto state = net.state_dict();
  double correct = 0, apart = 0, count = 0;
  for (auto [x, y] : DataLoader<float>(rows, {.batch_size = m, .drop_last = true})) {
    net.eval();
    const Tensor<float> in_eval_mode = net(x);
    net.train();
    const Tensor<float> in_train_mode = net(x);
    net.load_state_dict(state);
    correct += accuracy(in_train_mode, y);
    apart += static_cast<double>(mean(abs(in_train_mode - in_eval_mode)).item());
    ++count;
  }
  result.train_mode = correct / count;
  result.difference = apart / count;
}

Result train(Norm norm, std::size_t m, std::uint64_t seed, std::size_t epochs) {
  const Split<float> rows = kit::load_data_set("digits", "", seed).rows;
  manual_seed(seed);
  Sequential<float> net = make_network<float>(norm);
  Adam<float> adam(net.parameters(), {.lr = kRate});
  DataLoader<float> loader(rows.train, {.batch_size = m, .shuffle = true, .drop_last = true, .seed = seed});
  const double steps = static_cast<double>(epochs * loader.batches());
  Result result;
  for (double step = 0; result.by_epoch.size() < epochs;) {
    net.train();
    for (auto [x, y] : loader) {
      set_limits(net, step++ / steps);
      adam.zero_grad();
      cross_entropy(net(x), y).backward();
      adam.step();
    }
    net.eval();
    result.by_epoch.push_back(kit::evaluate(net, rows.test, rows.test.size()).accuracy);
  }
  compare_modes(net, rows.test, m, result);
  return result;
}

// The largest difference of what two networks of the same weights make of rows, and of the gradients of the first weights.
double largest_difference(Sequential<double>& a, Sequential<double>& b, const Batch<double>& batch) {
  double largest = 0;
  const auto compare = [&](const Tensor<double>& s, const Tensor<double>& t) {
    largest = kit::worse(largest, max(abs(s - t), {0, 1}).item());
  };
  const Tensor<double> y = a(batch.x), z = b(batch.x);
  compare(y, z);
  compare(grad(cross_entropy(y, batch.y), {a.parameters()[0]})[0],
          grad(cross_entropy(z, batch.y), {b.parameters()[0]})[0]);
  return largest;
}

// What holds exactly, on the first batches of the digits in double.
void check_identities(kit::Study& study, std::uint64_t seed) {
  const Dataset<double> rows = kit::in_double(kit::load_data_set("digits", "", seed).rows.train);
  DataLoader<double> loader(rows, {.batch_size = 8});
  const auto seeded = [&](Norm norm, double r_max, double d_max) {
    manual_seed(seed);
    return make_network<double>(norm, r_max, d_max);
  };
  Sequential<double> norm = seeded(Norm::batch_norm, 1, 0), renorm = seeded(Norm::batch_renorm, 1, 0),
                     unlimited = seeded(Norm::batch_renorm, 1e9, 1e9);
  double to_norm = 0, to_eval = 0;
  for (auto batch : loader) {
    to_norm = kit::worse(to_norm, largest_difference(norm, renorm, batch));
    unlimited.eval();
    const Tensor<double> in_eval_mode = unlimited(batch.x);
    unlimited.train();
    to_eval = kit::worse(to_eval, max(abs(unlimited(batch.x) - in_eval_mode), {0, 1}).item());
  }
  study.exact("r_max = 1, d_max = 0: outputs and gradients less BatchNorm's", 0, to_norm, 1e-12);
  study.exact("no limits: outputs in train mode less those in eval mode", 0, to_eval, 1e-12);
}

void run(const kit::StudyOptions& options) {
  kit::Study study("batch_renorm", options);
  const std::size_t epochs = options.quick ? 6 : 20;
  fmt::print("digits, 64-64-32-10, Adam {}, {} epochs, {} seed(s); train mode is in batches of m held-out rows\n",
             kRate, epochs, options.seeds);
  check_identities(study, options.seed);

  kit::Table table({"m", "network", "accuracy, eval mode", "accuracy, train mode", "mean |dy|"});
  kit::Plot plot{.title = "Batches of 4: accuracy in eval mode, mean and standard error over seeds",
                 .x_label = "epoch",
                 .y_label = "accuracy (%)"};
  for (const std::size_t m : {4U, 8U, 32U}) {
    std::vector<std::vector<Result>> results(2);  // of both networks, by seed
    kit::Progress bar(fmt::format("batches of {}", m), 2 * options.seeds);
    for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed)
      for (const Norm norm : {Norm::batch_norm, Norm::batch_renorm}) {
        results[norm == Norm::batch_renorm].push_back(train(norm, m, seed, epochs));
        bar.advance();
      }
    bar.clear();
    // Over the seeds: the mean of what `number` makes of the two results of a seed.
    const auto mean = [&](auto number) {
      std::vector<double> values;
      for (std::size_t s = 0; s < options.seeds; ++s) values.push_back(number(results[0][s], results[1][s]));
      return kit::mean_of(values);
    };
    for (const bool renorm : {false, true}) {
      const auto of_network = [&](auto number) {
        return mean([&](const Result& a, const Result& b) { return number(renorm ? b : a); });
      };
      const char* const name = renorm ? "BatchRenorm1d" : "BatchNorm1d";
      const kit::Mean apart = of_network([](const Result& r) { return r.difference; });
      table.add({std::to_string(m), name, kit::percent(of_network([](const Result& r) { return r.by_epoch.back(); })),
                 kit::percent(of_network([](const Result& r) { return r.train_mode; })), kit::with_error(apart, 4)});
      if (m != 4) continue;
      std::vector<double> at;
      std::vector<kit::Mean> accuracies;
      for (std::size_t e = 0; e < epochs; ++e) {
        at.push_back(static_cast<double>(e + 1));
        accuracies.push_back(of_network([e](const Result& r) { return 100 * r.by_epoch[e]; }));
      }
      kit::add_means(plot, name, at, accuracies);
    }
    if (m == 32) continue;
    study.at_least(fmt::format("m = {}: accuracy in eval mode, BatchRenorm - BatchNorm", m), 0,
                   mean([](const Result& a, const Result& b) { return b.by_epoch.back() - a.by_epoch.back(); }));
    study.at_most(fmt::format("m = {}: |train mode - eval mode|, BatchRenorm over BatchNorm", m), 0.5,
                  mean([](const Result& a, const Result& b) { return b.difference / a.difference; }));
  }
  fmt::print("{}", table.text());
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Batch Renormalization beside BatchNorm in batches of 4 and 8"};
  kit::StudyOptions options;
  options.add_to(app, 10, 3);
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
