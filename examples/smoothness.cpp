// smoothness: along the gradient, does the loss change less abruptly with BatchNorm than without?
//
// Santurkar et al. 2018 (How does batch normalization help optimization?, Figure 4): with BatchNorm the loss varies less along
// the direction of the gradient, and the gradient itself changes less, so that larger steps can be taken. Steps are compared
// at equal length relative to the weights, s |W|: with BatchNorm the length of W means nothing, and an absolute step can be
// made to look as small as one likes. Curvatures are exact, by Hessian-vector products, in units of |W|^2 likewise.
//
// Because the loss does not know the length of the weights w of a layer before BatchNorm (eps = 0), Euler's theorem on
// homogeneous functions gives w . g = 0 and H w = -g for them, and H w = 0 in all other weights.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <xtgrad/batchnorm/layers.hpp>
#include <xtgrad/inspect/derivatives.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;
using Tensors = std::vector<Tensor<double>>;

constexpr double kRate = 0.1;
constexpr std::size_t kBatch = 128, kEvery = 10, kProducts = 20;
// Lengths of the steps along -g, relative to |W|.
constexpr std::array kSteps = {0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1};

double dot(const Tensors& a, const Tensors& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) total += sum(a[i] * b[i]).item();
  return total;
}
double norm(const Tensors& a) { return std::sqrt(dot(a, a)); }

Tensors scaled(const Tensors& a, double factor) {
  Tensors result;
  for (const Tensor<double>& t : a) result.push_back(t.detach() * factor);
  return result;
}

// The weights of the Linear layers: all else stands still while the surroundings are looked at.
Tensors matrices(Sequential<double>& net) {
  Tensors weights;
  for (const Tensor<double>& p : net.parameters())
    if (p.shape().size() == 2) weights.push_back(p);
  return weights;
}

// Moves the weights by `step` times the direction.
void move(Tensors& weights, const Tensors& direction, double step) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    double* const w = weights[i].mutable_value().data();
    for (std::size_t j = 0; j < weights[i].size(); ++j) w[j] += step * direction[i].data()[j];
  }
}

// The surroundings of the weights, in the paper's terms.
enum Measure { kRange, kRelativeRange, kGradientChange, kAlongGradient, kLargest, kMeasures };
constexpr std::array<const char*, kMeasures> kNames = {"range of the loss along -g", "range over the loss itself",
                                                       "change of the gradient along -g", "|curvature| along g",
                                                       "largest |curvature|"};
using Measures = std::array<double, kMeasures>;

Measures look_around(Sequential<double>& net, const Batch<double>& batch, Generator& random) {
  const NormaliseWith<double> guard(net, Statistics::batch);
  Tensors weights = matrices(net);
  const auto loss = [&] { return cross_entropy(net(batch.x), batch.y); };
  const Tensor<double> here = loss();
  const Tensors g = grad(here, weights, {.retain_graph = true});
  const double length = norm(weights), slope = norm(g);

  Measures found{};
  found[kAlongGradient] = dot(g, hessian_vector_product(here, weights, g)) / (slope * slope) * length * length;
  Tensors v;  // power iteration
  for (const Tensor<double>& w : weights) v.push_back(random.normal<double>(w.shape()));
  for (std::size_t i = 0; i < kProducts; ++i) {
    const Tensors next = hessian_vector_product(here, weights, v = scaled(v, 1 / norm(v)));
    found[kLargest] = std::abs(dot(v, next)) * length * length;
    v = next;
  }

  double least = here.item(), most = least, at = 0;
  const Tensors start = scaled(weights, 1);
  for (const double s : kSteps) {
    move(weights, g, -(s - at) * length / slope);
    at = s;
    const Tensor<double> there = loss();
    least = -kit::worse(-least, -there.item());
    most = kit::worse(most, there.item());
    Tensors change = grad(there, weights);
    for (std::size_t i = 0; i < g.size(); ++i) change[i] = change[i] - g[i];
    found[kGradientChange] = kit::worse(found[kGradientChange], norm(change) / slope);
  }
  found[kRange] = most - least;
  found[kRelativeRange] = found[kRange] / here.item();
  for (std::size_t i = 0; i < weights.size(); ++i) weights[i].mutable_value() = start[i].value();
  return found;
}

struct Course {
  std::vector<Measures> measures;  // at every kEvery-th step
  double loss = 0;                 // of the last step
};

Dataset<double> digits(std::uint64_t seed) { return kit::in_double(kit::load_data_set("digits", "", seed).rows.train); }

