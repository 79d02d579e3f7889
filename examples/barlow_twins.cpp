// barlow_twins: Barlow Twins on handwritten digits: a linear probe of features that were learned without labels
//
// Zbontar et al. 2021 (Barlow Twins): an encoder and a projector see two distorted views of each batch. With
// c = bn(z1)' bn(z2) / N, where bn has neither gamma nor beta, the loss
//
//   sum over i of (c_ii - 1)^2 + lambda sum over i != j of c_ij^2        lambda = 0.0051
//
// asks for features that the distortions leave alone and that say different things. A linear classifier on the encoder's
// features should then do at least as well as on the pixels, and better than on the features of the encoder before its
// training. Each seed draws the held-out rows, the ten labelled rows per class, the weights and the views; the differences
// are taken seed by seed. Encoders are probed in eval mode: the untrained one has the initial running statistics, 0 and 1.
//
// The biased variance normalises, so that c_ii of a batch against itself is mean(xhat^2) = 1. With the unbiased one, as in
// (z - z.mean(0)) / z.std(0), it is (m-1)/m, and the first sum does not fall below D/m^2 even where both views are one.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <xtgrad/datasets/standardise.hpp>
#include <xtgrad/xtgrad.hpp>

#include "kit/data_sets.hpp"
#include "kit/mlp.hpp"
#include "kit/options.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

using namespace xtgrad;

constexpr std::size_t kBatch = 128, kClasses = 10, kLabelled = 10, kProbeSteps = 500;
constexpr std::size_t kEvery = 10;  // epochs between probes
constexpr double kLambda = 0.0051, kRate = 2e-3, kProbeRate = 1e-2;

// x (N, 64), images of 8 x 8 -> (N, 64): shifted by up to a pixel, scaled, with noise, a tenth of the pixels masked.
Tensor<> view(const Tensor<>& x, Generator& random) {
  constexpr int side = 8;
  Tensor<> result = Tensor<>::zeros(x.shape());
  const float* image = x.data();
  float* pixel = result.mutable_value().data();
  for (std::size_t n = 0; n < x.shape()[0]; ++n, image += x.shape()[1]) {
    const int down = static_cast<int>(random.below(3)) - 1, right = static_cast<int>(random.below(3)) - 1;
    const float scale = static_cast<float>(0.8 + 0.4 * random.uniform());
    for (int i = -down; i < side - down; ++i)
      for (int j = -right; j < side - right; ++j, ++pixel) {
        if (random.uniform() < 0.1) continue;
        const bool inside = i >= 0 && i < side && j >= 0 && j < side;
        *pixel = (inside ? scale * image[side * i + j] : 0) + static_cast<float>(0.1 * random.normal());
      }
  }
  return result;
}

// z1, z2 (N, D), normalised -> c (D, D)
template <class T> Tensor<T> cross_correlation(const Tensor<T>& z1, const Tensor<T>& z2) {
  return matmul(z1, z2, {.transpose_a = true}) / static_cast<T>(z1.shape()[0]);
}

// c (D, D) -> sum over i of (c_ii - 1)^2 + lambda * sum over i != j of c_ij^2
template <class T> Tensor<T> barlow_loss(const Tensor<T>& c, double lambda) {
  Tensor<T> identity = Tensor<T>::zeros(c.shape());
  for (std::size_t i = 0; i < c.shape()[0]; ++i) identity.mutable_value()(i, i) = 1;
  const Tensor<T> apart = c - identity;
  return sum(apart * apart * (identity + static_cast<T>(lambda) * (T(1) - identity)));
}

