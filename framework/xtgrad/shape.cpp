#include "xtgrad/shape.hpp"

#include <algorithm>

#include "xtgrad/check.hpp"

namespace xtgrad {

void memory::fail_rank(std::size_t rank) { fail("shape: {} axes, and an array has {} at most", rank, kMaxRank); }
void fail_size(const Shape& shape) { fail("shape: {} has more elements than can be counted", shape); }

std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

Shape broadcast_shape(const char* op, const Shape& a, const Shape& b) {
  const Shape& longer = a.size() >= b.size() ? a : b;
  const Shape& shorter = a.size() >= b.size() ? b : a;
  Shape out = longer;
  const std::size_t lead = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    std::size_t& extent = out[lead + i];
    if (extent == 1)
      extent = shorter[i];
    else if (shorter[i] != 1 && shorter[i] != extent) [[unlikely]]
      fail("{}: shapes {} and {} do not broadcast: axis {} is {} against {}", op, a, b, lead + i, longer[lead + i],
           shorter[i]);
  }
  return out;
}

bool broadcasts_to(const Shape& from, const Shape& to) {
  if (from.size() > to.size()) return false;
  const std::size_t lead = to.size() - from.size();
  for (std::size_t i = 0; i < from.size(); ++i)
    if (from[i] != 1 && from[i] != to[lead + i]) return false;
  return true;
}

std::size_t normalise_axis(const char* op, std::ptrdiff_t axis, std::size_t rank) {
  const auto signed_rank = static_cast<std::ptrdiff_t>(rank);
  if (axis < -signed_rank || axis >= signed_rank)
    fail("{}: axis {} does not exist in a tensor with {} axes", op, axis, rank);
  return static_cast<std::size_t>(axis < 0 ? axis + signed_rank : axis);
}

}  // namespace xtgrad
