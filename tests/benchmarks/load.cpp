// Reading data sets: the 60000 gzipped training images of Fashion-MNIST, from the file to x (60000, 784) and labels.
#include <benchmark/benchmark.h>

#include <filesystem>
#include <xtgrad/datasets/idx.hpp>

namespace {

void fashion(benchmark::State& state) {
  const std::filesystem::path folder = "/usr/share/datasets/fashion-mnist";
  if (!std::filesystem::exists(folder)) {
    state.SkipWithError("Debian's dataset-fashion-mnist is not installed");
    return;
  }
  for (auto _ : state)
    benchmark::DoNotOptimize(
        xtgrad::load_idx(folder / "train-images-idx3-ubyte.gz", folder / "train-labels-idx1-ubyte.gz"));
}
BENCHMARK(fashion)->Name("load_idx/fashion")->Unit(benchmark::kMillisecond);

}  // namespace
