// What an op is made of: record() puts its result into the graph, Backward is what its derivative sees.
//
//   template <class T>
//   Tensor<T> transpose(const Tensor<T>& x) {
//     return record("transpose", transposed(x.value()), {&x},
//                   [](Backward<T>& b) { b.add(0, transpose(b.dz())); });
//   }
//
// The lambda is stored in the node; what it captures is what the op saves. It runs with recording switched
// off (numbers only) or on (create_graph: the same lines build the graph of the gradient).
#pragma once

#include <array>
#include <optional>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// An op's view of one backward walk.
template <class T>
class Backward {
 public:
  /// The gradient of the result, in its shape.
  const Tensor<T>& dz() const noexcept { return dz_; }
  /// Whether the gradient of input i is wanted.
  bool needs(std::size_t i) const;
  /// The shape of input i.
  const Shape& shape(std::size_t i) const { return node_.edges()[i].input.shape(); }
  /// Input i. Throws if its values were changed after the forward pass.
  const Tensor<T>& input(std::size_t i) const;
  /// The result. Throws if its values were changed after the forward pass.
  Tensor<T> output() const;
  /// Adds `d`, in the shape of input i, to that input's gradient; nothing happens if it is not wanted.
  void add(std::size_t i, Tensor<T> d);

 private:
  friend class Walk<T>;
  Backward(Node<T>& node, Tensor<T> dz, Walk<T>& walk) noexcept : node_(node), dz_(std::move(dz)), walk_(walk) {}
  void check_version(const char* what, const Node<T>& node, std::uint64_t saved) const;

  Node<T>& node_;
  Tensor<T> dz_;
  Walk<T>& walk_;
};

/// The node of an op with K inputs whose derivative is F.
template <class T, std::size_t K, class F>
class Operation final : public Node<T> {
 public:
  Operation(const char* op, Array<T>&& result, const Tensor<T>* const (&inputs)[K], F&& backward)
      : Node<T>(op, std::move(result), edges_, largest_number(inputs)), backward_(std::move(backward)) {
    for (std::size_t i = 0; i < K; ++i)
      if (inputs[i]->defined()) edges_[i] = {*inputs[i], inputs[i]->node().version()};
    this->requires_grad = true;
  }

  void backward(Backward<T>& b) override { (*backward_)(b); }
  void release() noexcept override {
    backward_.reset();
    for (Edge<T>& edge : edges_) edge.input = {};
  }
  bool released() const noexcept override { return !backward_.has_value(); }

 private:
  static std::int64_t largest_number(const Tensor<T>* const (&inputs)[K]) noexcept {
    std::int64_t largest = 0;
    for (const Tensor<T>* input : inputs) largest = std::max(largest, input->number());
    return largest;
  }

  std::array<Edge<T>, K> edges_;
  std::optional<F> backward_;
};

/// The result of `op` as a tensor: with a node that remembers the inputs and `backward` if a graph is being
/// built and some input requires grad, a plain leaf otherwise. Inputs may be undefined (an optional bias,
/// say).
template <class T, std::size_t K, class F>
Tensor<T> record(const char* op, Array<T>&& result, const Tensor<T>* const (&inputs)[K], F&& backward) {
  bool wanted = false;
  for (const Tensor<T>* input : inputs) wanted = wanted || input->requires_grad();
  if (!wanted || !grad_enabled()) return std::move(result);
  using Op = Operation<T, K, std::decay_t<F>>;
  return {new Op(op, std::move(result), inputs, std::forward<F>(backward)), typename Tensor<T>::Adopt{}};
}

}  // namespace xtgrad
