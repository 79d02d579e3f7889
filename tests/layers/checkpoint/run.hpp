// A training run with all that has state: dropout, BatchNorm, an optimizer, a schedule, a shuffled loader.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

#include "xtgrad/checkpoint/checkpoint.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad::test {

inline Dataset<float> points() {
  Generator random(7);
  Labels y = empty_array<std::int64_t>({70});
  for (std::size_t n = 0; n < 70; ++n) y(n) = static_cast<std::int64_t>(n % 3);
  return {random.normal<float>({70, 4}), std::move(y)};
}

inline std::unique_ptr<Optimizer<float>> optimizer_of(const std::string& name,
                                                      const std::vector<Tensor<>>& parameters) {
  if (name == "sgd") return std::make_unique<SGD<>>(parameters, SGDOptions{.lr = 0.1, .momentum = 0.9});
  if (name == "adam") return std::make_unique<Adam<>>(parameters, AdamOptions{.lr = 0.01});
  if (name == "adamw") return std::make_unique<AdamW<>>(parameters, AdamWOptions{.lr = 0.01});
  if (name == "rmsprop") return std::make_unique<RMSprop<>>(parameters, RMSpropOptions{.lr = 0.01, .momentum = 0.5});
  throw std::invalid_argument("no optimizer " + name);
}

/// 70 rows in batches of 8: 9 steps an epoch.
struct TrainingRun {
  explicit TrainingRun(const std::string& name, std::uint64_t seed = 1)
      : net(make_net(seed)),
        optimizer(optimizer_of(name, net.parameters())),
        schedule(*optimizer, cosine(60)),
        plateau(*optimizer),
        loader(points(), {.batch_size = 8, .shuffle = true, .seed = seed}),
        noise(seed) {}

  static Sequential<> make_net(std::uint64_t seed) {
    manual_seed(seed);
    return Sequential{Linear(4, 8), BatchNorm1d(8), Relu(), Dropout(0.3), Linear(8, 3)};
  }
  Training<float> training() {
    return {.optimizer = optimizer.get(),
            .schedule = &schedule,
            .plateau = &plateau,
            .loader = &loader,
            .more = {{"steps", &steps}, {"loss", &loss}, {"noise", &noise}},
            .settings = "net 4-8-3"};
  }
  /// Goes on until so many steps have been made since the beginning.
  void train_to(std::int64_t end) {
    while (steps < end)
      for (auto [x, y] : loader) {
        optimizer->zero_grad();
        const Tensor<> batch_loss = cross_entropy(net(x + noise.normal<float>(x.shape(), 0, 0.1)), y);
        batch_loss.backward();
        optimizer->step();
        schedule.step();
        loss += static_cast<double>(batch_loss.item());
        if (++steps % 9 == 0) plateau.step(loss / static_cast<double>(steps));
        if (steps == end) break;
      }
  }

  Sequential<> net;
  std::unique_ptr<Optimizer<float>> optimizer;
  Scheduler<> schedule;
  Plateau<> plateau;
  DataLoader<> loader;
  Generator noise;
  std::int64_t steps = 0;
  double loss = 0;
};

}  // namespace xtgrad::test
