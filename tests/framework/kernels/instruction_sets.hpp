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

/// The tables, the best first.
template <class T> const std::vector<kernels::Table<T>>& instruction_sets() {
  static const std::vector<kernels::Table<T>> tables = [] {
    std::vector<kernels::Table<T>> available;
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx512f")) available.push_back(kernels::avx512::make_table<T>("avx512"));
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      available.push_back(kernels::avx2::make_table<T>("avx2"));
#endif
    available.push_back(kernels::baseline::make_table<T>("baseline"));
    return available;
  }();
  return tables;
}

}  // namespace xtgrad::test
