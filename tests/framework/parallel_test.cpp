#include "xtgrad/parallel.hpp"

#include <mutex>
#include <set>
#include <vector>

#include "support.hpp"

namespace xtgrad {
namespace {

using Blocks = std::multiset<std::pair<long, long>>;

Blocks blocks(long n, long block, int threads) {
  set_num_threads(threads);
  Blocks seen;
  std::mutex mutex;
  parallel_for(n, block, [&](long first, long last) {
    const std::lock_guard lock(mutex);
    seen.emplace(first, last);
  });
  set_num_threads(1);
  return seen;
}

TEST(ParallelFor, CutsIntoBlocks) {
  EXPECT_EQ(blocks(10, 4, 1), (Blocks{{0, 4}, {4, 8}, {8, 10}}));
  EXPECT_EQ(blocks(8, 4, 1), (Blocks{{0, 4}, {4, 8}}));
  EXPECT_EQ(blocks(3, 4, 1), (Blocks{{0, 3}}));
}

TEST(ParallelFor, DoesNothingForNothing) { EXPECT_TRUE(blocks(0, 4, 2).empty()); }

TEST(ParallelFor, CutsTheSameBlocksForEveryNumberOfThreads) {
  for (const long n : {1, 7, 64, 1000})
    for (const int threads : {2, 3, 4}) EXPECT_EQ(blocks(n, 7, threads), blocks(n, 7, 1));
}

TEST(NumThreads, IsOneUnlessSet) { EXPECT_EQ(num_threads(), 1); }

TEST(NumThreads, CanBeSet) {
  set_num_threads(3);
  EXPECT_EQ(num_threads(), 3);
  set_num_threads(1);
}

TEST(NumThreads, ThrowsUnlessPositive) {
  test::expect_parts(test::error([] { set_num_threads(0); }), {"set_num_threads", "0"});
  EXPECT_THROW(set_num_threads(-2), std::invalid_argument);
  EXPECT_EQ(num_threads(), 1);
}

}  // namespace
}  // namespace xtgrad
