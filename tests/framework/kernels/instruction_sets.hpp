// The kernels of every instruction set that this processor has, not only the one that the library chooses.
#pragma once

#include <string>
#include <vector>

#ifdef __x86_64__
#define XTGRAD_ISA avx512
#include "xtgrad/kernels/families.hpp"
#undef XTGRAD_ISA
#define XTGRAD_ISA avx2
#include "xtgrad/kernels/families.hpp"
#undef XTGRAD_ISA
#endif
#define XTGRAD_ISA baseline
#include "xtgrad/kernels/families.hpp"
#undef XTGRAD_ISA

namespace xtgrad::test {

#define XTGRAD_TEST_TABLE(isa)             \
  [] {                                     \
    kernels::Table<T> table{};             \
    table.instruction_set = #isa;          \
    kernels::isa::fill_elementwise(table); \
    kernels::isa::fill_reduce(table);      \
    kernels::isa::fill_batch_norm(table);  \
    kernels::isa::fill_matmul(table);      \
    kernels::isa::fill_softmax(table);     \
    kernels::isa::fill_optimizers(table);  \
    return table;                          \
  }()

/// The tables, the best first.
template <class T> const std::vector<kernels::Table<T>>& instruction_sets() {
  static const std::vector<kernels::Table<T>> tables = [] {
    std::vector<kernels::Table<T>> available;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) available.push_back(XTGRAD_TEST_TABLE(avx512));
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) available.push_back(XTGRAD_TEST_TABLE(avx2));
#endif
    available.push_back(XTGRAD_TEST_TABLE(baseline));
    return available;
  }();
  return tables;
}

}  // namespace xtgrad::test
