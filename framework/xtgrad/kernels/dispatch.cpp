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

#define XTGRAD_TABLE(isa)         \
  [] {                            \
    Table<T> table{};             \
    table.instruction_set = #isa; \
    isa::fill_elementwise(table); \
    isa::fill_reduce(table);      \
    isa::fill_batch_norm(table);  \
    isa::fill_matmul(table);      \
    isa::fill_softmax(table);     \
    isa::fill_optimizers(table);  \
    return table;                 \
  }()

template <class T> Table<T> choose() noexcept {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f")) return XTGRAD_TABLE(avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return XTGRAD_TABLE(avx2);
#endif
  return XTGRAD_TABLE(baseline);
}

}  // namespace

template <class T> const Table<T>& table() noexcept {
  static const Table<T> chosen = choose<T>();
  return chosen;
}

template const Table<float>& table() noexcept;
template const Table<double>& table() noexcept;

}  // namespace xtgrad::kernels
