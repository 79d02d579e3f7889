// This library as a side.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <xtgrad/memory.hpp>
#include <xtgrad/parallel.hpp>
#include <xtgrad/xtgrad.hpp>

#include "side.hpp"

namespace benchmarks {

using namespace xtgrad;

// The values as an array.
template <class T, class Source> Array<T> array_of(const Shape& shape, const Source& values) {
  Array<T> array = empty_array<T>(shape);
  std::copy(values.begin(), values.end(), array.storage().begin());
  return array;
}

inline double mean_size(const Tensor<>& t) {
  double sum = 0;
  for (const float v : t.value()) sum += static_cast<double>(std::abs(v));
  return sum / static_cast<double>(t.size());
}

inline Sequential<> make_net(const Network& network, const Start& start) {
  Sequential<> net;
  for (std::size_t l = 0; l < start.layers.size(); ++l) {
    const std::size_t inputs = network.widths[l], outputs = network.widths[l + 1];
    Linear linear(inputs, outputs);
    linear.weight().mutable_value() = array_of<float>({outputs, inputs}, start.layers[l].weight);
    linear.bias().mutable_value() = array_of<float>({outputs}, start.layers[l].bias);
    net.add(std::move(linear));
    if (l + 1 == start.layers.size()) break;
    net.add(BatchNorm1d(outputs));
    if (network.activation == Activation::relu)
      net.add(Relu());
    else
      net.add(Sigmoid());
  }
  return net;
}

inline std::unique_ptr<xtgrad::Optimizer<float>> make_optimizer(Optimizer which, Sequential<>& net) {
  if (which == Optimizer::adam) return std::make_unique<Adam<>>(net.parameters(), AdamOptions{.lr = kAdamRate});
  return std::make_unique<SGD<>>(net.parameters(), SGDOptions{.lr = kSgdRate, .momentum = kMomentum});
}

struct Xtgrad {
  static void set_threads(int count) { set_num_threads(count); }
  static std::uint64_t pool_misses() { return memory::misses(); }

  struct TrainStep {
    explicit TrainStep(const Network& network) : TrainStep(network, Start(network)) {}
    TrainStep(const Network& network, const Start& start)
        : x(array_of<float>({network.batch, network.widths[0]}, start.x)),
          labels{array_of<std::int64_t>({network.batch}, start.labels[0]),
                 array_of<std::int64_t>({network.batch}, start.labels[1])},
          net(make_net(network, start)),
          optimizer(make_optimizer(network.optimizer, net)) {}
    Tensor<> step() {
      optimizer->zero_grad();
      const Tensor<> loss = cross_entropy(net(x), labels[steps++ % 2]);
      loss.backward();
      optimizer->step();
      return loss;
    }
    void run() { step(); }
    double value() { return static_cast<double>(step().item()); }

    Tensor<> x;
    Labels labels[2];
    Sequential<> net;
    std::unique_ptr<xtgrad::Optimizer<float>> optimizer;
    std::size_t steps = 0;
  };

  struct EvalForward {
    explicit EvalForward(const Network& network) : training(network) {
      for (int i = 0; i < kTrained; ++i) training.run();
      training.net.eval();
    }
    Tensor<> forward() {
      const NoGrad no_grad;
      return training.net(training.x);
    }
    void run() { forward(); }
    double value() { return mean_size(forward()); }

    TrainStep training;
  };

  struct BatchNorm {
    explicit BatchNorm(const Normalisation& normalisation) : BatchNorm(normalisation, Batch(normalisation)) {}
    BatchNorm(const Normalisation& normalisation, const Batch& batch)
        : x(array_of<float>(normalisation.shape<Shape>(), batch.x)),
          dy(array_of<float>(normalisation.shape<Shape>(), batch.dy)),
          bn(normalisation.C, {.affine = normalisation.affine}),
          leaves(bn.parameters()) {
      leaves.push_back(x.requires_grad(true));
    }
    Tensor<> forward_and_backward() {
      for (Tensor<>& leaf : leaves) leaf.zero_grad();
      const Tensor<> y = bn(x);
      y.backward(dy);
      return y;
    }
    void run() { forward_and_backward(); }
    double value() {
      const Tensor<> y = forward_and_backward();
      return mean_size(y) + mean_size(x.grad());
    }

    Tensor<> x, dy;
    BatchNorm1d<> bn;
    std::vector<Tensor<>> leaves;
  };
};

// The four arrays of a BatchNorm1d's forward and backward, copied: x to y and dy to dx.
inline void add_copy(const std::string& name, std::size_t size) {
  benchmark::RegisterBenchmark(("copy/" + name).c_str(),
                               [size](benchmark::State& state) {
                                 const std::vector<float> x(size, 1), dy(size, 2);
                                 std::vector<float> y(size), dx(size);
                                 for (auto _ : state) {
                                   std::memcpy(y.data(), x.data(), size * sizeof(float));
                                   std::memcpy(dx.data(), dy.data(), size * sizeof(float));
                                   benchmark::ClobberMemory();
                                 }
                                 state.SetBytesProcessed(bytes(4 * size) * state.iterations());
                                 state.counters["pool_misses"] = 0;
                               })
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

}  // namespace benchmarks
