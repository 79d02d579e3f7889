#include "xtgrad/memory.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <set>
#include <thread>
#include <vector>

#include "support.hpp"
#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad::memory {
namespace {

#define XTGRAD_NEEDS_THE_POOL() \
  if (test::kSanitized) GTEST_SKIP() << "the pool is off in sanitizer builds"

TEST(Memory, BlocksAreAlignedAndWholeWhateverTheirSize) {
  for (std::size_t bytes = 0; bytes < 5000; bytes += bytes < 600 ? 1 : 61) {
    void* const block = allocate(bytes);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % kAlignment, 0U) << bytes;
    std::memset(block, 0xAB, bytes);
    deallocate(block, bytes);
  }
}

TEST(Memory, BlocksInUseDoNotOverlap) {
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (std::size_t i = 0; i < 2000; ++i) {
    const std::size_t bytes = 1 + i * 37 % 3000;
    auto* const block = static_cast<unsigned char*>(allocate(bytes));
    std::memset(block, static_cast<int>(i % 251), bytes);
    blocks.emplace_back(block, bytes);
  }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto [block, bytes] = blocks[i];
    for (std::size_t k = 0; k < bytes; ++k) ASSERT_EQ(block[k], i % 251) << i;
    deallocate(block, bytes);
  }
}

TEST(Memory, AFreedBlockServesTheNextRequestOfItsClass) {
  XTGRAD_NEEDS_THE_POOL();
  for (const std::size_t bytes : {1U, 64U, 65U, 300U, 4000U, 100000U}) {
    void* const first = allocate(bytes);
    deallocate(first, bytes);
    void* const second = allocate(bytes);
    EXPECT_EQ(first, second) << bytes;
    deallocate(second, bytes);
  }
}

TEST(Memory, ABlockIsLargeEnoughForEverySizeOfItsClass) {
  XTGRAD_NEEDS_THE_POOL();
  // A request that is served by a freed block must fit into what that block was made for: at most a quarter
  // of a block is waste, so twice the size never comes back.
  for (std::size_t bytes = 64; bytes <= 1 << 20; bytes *= 2) {
    void* const small = allocate(bytes);
    deallocate(small, bytes);
    void* const large = allocate(bytes + 1);
    EXPECT_NE(small, large) << bytes;
    deallocate(large, bytes + 1);
  }
}

TEST(Memory, WastesAtMostAQuarterOfABlock) {
  XTGRAD_NEEDS_THE_POOL();
  // Blocks that serve both sizes are of one class: a class spans less than a third of its smallest size.
  for (std::size_t bytes = 1024; bytes <= 1 << 20; bytes = bytes * 9 / 8) {
    void* const block = allocate(bytes);
    deallocate(block, bytes);
    const std::size_t larger = bytes * 4 / 3 + 64;
    void* const other = allocate(larger);
    EXPECT_NE(block, other) << bytes;
    deallocate(other, larger);
  }
}

TEST(Memory, MissesStayConstantInASteadyState) {
  XTGRAD_NEEDS_THE_POOL();
  const auto step = [] {
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < 100; ++i) blocks.push_back(allocate(1 + 97 * i));
    for (std::size_t i = 0; i < 100; ++i) deallocate(blocks[i], 1 + 97 * i);
  };
  step();
  const std::uint64_t before = misses();
  for (int i = 0; i < 100; ++i) step();
  EXPECT_EQ(misses(), before);
}

TEST(Memory, MissesCountRequestsToTheSystem) {
  trim();
  const std::uint64_t before = misses();
  void* const first = allocate(77777);
  void* const second = allocate(77777);
  EXPECT_EQ(misses(), before + 2);
  deallocate(first, 77777);
  deallocate(second, 77777);
}

TEST(Memory, BlocksMayBeFreedOnAnotherThread) {
  std::vector<void*> blocks;
  for (int i = 0; i < 1000; ++i) blocks.push_back(allocate(200));
  std::thread([&] {
    for (void* block : blocks) deallocate(block, 200);
  }).join();
}

TEST(Memory, AThreadThatEndsHandsItsBlocksOn) {
  XTGRAD_NEEDS_THE_POOL();
  constexpr std::size_t kBytes = 12345;
  trim();
  std::set<void*> blocks;
  std::thread([&] {
    std::vector<void*> mine;
    for (int i = 0; i < 20; ++i) mine.push_back(allocate(kBytes));
    for (void* block : mine) deallocate(block, kBytes);
    blocks.insert(mine.begin(), mine.end());
  }).join();
  const std::uint64_t before = misses();
  std::vector<void*> mine;
  for (int i = 0; i < 20; ++i) {
    mine.push_back(allocate(kBytes));
    EXPECT_TRUE(blocks.contains(mine.back()));
  }
  EXPECT_EQ(misses(), before);
  for (void* block : mine) deallocate(block, kBytes);
}

TEST(Memory, AThreadThatOnlyFreesPassesOnWhatItGets) {
  XTGRAD_NEEDS_THE_POOL();
  // This thread allocates, the other frees and lives on: in the long run nothing new is needed.
  constexpr std::size_t kBytes = 1 << 20;
  const auto round = [&](int count) {
    for (int i = 0; i < count; ++i) {
      void* const block = allocate(kBytes);
      std::thread([&] { deallocate(block, kBytes); }).join();
    }
  };
  round(2);
  const std::uint64_t before = misses();
  round(50);
  EXPECT_EQ(misses(), before);
}

