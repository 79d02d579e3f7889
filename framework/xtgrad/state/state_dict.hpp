// Named values of a model: what is saved, loaded and compared.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// Names and values in the model's order: parameters and buffers as tensors, counts as Labels. The values are
/// copies.
template <class T>
using StateDict = std::vector<std::pair<std::string, std::variant<Tensor<T>, Labels>>>;

}  // namespace xtgrad
