// One training step: zero_grad, forward, backward, optimizer. Networks are Linear, BatchNorm1d and the activation for
// each hidden layer, and a last Linear; the loss is softmax cross-entropy.
#include <benchmark/benchmark.h>

#include <xtgrad/memory.hpp>
#include <xtgrad/xtgrad.hpp>

namespace {

using namespace xtgrad;

// 2-16-16-2, batch 32, ReLU, SGD with momentum 0.9
void tiny(benchmark::State& state) {
  manual_seed(0);
  set_num_threads(1);
  Sequential net{Linear(2, 16), BatchNorm1d(16), Relu(), Linear(16, 16), BatchNorm1d(16), Relu(), Linear(16, 2)};
  SGD sgd(net.parameters(), {.lr = 1e-2, .momentum = 0.9});
  const Tensor<> x = default_generator().normal<float>({32, 2});
  Labels y = full_array<std::int64_t>({32}, 0);
  for (std::size_t n = 0; n < 32; ++n) y(n) = x.value()(n, 0) * x.value()(n, 1) > 0 ? 1 : 0;

  const auto step = [&] {
    sgd.zero_grad();
    const Tensor<> loss = cross_entropy(net(x), y);
    loss.backward();
    sgd.step();
  };
  for (int i = 0; i < 100; ++i) step();
  const auto misses = memory::misses();
  for (auto _ : state) step();
  state.counters["pool_misses"] = static_cast<double>(memory::misses() - misses);
}
BENCHMARK(tiny)->Name("train_step/tiny")->Unit(benchmark::kMicrosecond);

}  // namespace