TEST(Memory, ALivingThreadDoesNotHoardWhatOthersAllocate) {
  XTGRAD_NEEDS_THE_POOL();
  constexpr std::size_t kBytes = 4 << 20;
  constexpr std::uint64_t kMost = 40;  // blocks in flight and on lists; without a limit it would be 500
  std::vector<void*> mailbox;
  const std::uint64_t before = misses();
  std::thread other([&] {
    for (int i = 0; i < 500; ++i) {
      std::thread([&] { mailbox.push_back(allocate(kBytes)); }).join();
      deallocate(mailbox.back(), kBytes);
      mailbox.pop_back();
    }
  });
  other.join();
  EXPECT_LE(misses(), before + kMost);
}

TEST(Memory, TrimGivesBackWhatIsFree) {
  XTGRAD_NEEDS_THE_POOL();
  for (int i = 0; i < 10; ++i) {
    void* const block = allocate(99999);
    deallocate(block, 99999);
  }
  std::thread([] { deallocate(allocate(99999), 99999); }).join();
  trim();
  const std::uint64_t before = misses();
  void* const block = allocate(99999);
  EXPECT_EQ(misses(), before + 1);
  deallocate(block, 99999);
  trim();
  trim();  // nothing left to give
}

TEST(Memory, TrimLeavesBlocksInUseAlone) {
  void* const block = allocate(5000);
  std::memset(block, 7, 5000);
  trim();
  EXPECT_EQ(static_cast<unsigned char*>(block)[4999], 7);
  deallocate(block, 5000);
}

TEST(Memory, ThrowsForSizesThatNoMachineHas) {
  if (test::kSanitized) GTEST_SKIP() << "sanitizers end the process there";
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX - 62, SIZE_MAX - 63, SIZE_MAX / 2, SIZE_MAX / 4})
    EXPECT_THROW(static_cast<void>(allocate(bytes)), std::bad_alloc) << bytes;
}

TEST(Memory, ThrowsForArraysThatNoMachineHas) {
  if (test::kSanitized) GTEST_SKIP() << "sanitizers end the process there";
  EXPECT_THROW(PoolAllocator<double>().allocate(SIZE_MAX / 4), std::bad_alloc);
  EXPECT_THROW(static_cast<void>(empty_array<double>({SIZE_MAX / 8})), std::bad_alloc);
}

TEST(Memory, ServesManyThreadsAtOnce) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      std::vector<std::pair<unsigned char*, std::size_t>> blocks;
      std::size_t state = t + 1;
      for (int i = 0; i < 20000; ++i) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        const std::size_t bytes = 1 + (state >> 40) % 5000;
        auto* const block = static_cast<unsigned char*>(allocate(bytes));
        block[0] = block[bytes - 1] = static_cast<unsigned char>(t);
        blocks.emplace_back(block, bytes);
        if (blocks.size() > 50) {
          const auto [old, size] = blocks[(state >> 20) % blocks.size()];
          std::swap(blocks[(state >> 20) % blocks.size()], blocks.back());
          blocks.pop_back();
          if (old[0] != t || old[size - 1] != t) std::abort();
          deallocate(old, size);
        }
      }
      for (const auto& [block, bytes] : blocks) deallocate(block, bytes);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(PoolAllocator, ServesStandardContainers) {
  PoolVector<int> numbers;
  for (int i = 0; i < 1000; ++i) numbers.push_back(i);
  EXPECT_EQ(numbers[999], 999);
  EXPECT_EQ(PoolAllocator<int>(), PoolAllocator<int>(PoolAllocator<double>()));
}

// A tensor that was made before the pool had a thread to register, and that dies after all others.
Tensor<float>& last_to_die() {
  static Tensor<float> tensor;
  return tensor;
}

TEST(MemoryDeathTest, AStaticTensorMayDieLast) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        last_to_die() = test::variable(Tensor<float>::ones({100}));
        for (int i = 0; i < 1000; ++i) last_to_die() = last_to_die() * 1.0F;
        std::exit(0);
      },
      testing::ExitedWithCode(0), "");
}

struct OnThreadEnd {
  Tensor<float> tensor;
  ~OnThreadEnd() { tensor = exp(tensor) + 1.0F; }
};

TEST(Memory, ThreadLocalTensorsMayDieAfterTheThreadsLists) {
  std::thread([] {
    static thread_local OnThreadEnd object;  // made before the thread's first block, so it dies after the lists
    object.tensor = Tensor<float>::ones({100});
  }).join();
}

TEST(Memory, ABlockThatIsFreedAfterItsThreadsListsIsNotLost) {
  XTGRAD_NEEDS_THE_POOL();
  constexpr std::size_t kBytes = 54321;
  struct Late {
    void* block = nullptr;
    ~Late() { deallocate(block, kBytes); }
  };
  trim();
  void* block = nullptr;
  std::thread([&] {
    static thread_local Late late;
    late.block = block = allocate(kBytes);
  }).join();
  void* const next = allocate(kBytes);
  EXPECT_EQ(next, block);
  deallocate(next, kBytes);
}

}  // namespace
}  // namespace xtgrad::memory