// The outputs z (m, D) for a batch, against themselves.
void claim_diagonals(kit::Study& study, const Tensor<double>& z) {
  const double m = static_cast<double>(z.shape()[0]), D = static_cast<double>(z.shape()[1]);
  BatchNorm1d<double> bn(z.shape()[1], {.eps = 0, .affine = false, .track_running_stats = false});
  const Tensor<double> biased = bn(z), unbiased = (z - mean(z, {0})) / sqrt(var(z, {0}, /*biased=*/false));
  const auto farthest = [](const Tensor<double>& c, double from) {
    double largest = 0;
    for (std::size_t i = 0; i < c.shape()[0]; ++i) largest = kit::worse(largest, std::abs(c.value()(i, i) - from));
    return largest;
  };
  const Tensor<double> c = cross_correlation(unbiased, unbiased);
  study.exact("biased std: largest |c_ii - 1| of a batch against itself", 0,
              farthest(cross_correlation(biased, biased), 1), 1e-12);
  study.exact("unbiased std: largest |c_ii - (m-1)/m|", 0, farthest(c, (m - 1) / m), 1e-12);
  study.exact("unbiased std: loss of the diagonal over D/m^2, less 1", 0, barlow_loss(c, 0).item() / (D / (m * m)) - 1,
              1e-9);
}

// The accuracy on the test rows of softmax regression, from weights 0.
double fit_linear(const Dataset<>& train, const Dataset<>& test) {
  Linear<> classifier(train.x.shape()[1], kClasses);
  for (Tensor<>& parameter : classifier.parameters()) parameter.mutable_value().fill(0);
  Adam<> adam(classifier.parameters(), {.lr = kProbeRate});
  for (std::size_t step = 0; step < kProbeSteps; ++step) {
    adam.zero_grad();
    cross_entropy(classifier(train.x), train.y).backward();
    adam.step();
  }
  return accuracy(classifier(test.x), test.y);
}

// Of a linear classifier on an encoder's features, with each number of labels.
using Accuracies = std::array<double, 2>;
constexpr std::array kLabels = {"10 labels per class", "all labels"};

Accuracies probe(Module<>& encoder, const Split<float>& rows, const std::vector<std::size_t>& labelled) {
  const auto features = [&encoder](const Tensor<>& x) {
    const NoGrad guard;
    return encoder(x);
  };
  encoder.eval();
  const Tensor<> train = features(rows.train.x), test = features(rows.test.x);
  encoder.train();
  const Standardise standardise(train);
  const Dataset<> all{standardise.apply(train), rows.train.y}, held_out{standardise.apply(test), rows.test.y};
  return {fit_linear(all.rows(labelled.data(), labelled.size()), held_out), fit_linear(all, held_out)};
}

std::vector<std::size_t> draw_labelled(const Labels& y, Generator& random) {
  std::vector<std::size_t> drawn, count(kClasses);
  for (const std::size_t n : random.permutation(y.size()))
    if (count[static_cast<std::size_t>(y(n))]++ < kLabelled) drawn.push_back(n);
  return drawn;
}

struct Run {
  std::vector<Accuracies> probes;  // of the pixels, the untrained encoder, and the encoder after every kEvery epochs
  std::vector<double> losses;      // mean of each epoch
  Tensor<double> z;                // what the trained network makes of a batch of rows as they are
};

Run train(std::uint64_t seed, std::size_t epochs, kit::Progress& bar) {
  manual_seed(seed);
  Generator& random = default_generator();
  const Split<float> rows = kit::load_data_set("digits", "", seed).rows;
  const std::vector<std::size_t> labelled = draw_labelled(rows.train.y, random);
  Sequential<> encoder = kit::make_mlp<float>({64, 128, 64}, BatchNorm1dOptions{});
  Sequential<> projector = kit::make_mlp<float>({64, 128, 128}, BatchNorm1dOptions{});
  BatchNorm1d<> bn(128, {.affine = false, .track_running_stats = false});
  Adam<> adam({{encoder.parameters(), {.lr = kRate}}, {projector.parameters(), {.lr = kRate}}});

  Identity<> pixels;
  Run run{{probe(pixels, rows, labelled), probe(encoder, rows, labelled)}, {}, {}};
  DataLoader<> loader(rows.train, {.batch_size = kBatch, .shuffle = true, .drop_last = true, .seed = seed});
  for (std::size_t epoch = 1; epoch <= epochs; ++epoch) {
    double loss_sum = 0;
    for (const Batch<float>& batch : loader) {
      adam.zero_grad();
      const Tensor<> z1 = bn(projector(encoder(view(batch.x, random))));
      const Tensor<> z2 = bn(projector(encoder(view(batch.x, random))));
      const Tensor<> loss = barlow_loss(cross_correlation(z1, z2), kLambda);
      loss.backward();
      adam.step();
      loss_sum += static_cast<double>(loss.item());
    }
    run.losses.push_back(loss_sum / static_cast<double>(loader.batches()));
    if (epoch % kEvery == 0) run.probes.push_back(probe(encoder, rows, labelled));
    bar.advance();
  }
  const NoGrad guard;
  run.z = convert<double>(projector)(convert<double>(encoder)(slice(kit::in_double(rows.train).x, 0, 0, kBatch)));
  return run;
}

