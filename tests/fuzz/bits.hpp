// The values of places as bytes, for "nothing changed": faster than a file of them.
#pragma once

#include <string>
#include <xtgrad/state/state_dict.hpp>

inline void append_bits(std::string& bits, const std::vector<xtgrad::StateEntry<float>>& entries) {
  const auto append = [&bits](const auto* data, std::size_t n) {
    bits.append(reinterpret_cast<const char*>(data), n * sizeof(*data));
  };
  for (const auto& entry : entries)
    if (auto* const* tensor = std::get_if<xtgrad::Tensor<float>*>(&entry.place))
      append((*tensor)->data(), (*tensor)->size());
    else if (auto* const* count = std::get_if<std::int64_t*>(&entry.place))
      append(*count, 1);
    else if (auto* const* number = std::get_if<double*>(&entry.place))
      append(*number, 1);
}
