// The second-order path of a fused op: its reference in plain ops, differentiated.
#pragma once

#include <vector>

#include "xtgrad/record.hpp"

namespace xtgrad {

/// Adds to the gradients of an op's inputs those of `reference(inputs)`, as a graph that can be
/// differentiated again. `reference` takes the inputs in their order and must compute what the op computes.
template <class T, class Reference>
void backward_by_reference(Backward<T>& b, std::size_t inputs, Reference&& reference) {
  // Aliases end the inner walk at this op: whatever the inputs came from is the outer walk's business.
  std::vector<Tensor<T>> operands, wanted;
  for (std::size_t i = 0; i < inputs; ++i) {
    const Tensor<T>& input = b.input(i);
    if (b.needs(i))
      wanted.push_back(record("alias", shared_array(input.value(), input.shape()), {&input},
                              [](Backward<T>& alias) { alias.add(0, alias.dz()); }));
    operands.push_back(b.needs(i) ? wanted.back() : input);
  }
  const std::vector<Tensor<T>> gradients = grad(reference(operands), wanted, {.seed = b.dz(), .create_graph = true});
  for (std::size_t i = 0, next = 0; i < inputs; ++i)
    if (b.needs(i)) b.add(i, gradients[next++]);
}

}  // namespace xtgrad