kit::Plot draw(const std::vector<Run>& runs) {
  kit::Plot plot{.title = "Linear probe of Barlow Twins on digits, mean over seeds and its standard error",
                 .x_label = "epoch",
                 .y_label = "accuracy on held-out rows"};
  for (const std::size_t l : {1U, 0U}) {
    const auto at = [&](std::size_t i) { return kit::mean_over(runs, [=](const Run& r) { return r.probes[i][l]; }); };
    std::vector<double> epochs;
    std::vector<kit::Mean> accuracies;
    for (std::size_t i = 1; i < runs[0].probes.size(); ++i) {
      epochs.push_back(static_cast<double>((i - 1) * kEvery));
      accuracies.push_back(at(i));
    }
    kit::add_means(plot, fmt::format("encoder, {}", kLabels[l]), epochs, accuracies);
    plot.add(fmt::format("raw pixels, {}", kLabels[l]), epochs, std::vector<double>(epochs.size(), at(0).value));
  }
  return plot;
}

void run(const kit::StudyOptions& options) {
  kit::Study study("barlow_twins", options);
  const std::size_t epochs = options.quick ? 20 : 100, trained = 1 + epochs / kEvery;
  fmt::print(
      "digits; encoder 64-128-64, projector 64-128-128, Adam {}, batches of {}, {} epochs, {} seed(s); probe: softmax\n"
      "regression on standardised features, Adam {}, {} steps; accuracy on held-out rows\n\n",
      kRate, kBatch, epochs, options.seeds, kProbeRate, kProbeSteps);
  std::vector<Run> runs;
  kit::Progress bar("Barlow Twins", options.seeds * epochs);
  for (std::uint64_t s = 0; s < options.seeds; ++s) runs.push_back(train(options.seed + s, epochs, bar));
  bar.clear();

  kit::Table table({"features", kLabels[0], kLabels[1]});
  const auto cell = [&](std::size_t probe, std::size_t l) {
    return kit::percent(kit::mean_over(runs, [=](const Run& r) { return r.probes[probe][l]; }));
  };
  table.add({"raw pixels", cell(0, 0), cell(0, 1)});
  table.add({"untrained encoder", cell(1, 0), cell(1, 1)});
  table.add({"trained encoder", cell(trained, 0), cell(trained, 1)});
  fmt::print("{}", table.text());

  for (const std::size_t l : {0U, 1U})
    for (const std::size_t other : {0U, 1U})
      study.at_least(fmt::format("accuracy, {}: trained - {}", kLabels[l], other == 0 ? "raw pixels" : "untrained"), 0,
                     kit::mean_over(runs, [=](const Run& r) { return r.probes[trained][l] - r.probes[other][l]; }));
  study.at_most("loss of the last epoch over that of the first", 0.5,
                kit::mean_over(runs, [](const Run& r) { return r.losses.back() / r.losses.front(); }));
  claim_diagonals(study, runs[0].z);
  study.finish(draw(runs));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Barlow Twins on digits: what a linear classifier makes of its features"};
  kit::StudyOptions options;
  options.add_to(app, 10, 2);
  return kit::run_main(app, argc, argv, [&] { run(options); });
}
