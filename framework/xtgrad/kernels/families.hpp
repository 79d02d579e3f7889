// What the sources of this folder give to the table of the instruction set XTGRAD_ISA. No include guard: the
// dispatcher includes it once for each.
#include "xtgrad/kernels/table.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {

template <class T> void fill_elementwise(Table<T>& table);
template <class T> void fill_reduce(Table<T>& table);
template <class T> void fill_batch_norm(Table<T>& table);
template <class T> void fill_matmul(Table<T>& table);
template <class T> void fill_softmax(Table<T>& table);
template <class T> void fill_optimizers(Table<T>& table);

template <class T> Table<T> make_table(const char* instruction_set) {
  Table<T> table{};
  table.instruction_set = instruction_set;
  fill_elementwise(table);
  fill_reduce(table);
  fill_batch_norm(table);
  fill_matmul(table);
  fill_softmax(table);
  fill_optimizers(table);
  return table;
}

}  // namespace xtgrad::kernels::XTGRAD_ISA
