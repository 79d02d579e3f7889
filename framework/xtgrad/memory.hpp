// The pool: where nodes and array storage come from.
//
// Freed blocks go to a list of their size class on the freeing thread and serve the next allocation of that
// class, so that a training step in its steady state never asks the system for memory. A full list, or the
// lists of a thread that ends, pass to a global one; a block may be freed on any thread, and at any time up
// to the end of the process. Sanitizer builds hand every call straight to the system.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

namespace xtgrad::memory {

/// Every block is aligned to this many bytes: a cache line, and the widest SIMD register.
inline constexpr std::size_t kAlignment = 64;

/// A block of at least `bytes` bytes, uninitialised. Throws std::bad_alloc.
[[nodiscard]] void* allocate(std::size_t bytes);

/// The size of n elements. Throws std::bad_alloc where that is more than can be counted.
template <class T> std::size_t bytes(std::size_t n) {
  if (n > std::numeric_limits<std::size_t>::max() / (2 * sizeof(T))) throw std::bad_alloc();
  return n * sizeof(T);
}

/// Returns a block to the pool; `bytes` is what it was asked for with.
void deallocate(void* block, std::size_t bytes) noexcept;

/// How often, in all threads so far, the pool had to ask the system for memory.
std::uint64_t misses() noexcept;

/// Gives all that this thread and the global list hold back to the system.
void trim() noexcept;

}  // namespace xtgrad::memory

namespace xtgrad {

/// The pool as an allocator of standard containers.
template <class T> struct PoolAllocator {
  using value_type = T;
  PoolAllocator() noexcept = default;
  template <class U> PoolAllocator(const PoolAllocator<U>&) noexcept {}  // NOLINT: allocators convert
  T* allocate(std::size_t n) { return static_cast<T*>(memory::allocate(memory::bytes<T>(n))); }
  void deallocate(T* block, std::size_t n) noexcept { memory::deallocate(block, n * sizeof(T)); }
  friend bool operator==(PoolAllocator, PoolAllocator) noexcept { return true; }
};

/// A vector over pooled memory, for work lists that live as long as one call.
template <class T> using PoolVector = std::vector<T, PoolAllocator<T>>;

}  // namespace xtgrad
