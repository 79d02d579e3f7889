#include "xtgrad/memory.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <limits>
#include <mutex>
#include <new>

namespace xtgrad::memory {
namespace {

#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || __has_feature(address_sanitizer) || \
    __has_feature(thread_sanitizer)
constexpr bool kPooled = false;
#else
constexpr bool kPooled = true;
#endif

constexpr std::align_val_t kAlign{kAlignment};

// Size classes: up to eight cache lines, then four to a doubling; up to a quarter more than is asked for, or a line. There
// is one for every number, so that only an empty list need ask whether there can be so much.
constexpr std::size_t kClasses = 4 * 61 + 9;

struct SizeClass {
  std::size_t index;
  std::size_t bytes;
};

constexpr SizeClass size_class(std::size_t bytes) {
  const std::size_t lines = (bytes + kAlignment - 1) / kAlignment;
  if (bytes <= 8 * kAlignment) [[likely]]
    return {lines, std::max<std::size_t>(lines, 1) * kAlignment};
  const std::size_t shift = std::bit_width(lines - 1) - 3U, quarters = ((lines - 1) >> shift) + 1;  // 5 to 8
  return {4 * shift + quarters, (quarters << shift) * kAlignment};
}

// A free block holds the links of the lists it is on. `next_batch` and `batch` matter in the first block of a
// batch on the global list only.
struct Block {
  Block* next;
  Block* next_batch;
  std::uint32_t batch;
};

// With `limit` blocks a list is full; it is 0 until a thread that is registered has put one there.
struct FreeList {
  Block* head;
  std::uint32_t count, limit;
};

std::atomic<std::uint64_t> system_requests{0};

struct Global {
  std::mutex mutex;
  std::array<std::atomic<Block*>, kClasses> batches{};
};

// Never destroyed: static tensors may return their blocks after every destructor of this file would have run.
Global& global() {
  static auto* const instance = new Global;
  return *instance;
}

void give_to_global(std::size_t index, FreeList& list) noexcept {
  Global& shared = global();
  const std::lock_guard lock(shared.mutex);
  list.head->batch = list.count;
  list.head->next_batch = shared.batches[index].load(std::memory_order_relaxed);
  shared.batches[index].store(list.head, std::memory_order_relaxed);
  list = {};
}

bool take_from_global(std::size_t index, FreeList& list) noexcept {
  Global& shared = global();
  if (shared.batches[index].load(std::memory_order_relaxed) == nullptr) return false;
  const std::lock_guard lock(shared.mutex);
  Block* const batch = shared.batches[index].load(std::memory_order_relaxed);
  if (batch == nullptr) return false;
  shared.batches[index].store(batch->next_batch, std::memory_order_relaxed);
  list = {batch, batch->batch, 0};
  return true;
}

// The lists need no destructor of their own, so that they can be used while a thread's objects are destroyed;
// the guard hands them on when it dies, and from then on blocks pass straight to the global list.
constinit thread_local std::array<FreeList, kClasses> free_lists{};
constinit thread_local bool thread_ended = false;

struct ThreadGuard {
  ~ThreadGuard() {
    for (std::size_t i = 0; i < kClasses; ++i) {
      if (free_lists[i].head != nullptr) give_to_global(i, free_lists[i]);
      free_lists[i].limit = 0;
    }
    thread_ended = true;
  }
};

void register_thread() noexcept { static thread_local ThreadGuard guard; }

void* from_system(std::size_t bytes) {
  if (bytes > std::numeric_limits<std::size_t>::max() / 2) throw std::bad_alloc();
  system_requests.fetch_add(1, std::memory_order_relaxed);
  return ::operator new(kPooled ? size_class(bytes).bytes : bytes, kAlign);
}

// About 4 MiB to a list, and eight blocks at least, so that a thread which only frees hoards little.
std::uint32_t limit_of(std::size_t bytes) {
  return static_cast<std::uint32_t>(std::clamp<std::size_t>((std::size_t{4} << 20) / bytes, 8, 4096));
}

// What is rare of allocate(): the list is empty. Not inlined, as the next, so that what is frequent stays short.
[[gnu::noinline]] void* refill(std::size_t bytes) {
  register_thread();
  const std::size_t index = size_class(bytes).index;
  if (thread_ended || !take_from_global(index, free_lists[index])) return from_system(bytes);
  return allocate(bytes);
}

// What is rare of deallocate(): the list is new, or full, or its thread is about to end.
[[gnu::noinline]] void settle(std::size_t bytes, FreeList& list) noexcept {
  const SizeClass size = size_class(bytes);
  register_thread();
  if (!thread_ended) list.limit = limit_of(size.bytes);
  if (list.count >= list.limit) give_to_global(size.index, list);
}

}  // namespace

void* allocate(std::size_t bytes) {
  if constexpr (!kPooled) return from_system(bytes);
  FreeList& list = free_lists[size_class(bytes).index];
  Block* const block = list.head;
  if (block == nullptr) [[unlikely]]
    return refill(bytes);
  list.head = block->next;
  --list.count;
  return block;
}

void deallocate(void* pointer, std::size_t bytes) noexcept {
  if constexpr (!kPooled) return ::operator delete(pointer, kAlign);
  FreeList& list = free_lists[size_class(bytes).index];
  auto* const block = static_cast<Block*>(pointer);
  block->next = list.head;
  list.head = block;
  if (++list.count >= list.limit) [[unlikely]]
    settle(bytes, list);
}

std::uint64_t misses() noexcept { return system_requests.load(std::memory_order_relaxed); }

void trim() noexcept {
  for (std::size_t i = 0; i < kClasses; ++i) {
    FreeList& list = free_lists[i];
    do {
      while (Block* const block = list.head) {
        list.head = block->next;
        ::operator delete(block, kAlign);
      }
      list.count = 0;
    } while (take_from_global(i, list));
  }
}

}  // namespace xtgrad::memory
