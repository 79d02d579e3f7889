// The side of this library, and the rate of a copy beside which BatchNorm1d is held.
#include "xtgrad.hpp"

#include <xtgrad/kernels/table.hpp>

extern "C" char* openblas_get_corename();

int main(int argc, char** argv) {
  benchmark::AddCustomContext("openblas_core", openblas_get_corename());
  benchmark::AddCustomContext("instruction_set", xtgrad::kernels::table<float>().instruction_set);
  benchmark::AddCustomContext("compiler", XTGRAD_COMPILER);
  for (const benchmarks::Normalisation& normalisation : benchmarks::normalisations)
    if (normalisation.size() > 1000000) benchmarks::add_copy(normalisation.name, normalisation.size());
  return benchmarks::run<benchmarks::Xtgrad>(argc, argv);
}
