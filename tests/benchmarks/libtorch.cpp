// The side of PyTorch's C++ library.
#include <torch/torch.h>

#include "side.hpp"

namespace {

using benchmarks::Network;
using benchmarks::Normalisation;
using benchmarks::Start;

torch::Tensor tensor_of(at::IntArrayRef shape, const std::vector<float>& values) {
  return torch::from_blob(const_cast<float*>(values.data()), shape).clone();
}

torch::Tensor tensor_of(const std::vector<std::int64_t>& values) {
  return torch::from_blob(const_cast<std::int64_t*>(values.data()), {std::int64_t(values.size())}, torch::kInt64)
      .clone();
}

torch::nn::Sequential make_net(const Network& network, const Start& start) {
  const torch::NoGradGuard no_grad;
  torch::nn::Sequential net;
  for (std::size_t l = 0; l < start.layers.size(); ++l) {
    const auto inputs = std::int64_t(network.widths[l]), outputs = std::int64_t(network.widths[l + 1]);
    torch::nn::Linear linear(inputs, outputs);
    linear->weight.copy_(tensor_of({outputs, inputs}, start.layers[l].weight));
    linear->bias.copy_(tensor_of({outputs}, start.layers[l].bias));
    net->push_back(linear);
    if (l + 1 == start.layers.size()) break;
    net->push_back(torch::nn::BatchNorm1d(outputs));
    if (network.activation == benchmarks::Activation::relu)
      net->push_back(torch::nn::ReLU());
    else
      net->push_back(torch::nn::Sigmoid());
  }
  return net;
}

std::unique_ptr<torch::optim::Optimizer> make_optimizer(benchmarks::Optimizer which, torch::nn::Sequential& net) {
  if (which == benchmarks::Optimizer::adam)
    return std::make_unique<torch::optim::Adam>(net->parameters(), torch::optim::AdamOptions(benchmarks::kAdamRate));
  return std::make_unique<torch::optim::SGD>(
      net->parameters(), torch::optim::SGDOptions(benchmarks::kSgdRate).momentum(benchmarks::kMomentum));
}

struct Side {
  static void set_threads(int count) {
    torch::set_num_threads(count);
    torch::set_num_interop_threads(1);
  }

  struct TrainStep {
    explicit TrainStep(const Network& network) : TrainStep(network, Start(network)) {}
    TrainStep(const Network& network, const Start& start)
        : x(tensor_of({std::int64_t(network.batch), std::int64_t(network.widths[0])}, start.x)),
          labels{tensor_of(start.labels[0]), tensor_of(start.labels[1])},
          net(make_net(network, start)),
          optimizer(make_optimizer(network.optimizer, net)) {}
    torch::Tensor step() {
      optimizer->zero_grad();
      const torch::Tensor loss = torch::nn::functional::cross_entropy(net->forward(x), labels[steps++ % 2]);
      loss.backward();
      optimizer->step();
      return loss;
    }
    void run() { step(); }
    double value() { return step().item<double>(); }

    torch::Tensor x, labels[2];
    torch::nn::Sequential net;
    std::unique_ptr<torch::optim::Optimizer> optimizer;
    std::size_t steps = 0;
  };

  struct EvalForward {
    explicit EvalForward(const Network& network) : training(network) {
      for (int i = 0; i < benchmarks::kTrained; ++i) training.run();
      training.net->eval();
    }
    torch::Tensor forward() {
      const torch::NoGradGuard no_grad;
      return training.net->forward(training.x);
    }
    void run() { forward(); }
    double value() { return forward().abs().mean().item<double>(); }

    TrainStep training;
  };

  struct BatchNorm {
    explicit BatchNorm(const Normalisation& normalisation)
        : BatchNorm(normalisation, benchmarks::Batch(normalisation)) {}
    BatchNorm(const Normalisation& normalisation, const benchmarks::Batch& batch)
        : x(tensor_of(normalisation.shape<std::vector<std::int64_t>>(), batch.x)),
          dy(tensor_of(normalisation.shape<std::vector<std::int64_t>>(), batch.dy)),
          bn(torch::nn::BatchNorm1dOptions(std::int64_t(normalisation.C)).affine(normalisation.affine)) {
      leaves = bn->parameters();
      leaves.push_back(x.requires_grad_());
    }
    torch::Tensor forward_and_backward() {
      for (torch::Tensor& leaf : leaves) leaf.mutable_grad().reset();
      torch::Tensor y = bn->forward(x);
      y.backward(dy);
      return y;
    }
    void run() { forward_and_backward(); }
    double value() {
      const torch::Tensor y = forward_and_backward();
      return (y.abs().mean() + x.grad().abs().mean()).item<double>();
    }

    torch::Tensor x, dy;
    torch::nn::BatchNorm1d bn;
    std::vector<torch::Tensor> leaves;
  };
};

}  // namespace

int main(int argc, char** argv) { return benchmarks::run<Side>(argc, argv); }
