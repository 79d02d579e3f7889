// Buffer<T>: a counted, pooled block of elements, with the interface that xtensor asks of a storage.
//
// It has the value semantics that xtensor expects (a copy is a deep copy) and one ability more: buffers can share a
// block, which is how reshape and detach share their values and their version counter.
// A block may be read on any number of threads; its owners are counted atomically.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>

#include "xtgrad/contiguous.hpp"
#include "xtgrad/memory.hpp"

// Not in xtgrad itself: arrays name this type, and xtensor's unqualified calls of mean, exp and the like would find
// the ops on tensors beside its own functions.
namespace xtgrad::memory {

/// A counted block of `size` elements, aligned to kAlignment. Elements are not initialised.
template <class T> class Buffer : public Contiguous<Buffer<T>, T> {
 public:
  using allocator_type = std::allocator<T>;
  using typename Contiguous<Buffer, T>::size_type;

  Buffer() noexcept = default;
  explicit Buffer(size_type size) : data_(allocate(size)), size_(size) {}
  Buffer(size_type size, const T& value) : Buffer(size) { std::fill_n(data_, size, value); }
  Buffer(std::initializer_list<T> values) : Buffer(values.begin(), values.end()) {}
  template <std::forward_iterator It>
  Buffer(It first, It last) : Buffer(static_cast<size_type>(std::distance(first, last))) {
    std::copy(first, last, data_);
  }
  Buffer(const Buffer& other) : Buffer(other.begin(), other.end()) {}
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(const Buffer& other) {
    if (this != &other) {
      resize(other.size_);
      std::copy_n(other.data_, size_, data_);
    }
    return *this;
  }
  // What others share stays shared: they get the values too.
  Buffer& operator=(Buffer&& other) noexcept {
    if (size_ == other.size_ && !unique())
      std::copy_n(other.data_, size_, data_);
    else
      swap(other);
    return *this;
  }
  ~Buffer() { release(); }

  /// A second owner of the same block: what one writes, the other reads.
  Buffer share() const noexcept {
    Buffer other;
    other.data_ = data_;
    other.size_ = size_;
    if (data_ != nullptr) header().owners.fetch_add(1, std::memory_order_relaxed);
    return other;
  }
  /// Whether this is the block's only owner.
  bool unique() const noexcept { return data_ == nullptr || header().owners.load(std::memory_order_acquire) == 1; }

  /// How often the block was opened for writing since it was made; shared by all its owners.
  std::uint32_t version() const noexcept { return data_ == nullptr ? 0 : header().version; }
  void bump_version() noexcept {
    if (data_ != nullptr) ++header().version;
  }

  /// A resized buffer leaves its fellow owners; the elements are not kept.
  void resize(size_type size) {
    if (size != size_ || data_ == nullptr) {
      Buffer fresh(size);
      swap(fresh);
    }
  }
  void swap(Buffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  allocator_type get_allocator() const noexcept { return {}; }
  size_type size() const noexcept { return size_; }
  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }

  friend bool operator==(const Buffer& a, const Buffer& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  // Sits in front of the elements, on a cache line of its own.
  struct Header {
    std::atomic<std::uint32_t> owners;
    std::uint32_t version;
  };
  static_assert(sizeof(Header) <= kAlignment);

  static T* allocate(size_type size) {
    auto* const block = static_cast<std::byte*>(memory::allocate(kAlignment + bytes<T>(size)));
    new (block) Header{1, 0};
    return reinterpret_cast<T*>(block + kAlignment);
  }
  Header& header() const noexcept {
    return *reinterpret_cast<Header*>(reinterpret_cast<std::byte*>(data_) - kAlignment);
  }
  void release() noexcept {
    // A sole owner need not pay for an atomic decrement.
    if (data_ != nullptr && (unique() || header().owners.fetch_sub(1, std::memory_order_acq_rel) == 1))
      memory::deallocate(&header(), kAlignment + size_ * sizeof(T));
  }

  T* data_ = nullptr;
  size_type size_ = 0;
};

}  // namespace xtgrad::memory
