// Curves: time per row of a training step against the size of the batch, per element of a BatchNorm1d against its bytes
// and beside a copy, and per node of a graph against its length.
#include <malloc.h>
#include <unistd.h>

#include "xtgrad.hpp"

namespace benchmarks {
namespace {

// A chain of ops on one number: built, differentiated and released.
void chain(std::size_t nodes) {
  Tensor<> x = 1, one = 1;
  x.requires_grad(true);
  Tensor<> y = x;
  for (std::size_t i = 0; i < nodes; ++i) y = y * one;
  y.backward();
}

// With a pool that is empty (the first repetition), or that has what the repetition before gave back to it.
void time_graph(benchmark::State& state, bool first, std::size_t nodes) {
  if (!first) chain(nodes);
  for (auto _ : state) {
    if (first) {
      state.PauseTiming();
      memory::trim();
      malloc_trim(0);
      state.ResumeTiming();
    }
    chain(nodes);
  }
  state.counters["per_node"] = per_item(nodes);
}

void add_all() {
  for (std::size_t batch = 8; batch <= 65536; batch *= 2) {
    const std::string name = "batch:" + std::to_string(batch);
    add<Xtgrad, Xtgrad::TrainStep>("train_step",
                                   Network{name, {784, 256, 256, 10}, batch, Activation::relu, Optimizer::adam});
  }

  const auto available =
      static_cast<std::size_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  // x, dy, y and dx, and the numbers that x and dy are made of.
  constexpr std::size_t kChannels = 64, kArrays = 6;
  for (std::size_t size = 1 << 10; size <= 1 << 30 && kArrays * size < available; size *= 4) {
    const std::string name = "bytes:" + std::to_string(size);
    add<Xtgrad, Xtgrad::BatchNorm>("batch_norm",
                                   Normalisation{name, size / sizeof(float) / kChannels, kChannels, true});
    add_copy(name, size / sizeof(float));
  }

  // More than a node takes, with its value and its gradient.
  constexpr std::size_t kNode = 1024;
  for (const bool first : {true, false})
    for (std::size_t nodes = 10; nodes <= 10000000 && kNode * nodes < available; nodes *= 10)
      benchmark::RegisterBenchmark(((first ? "graph/first/" : "graph/second/") + std::to_string(nodes)).c_str(),
                                   time_graph, first, nodes)
          ->Unit(benchmark::kMicrosecond)
          ->UseRealTime();
}

}  // namespace
}  // namespace benchmarks

int main(int argc, char** argv) {
  const benchmarks::Arguments arguments(argc, argv);
  benchmarks::Xtgrad::set_threads(arguments.threads);
  benchmarks::add_all();
  return benchmarks::run_benchmarks(argc, argv);
}