Course train(bool batch_norm, std::uint64_t seed, std::size_t steps, kit::Progress& bar) {
  manual_seed(seed);
  Generator random(seed);
  Sequential<double> net =
      kit::make_mlp<double>({64, 100, 100, 10}, batch_norm ? std::optional(BatchNorm1dOptions{}) : std::nullopt);
  SGD<double> sgd(net.parameters(), {.lr = kRate});
  DataLoader<double> loader(digits(seed), {.batch_size = kBatch, .shuffle = true, .drop_last = true, .seed = seed});
  Course course;
  for (std::size_t step = 0; step < steps;)
    for (auto batch : loader) {
      if (step % kEvery == 0) course.measures.push_back(look_around(net, batch, random));
      sgd.zero_grad();
      const Tensor<double> loss = cross_entropy(net(batch.x), batch.y);
      loss.backward();
      sgd.step();
      bar.advance();
      course.loss = loss.item();
      if (++step == steps) break;
    }
  return course;
}

// Euler's theorem for the weights of the first layer.
void check_euler(kit::Study& study, std::uint64_t seed) {
  manual_seed(seed);
  Sequential<double> net = kit::make_mlp<double>({64, 100, 100, 10}, BatchNorm1dOptions{.eps = 0});
  DataLoader<double> loader(digits(seed), {.batch_size = kBatch});
  const Batch<double> batch = *loader.begin();
  const Tensors weights = matrices(net);
  const Tensor<double> loss = cross_entropy(net(batch.x), batch.y);
  const Tensors g = grad(loss, weights, {.retain_graph = true});
  Tensors w = scaled(weights, 0);
  w[0] = weights[0].detach();
  const Tensors product = hessian_vector_product(loss, weights, w);
  study.exact("w . g over |w| |g|, first layer, eps = 0", 0, dot(w, g) / (norm(w) * norm(g)), 1e-12);
  study.exact("|H w + g| over |g|, in the first layer", 0, norm({product[0] + g[0]}) / norm({g[0]}), 1e-10);
  study.exact("|H w| over |g|, in the layers above", 0, norm({product[1], product[2]}) / norm(g), 1e-10);
}

// The logarithm of a measure, averaged over the course of the training.
double mean_log(const Course& course, Measure which) {
  double total = 0;
  for (const Measures& m : course.measures) total += std::log(std::abs(m[which]));
  return total / static_cast<double>(course.measures.size());
}

void run(const kit::StudyOptions& options) {
  kit::Study study("smoothness", options);
  const std::size_t steps = options.quick ? 100 : 300;
  fmt::print(
      "digits, 64-100-100-10, SGD {}, batches of {}, {} steps, {} seed(s); every {} steps, along -g up to {} |W|\n",
      kRate, kBatch, steps, options.seeds, kEvery, kSteps.back());
  check_euler(study, options.seed);

  std::array<std::vector<Course>, 2> courses;  // plain, BatchNorm
  kit::Progress bar("training", 2 * options.seeds * steps);
  for (std::uint64_t seed = options.seed; seed < options.seed + options.seeds; ++seed)
    for (const bool batch_norm : {false, true}) courses[batch_norm].push_back(train(batch_norm, seed, steps, bar));
  bar.clear();

  kit::Table table({"geometric mean over the training", "plain", "BatchNorm", "ratio"});
  for (std::size_t i = 0; i < kMeasures; ++i) {
    const auto which = static_cast<Measure>(i);
    std::array<double, 2> sums{};
    std::vector<double> ratios;
    for (std::size_t s = 0; s < options.seeds; ++s) {
      const double plain = mean_log(courses[0][s], which), norm = mean_log(courses[1][s], which);
      sums[0] += plain;
      sums[1] += norm;
      ratios.push_back(norm - plain);
    }
    const kit::Mean ratio = kit::mean_of(ratios);
    const double n = static_cast<double>(options.seeds);
    table.add({kNames[i], fmt::format("{:.4g}", std::exp(sums[0] / n)), fmt::format("{:.4g}", std::exp(sums[1] / n)),
               fmt::format("{:.3f}", std::exp(ratio.value))});
    study.at_most(fmt::format("log of the {}, BatchNorm - plain", kNames[i]), 0, ratio);
  }
  const auto last = [](const Course& c) { return c.loss; };
  table.add({"loss of the last step, mean", fmt::format("{:.4g}", kit::mean_over(courses[0], last).value),
             fmt::format("{:.4g}", kit::mean_over(courses[1], last).value), ""});
  fmt::print("{}", table.text());

  kit::Plot plot{.title = "How much the gradient changes within a step of 0.1 |W|",
                 .x_label = "training step",
                 .y_label = "|g' - g| / |g|, mean over seeds",
                 .log_y = true};
  for (const bool batch_norm : {false, true}) {
    std::vector<double> at, change(courses[0][0].measures.size(), 0);
    for (std::size_t i = 0; i < change.size(); ++i) {
      at.push_back(static_cast<double>(i * kEvery));
      for (const Course& c : courses[batch_norm])
        change[i] += c.measures[i][kGradientChange] / static_cast<double>(options.seeds);
    }
    plot.add(batch_norm ? "BatchNorm" : "plain", at, change);
  }
  study.finish(plot);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Whether BatchNorm smooths the loss along the gradient"};
  kit::StudyOptions options;
  options.add_to(app, 10, 2);
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
