#include <gtest/gtest.h>

#include "instruction_sets.hpp"

namespace xtgrad {
namespace {

TEST(Dispatch, ChoosesTheBestInstructionSetOfTheProcessor) {
  EXPECT_STREQ(kernels::table<float>().instruction_set, test::instruction_sets<float>()[0].instruction_set);
  EXPECT_STREQ(kernels::table<double>().instruction_set, test::instruction_sets<double>()[0].instruction_set);
}

template <class T> void expect_complete(const kernels::Table<T>& table) {
  for (const kernels::Elementwise<T>& op : table.elementwise) EXPECT_NE(op.value, nullptr);
  EXPECT_NE(table.add_to, nullptr);
  EXPECT_NE(table.sum, nullptr);
  EXPECT_NE(table.matmul, nullptr);
  EXPECT_NE(table.matmul_copies, nullptr);
  EXPECT_NE(table.matmul_pays, nullptr);
  EXPECT_NE(table.batch_moments, nullptr);
  EXPECT_NE(table.batch_norm, nullptr);
  EXPECT_NE(table.batch_norm_sums, nullptr);
  EXPECT_NE(table.batch_norm_dx, nullptr);
  EXPECT_NE(table.batch_norm_ddx, nullptr);
  EXPECT_NE(table.softmax_cross_entropy, nullptr);
  EXPECT_NE(table.softmax_cross_entropy_vjp, nullptr);
  EXPECT_NE(table.sgd, nullptr);
  EXPECT_NE(table.adam, nullptr);
  EXPECT_NE(table.rmsprop, nullptr);
}

TEST(Dispatch, FillsEveryEntryForEveryInstructionSet) {
  for (const auto& table : test::instruction_sets<float>()) expect_complete(table);
  for (const auto& table : test::instruction_sets<double>()) expect_complete(table);
}

TEST(Dispatch, GivesTheSameTableEveryTime) { EXPECT_EQ(&kernels::table<float>(), &kernels::table<float>()); }

TEST(Dispatch, EveryInstructionSetHasLoopsOfItsOwn) {
  const auto& tables = test::instruction_sets<float>();
  for (std::size_t i = 0; i < tables.size(); ++i)
    for (std::size_t k = i + 1; k < tables.size(); ++k) {
      EXPECT_NE(tables[i].batch_norm, tables[k].batch_norm);
      EXPECT_NE(tables[i].elementwise[0].value, tables[k].elementwise[0].value);
      EXPECT_NE(tables[i].adam, tables[k].adam);
    }
}

}  // namespace
}  // namespace xtgrad
