// Shapes of row-major arrays, and the rules of broadcasting (numpy's).
#pragma once

#include <fmt/core.h>

#include <algorithm>
#include <cstddef>
#include <string>

#include "xtgrad/inline_vector.hpp"

namespace xtgrad {

/// Extents of the axes, outermost first; empty for a scalar.
using Shape = memory::InlineVector<std::size_t>;

[[noreturn]] void fail_size(const Shape& shape);
/// Number of elements: the product of the extents, 1 for a scalar. Throws std::invalid_argument if that of the extents
/// other than 0 cannot be counted.
inline std::size_t size_of(const Shape& shape) {
  std::ptrdiff_t size = 1;
  for (const std::size_t extent : shape)
    if (__builtin_mul_overflow(size, std::max<std::size_t>(extent, 1), &size)) [[unlikely]]
      fail_size(shape);
  return std::ranges::find(shape, 0U) == shape.end() ? static_cast<std::size_t>(size) : 0;
}

/// "(32, 5)"; "(4,)" for one axis and "()" for a scalar, as numpy prints them.
std::string to_string(const Shape& shape);

/// The shape that `a` and `b` broadcast to: aligned at the last axis, where two extents are equal or one
/// is 1. Throws std::invalid_argument naming `op` and both shapes.
Shape broadcast_shape(const char* op, const Shape& a, const Shape& b);

/// Whether an array of shape `from` broadcasts to exactly `to`.
bool broadcasts_to(const Shape& from, const Shape& to);

/// Axis `axis` of an array with `rank` axes, counted from the end if negative.
/// Throws std::invalid_argument naming `op` if there is no such axis.
std::size_t normalise_axis(const char* op, std::ptrdiff_t axis, std::size_t rank);

}  // namespace xtgrad

/// Shapes print themselves in messages.
template <> struct fmt::formatter<xtgrad::Shape> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  auto format(const xtgrad::Shape& shape, fmt::format_context& context) const {
    const std::string text = xtgrad::to_string(shape);
    return std::copy(text.begin(), text.end(), context.out());
  }
};
