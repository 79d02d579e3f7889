// Chooses the loops for this processor, once.
#include "xtgrad/kernels/table.hpp"

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

namespace xtgrad::kernels {
namespace {

// Not inlined, so that table() stays short.
template <class T> [[gnu::noinline]] Table<T> choose() noexcept {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return avx512::make_table<T>("avx512");
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::make_table<T>("avx2");
#endif
  return baseline::make_table<T>("baseline");
}

}  // namespace

template <class T> const Table<T>& table() noexcept {
  static const Table<T> chosen = choose<T>();
  return chosen;
}

template const Table<float>& table() noexcept;
template const Table<double>& table() noexcept;

}  // namespace xtgrad::kernels
