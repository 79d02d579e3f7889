// Activations as modules.
#pragma once

#include "xtgrad/layers/module.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/normalise.hpp"

namespace xtgrad {

/// A function without state, as a module whose class is Self<T>: x -> y of the same shape.
template <template <class> class Self, class T, Tensor<T> (*function)(const Tensor<T>&)>
class Activation : public Layer<Self<T>, T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) final { return function(x); }
  std::string name() const final { return Self<T>::kName; }
  template <class U> Self<U> rebuilt() const { return {}; }
};

/// x as it is: a place in a network that does nothing.
template <class T = float> class Identity final : public Layer<Identity<T>, T> {
 public:
  Tensor<T> forward(const Tensor<T>& x) override { return x; }
  std::string name() const override { return "Identity"; }
  template <class U> Identity<U> rebuilt() const { return {}; }
};

/// max(x, 0)
template <class T = float> class Relu final : public Activation<Relu, T, relu> {
 public:
  static constexpr const char* kName = "ReLU";
};

/// (e^x - e^-x) / (e^x + e^-x)
template <class T = float> class Tanh final : public Activation<Tanh, T, tanh> {
 public:
  static constexpr const char* kName = "Tanh";
};

/// 1 / (1 + e^-x)
template <class T = float> class Sigmoid final : public Activation<Sigmoid, T, sigmoid> {
 public:
  static constexpr const char* kName = "Sigmoid";
};

/// x P(X < x) for a standard normal X (Hendrycks and Gimpel 2016), exactly, with erf
template <class T = float> class Gelu final : public Activation<Gelu, T, gelu> {
 public:
  static constexpr const char* kName = "GELU";
};

/// log(1 + e^x)
template <class T = float> class Softplus final : public Activation<Softplus, T, softplus> {
 public:
  static constexpr const char* kName = "Softplus";
};

/// e^x / sum(e^x) over the last axis; losses such as cross_entropy have their own. Throws for a scalar.
template <class T = float> class Softmax final : public Activation<Softmax, T, softmax> {
 public:
  static constexpr const char* kName = "Softmax";
};

/// x where it is positive, slope * x elsewhere
template <class T = float> class LeakyRelu final : public Layer<LeakyRelu<T>, T> {
 public:
  explicit LeakyRelu(double slope = 0.01) : slope_(slope) {}
  Tensor<T> forward(const Tensor<T>& x) override { return leaky_relu(x, slope_); }
  std::string name() const override { return fmt::format("LeakyReLU({})", slope_); }
  template <class U> LeakyRelu<U> rebuilt() const { return LeakyRelu<U>(slope_); }

 private:
  double slope_;
};

}  // namespace xtgrad
