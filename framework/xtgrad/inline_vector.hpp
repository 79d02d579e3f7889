// InlineVector<V>: the shape and the strides of an array, eight numbers at most and no pointer, so that arrays are made
// and moved in a few instructions. It has the interface that xtensor asks of a shape.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <ranges>

#include "xtgrad/contiguous.hpp"
#include "xtgrad/xtensor.hpp"

// Not in xtgrad itself, as Buffer is not: arrays name this type.
namespace xtgrad::memory {

/// The most axes that an array can have.
inline constexpr std::size_t kMaxRank = 8;

[[noreturn]] void fail_rank(std::size_t rank);

/// Up to kMaxRank numbers. Whatever would make it longer throws std::invalid_argument.
template <class V> class InlineVector : public Contiguous<InlineVector<V>, V> {
 public:
  using size_type = std::size_t;

  InlineVector() noexcept { values_[0] = values_[1] = 0; }
  explicit InlineVector(size_type size, V value = 0) : InlineVector() {
    resize(size);
    std::fill_n(values_.data(), size, value);
  }
  InlineVector(std::initializer_list<V> values) : InlineVector(values.begin(), values.end()) {}
  template <std::forward_iterator It> InlineVector(It first, It last) : InlineVector() {
    resize(static_cast<size_type>(std::distance(first, last)));
    std::transform(first, last, values_.data(), [](auto value) { return static_cast<V>(value); });
  }
  /// From another container of numbers, such as the shape of an xt::xarray.
  template <std::ranges::forward_range R>
  requires std::integral<std::ranges::range_value_t<R>> InlineVector(const R& values)  // NOLINT: a shape is a shape
      : InlineVector(std::ranges::begin(values), std::ranges::end(values)) {}
  InlineVector(const InlineVector& other) noexcept { take(other); }
  InlineVector& operator=(const InlineVector& other) noexcept {
    take(other);
    return *this;
  }

  /// Numbers that are new are not initialised.
  void resize(size_type size) {
    if (size > kMaxRank) [[unlikely]]
      fail_rank(size);
    size_ = size;
  }
  void push_back(V value) {
    resize(size_ + 1);
    values_[size_ - 1] = value;
  }

  size_type size() const noexcept { return size_; }
  V* data() noexcept { return values_.data(); }
  const V* data() const noexcept { return values_.data(); }

  friend bool operator==(const InlineVector& a, const InlineVector& b) noexcept {
    if (a.size_ != b.size_) return false;
    for (size_type i = 0; i < a.size_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }

 private:
  // Only the numbers that there are, two nearly always, and one by one: a wide load of what was just stored in small
  // pieces would have to wait. The empty asm keeps the compiler from merging the two.
  void take(const InlineVector& other) noexcept {
    size_ = other.size_;
    V first = other.values_[0], second = other.values_[1];
    asm("" : "+r"(first), "+r"(second));
    values_[0] = first;
    values_[1] = second;
    for (size_type i = 2; i < size_; ++i) values_[i] = other.values_[i];
  }

  size_type size_ = 0;
  std::array<V, kMaxRank> values_;
};

}  // namespace xtgrad::memory

template <class X, class V> struct xt::rebind_container<X, xtgrad::memory::InlineVector<V>> {
  using type = xtgrad::memory::InlineVector<X>;
};
