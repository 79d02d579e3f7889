// The program of a side: [--threads N] [--check] and the arguments of Google Benchmark.
//
//   struct Side {
//     static void set_threads(int count);
//     static std::uint64_t pool_misses();  // requests for memory so far, of a side that counts them
//     struct TrainStep { explicit TrainStep(const Network&); void run(); double value(); };
//     struct EvalForward { the same };
//     struct BatchNorm { explicit BatchNorm(const Normalisation&); void run(); double value(); };
//   };
//
// run() is what is timed: one training step; a forward pass in eval mode of a network that has made kTrained steps;
// forward and backward of a BatchNorm1d. value() tells whether sides do the same: the last loss; the mean of |logits|;
// the mean of |y| + |dx|.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "cases.hpp"

namespace benchmarks {

/// Steps of a network before it is put into eval mode, and runs of a case before its value is compared.
inline constexpr int kTrained = 3, kChecked = 20;

/// Runs until caches, clocks and pools are what they will be.
template <class Case> void warm_up(Case& c) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(20);
  for (int i = 0; i < 3 || std::chrono::steady_clock::now() < end; ++i) c.run();
}

/// Of so many floats.
inline std::int64_t bytes(std::size_t floats) { return static_cast<std::int64_t>(floats * sizeof(float)); }

/// A counter of the time per item: per row, say.
inline benchmark::Counter per_item(std::size_t items) {
  return {static_cast<double>(items), benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert};
}

/// The bytes that must move: forward reads x twice and writes y, backward reads x and dy twice and writes dx.
inline void report_work(benchmark::State& state, const Normalisation& normalisation) {
  const std::size_t size = normalisation.size();
  state.SetBytesProcessed(bytes(8 * size) * static_cast<std::int64_t>(state.iterations()));
  state.counters["per_element"] = per_item(size);
}
inline void report_work(benchmark::State& state, const Network& network) {
  state.counters["per_row"] = per_item(network.batch);
}

template <class Side, class Case, class Spec> void add(const char* family, const Spec& spec, bool check = false) {
  const std::string name = family + ("/" + spec.name);
  if (check) {
    Case c(spec);
    for (int i = 0; i < kChecked; ++i) c.run();
    std::printf("%s %.6g\n", name.c_str(), c.value());
    return;
  }
  benchmark::RegisterBenchmark(name.c_str(),
                               [spec](benchmark::State& state) {
                                 Case c(spec);
                                 warm_up(c);
                                 [[maybe_unused]] std::uint64_t misses = 0;
                                 if constexpr (requires { Side::pool_misses(); }) misses = Side::pool_misses();
                                 for (auto _ : state) {
                                   c.run();
                                   benchmark::ClobberMemory();
                                 }
                                 if constexpr (requires { Side::pool_misses(); })
                                   state.counters["pool_misses"] = static_cast<double>(Side::pool_misses() - misses);
                                 report_work(state, spec);
                               })
      ->Unit(benchmark::kMicrosecond)
      ->UseRealTime();
}

/// Takes --threads and --check away from the arguments, and says what they were.
struct Arguments {
  int threads = 1;
  bool check = false;

  Arguments(int& argc, char** argv) {
    int kept = 1;
    for (int i = 1; i < argc; ++i)
      if (std::strcmp(argv[i], "--check") == 0)
        check = true;
      else if (std::strcmp(argv[i], "--threads") == 0 && i + 1 < argc)
        threads = std::atoi(argv[++i]);
      else
        argv[kept++] = argv[i];
    argc = kept;
  }
};

inline int run_benchmarks(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

template <class Side> int run(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  Side::set_threads(arguments.threads);
  for (const Network& network : networks) add<Side, typename Side::TrainStep>("train_step", network, arguments.check);
  for (const Network& network : networks)
    add<Side, typename Side::EvalForward>("eval_forward", network, arguments.check);
  for (const Normalisation& normalisation : normalisations)
    add<Side, typename Side::BatchNorm>("batch_norm", normalisation, arguments.check);
  return arguments.check ? 0 : run_benchmarks(argc, argv);
}

}  // namespace benchmarks
