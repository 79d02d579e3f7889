// Flatten: rows of any shape become rows of numbers.
#pragma once

#include "xtgrad/check.hpp"
#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {

/// x (N, ...) -> (N, D), D being the product of the other extents. Throws for a scalar.
template <class T = float> class Flatten final : public Layer<Flatten<T>, T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override {
    check(!x.shape().empty(), "Flatten: the input is a scalar, expected (N, ...)");
    std::size_t D = 1;
    for (std::size_t axis = 1; axis < x.shape().size(); ++axis) D *= x.shape()[axis];
    return reshape(x, {x.shape()[0], D});
  }
  std::string name() const override { return "Flatten"; }
  template <class U> Flatten<U> rebuilt() const { return {}; }
};

}  // namespace xtgrad
