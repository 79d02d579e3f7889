// Contiguous<Self, T>: the interface of a sequence container, from data() and size() alone.
#pragma once

#include <cstddef>
#include <iterator>

namespace xtgrad::memory {

/// The base of a class Self that has T* data() and size().
template <class Self, class T> class Contiguous {
 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using pointer = T*;
  using const_pointer = const T*;
  using iterator = T*;
  using const_iterator = const T*;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  bool empty() const noexcept { return self().size() == 0; }
  T& operator[](size_type i) noexcept { return begin()[i]; }
  const T& operator[](size_type i) const noexcept { return begin()[i]; }
  T& front() noexcept { return *begin(); }
  const T& front() const noexcept { return *begin(); }
  T& back() noexcept { return end()[-1]; }
  const T& back() const noexcept { return end()[-1]; }
  iterator begin() noexcept { return static_cast<Self&>(*this).data(); }
  iterator end() noexcept { return begin() + self().size(); }
  const_iterator begin() const noexcept { return self().data(); }
  const_iterator end() const noexcept { return begin() + self().size(); }
  const_iterator cbegin() const noexcept { return begin(); }
  const_iterator cend() const noexcept { return end(); }
  reverse_iterator rbegin() noexcept { return reverse_iterator(end()); }
  reverse_iterator rend() noexcept { return reverse_iterator(begin()); }
  const_reverse_iterator rbegin() const noexcept { return const_reverse_iterator(end()); }
  const_reverse_iterator rend() const noexcept { return const_reverse_iterator(begin()); }
  const_reverse_iterator crbegin() const noexcept { return rbegin(); }
  const_reverse_iterator crend() const noexcept { return rend(); }

 private:
  const Self& self() const noexcept { return static_cast<const Self&>(*this); }
};

}  // namespace xtgrad::memory
