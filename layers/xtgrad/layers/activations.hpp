// Activations as modules.
#pragma once

#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {

/// max(x, 0)
template <class T = float>
class Relu final : public Module<T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return relu(x); }
  std::string name() const override { return "ReLU"; }
};

template <class T = float>
class Tanh final : public Module<T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return tanh(x); }
  std::string name() const override { return "Tanh"; }
};

/// 1 / (1 + e^-x)
template <class T = float>
class Sigmoid final : public Module<T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return sigmoid(x); }
  std::string name() const override { return "Sigmoid"; }
};

}  // namespace xtgrad
