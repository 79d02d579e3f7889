// The cases that every side runs, and the numbers that it starts from: a side is a program that does the same work with
// other means.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace benchmarks {

enum class Activation { relu, sigmoid };
enum class Optimizer { sgd, adam };

/// Linear with bias, BatchNorm1d and the activation for each hidden layer, and a last Linear; the loss is softmax
/// cross-entropy.
struct Network {
  std::string name;
  std::vector<std::size_t> widths;
  std::size_t batch;
  Activation activation;
  Optimizer optimizer;
};

inline const std::vector<Network> networks{
    {"tiny", {2, 16, 16, 2}, 32, Activation::relu, Optimizer::sgd},
    {"digits", {64, 64, 10}, 32, Activation::relu, Optimizer::adam},
    {"paper", {784, 100, 100, 100, 10}, 60, Activation::sigmoid, Optimizer::sgd},
    {"mnist", {784, 256, 256, 10}, 128, Activation::relu, Optimizer::adam},
    {"wide", {1024, 1024, 1024, 10}, 512, Activation::relu, Optimizer::adam},
};

/// BatchNorm1d of x (N, C), or (N, C, L) where L is not 1, alone.
struct Normalisation {
  std::string name;
  std::size_t N, C;
  bool affine;
  std::size_t L = 1;

  std::size_t size() const { return N * C * L; }
  template <class Shape> Shape shape() const {
    using Extent = typename Shape::value_type;
    Shape shape{static_cast<Extent>(N), static_cast<Extent>(C)};
    if (L > 1) shape.push_back(static_cast<Extent>(L));
    return shape;
  }
};

inline const std::vector<Normalisation> normalisations{
    {"3x2", 3, 2, false},          {"128x256", 128, 256, true},        {"4096x1024", 4096, 1024, true},
    {"65536x64", 65536, 64, true}, {"32x64x1000", 32, 64, true, 1000},
};

inline constexpr double kSgdRate = 1e-2, kMomentum = 0.9, kAdamRate = 1e-3;
/// Of BatchNorm1d: the weight of a batch in the running statistics.
inline constexpr double kRunning = 0.1, kEps = 1e-5;

/// Numbers in [-1, 1) that are the same on every side (the generator MMIX of Knuth).
class Values {
 public:
  explicit Values(std::uint64_t seed) : state_(seed) {}
  float operator()() { return static_cast<float>(bits() >> 8) * 0x1p-23F - 1; }
  std::size_t below(std::size_t n) { return bits() % n; }
  std::vector<float> operator()(std::size_t n, float scale) {
    std::vector<float> values(n);
    for (float& value : values) value = scale * (*this)();
    return values;
  }

 private:
  std::uint32_t bits() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<std::uint32_t>(state_ >> 32);
  }
  std::uint64_t state_;
};

/// What a network starts from. The labels of even and of odd steps differ: no net can learn both, so that gradients
/// stay what they are in training however often a step is timed, and never become denormal.
struct Start {
  struct Layer {
    std::vector<float> weight, bias;  ///< (outputs, inputs), (outputs)
  };
  std::vector<float> x;  ///< (batch, inputs)
  std::vector<std::int64_t> labels[2];
  std::vector<Layer> layers;

  explicit Start(const Network& network) {
    Values values(1);
    const auto& widths = network.widths;
    x = values(network.batch * widths[0], std::sqrt(3.0F));
    for (std::size_t n = 0; n < network.batch; ++n) {
      const std::size_t label = values.below(widths.back());
      labels[0].push_back(static_cast<std::int64_t>(label));
      labels[1].push_back(static_cast<std::int64_t>((label + 1) % widths.back()));
    }
    for (std::size_t l = 1; l < widths.size(); ++l) {
      const float bound = 1 / std::sqrt(static_cast<float>(widths[l - 1]));
      auto weight = values(widths[l] * widths[l - 1], bound);
      layers.push_back({std::move(weight), values(widths[l], bound)});
    }
  }
};

/// What a BatchNorm1d alone is given.
struct Batch {
  std::vector<float> x, dy;  ///< (N, C, L)

  explicit Batch(const Normalisation& normalisation) {
    Values values(2);
    x = values(normalisation.size(), 1);
    dy = values(normalisation.size(), 1);
  }
};

}  // namespace benchmarks
