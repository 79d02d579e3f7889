// Drawings of the graph.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// The graph above y in Graphviz's language: ops with their labels and shapes, leaves as boxes, those that require grad
/// filled. `dot -Tsvg` draws it. Throws if y is undefined.
template <class T> std::string to_dot(const Tensor<T>& y);

}  // namespace xtgrad
