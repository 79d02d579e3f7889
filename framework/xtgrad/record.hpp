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

#include <algorithm>
#include <array>
#include <optional>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// An op's view of one backward walk.
template <class T> class Backward {
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
  /// Adds `d`, in the shape of input i, to that input's gradient; nothing happens if it is not wanted. Throws if the
  /// shape is another.
  void add(std::size_t i, Tensor<T> d);

 private:
  friend class Walk<T>;
  Backward(Node<T>& node, Tensor<T> dz, Walk<T>& walk) noexcept : node_(node), dz_(std::move(dz)), walk_(walk) {}
  void check_version(const char* what, const Node<T>& node, std::uint64_t saved) const;

  Node<T>& node_;
  Tensor<T> dz_;
  Walk<T>& walk_;
};

/// The node of an op whose derivative is F, with its edges in a std::array or, where their number varies, a PoolVector.
template <class T, class Edges, class F> class Operation final : public Node<T> {
 public:
  using Inputs = std::span<const Tensor<T>* const>;

  template <class G>
  Operation(const char* op, Array<T>&& result, Inputs inputs, Edges&& edges, G&& backward)
      : Node<T>(op, std::move(result), largest_number(inputs)),
        edges_(std::move(edges)),
        backward_(std::forward<G>(backward)) {
    for (std::size_t i = 0; i < inputs.size(); ++i)
      if (inputs[i]->defined()) edges_[i] = {*inputs[i], inputs[i]->node().version()};
    this->set_edges(edges_);
    this->requires_grad = true;
    this->label = graph_mode.label;
  }

  void backward(Backward<T>& b) override { (*backward_)(b); }
  void release() noexcept override {
    backward_.reset();
    for (Edge<T>& edge : edges_) edge.input = {};
  }
  bool released() const noexcept override { return !backward_.has_value(); }

 private:
  static std::int64_t largest_number(Inputs inputs) noexcept {
    std::int64_t largest = 0;
    for (const Tensor<T>* input : inputs) largest = std::max(largest, input->number());
    return largest;
  }

  Edges edges_;
  std::optional<F> backward_;
};

namespace detail {

/// Anomaly mode's look at a result.
template <class T> void check_result(const char* op, const Array<T>& result, std::span<const Tensor<T>* const> inputs);

template <class T, class Edges, class F>
Tensor<T> record(const char* op, Array<T>&& result, std::span<const Tensor<T>* const> inputs, Edges&& edges,
                 F&& backward) {
  if (graph_mode.checking) [[unlikely]]
    check_result(op, result, inputs);
  const bool wanted = std::ranges::any_of(inputs, [](const Tensor<T>* input) { return input->requires_grad(); });
  if (!wanted || !grad_enabled()) return std::move(result);
  return Tensor<T>(new Operation<T, Edges, std::decay_t<F>>(op, std::move(result), inputs, std::move(edges),
                                                            std::forward<F>(backward)),
                   typename Tensor<T>::Adopt{});
}

}  // namespace detail

/// The result of `op` as a tensor: with a node that remembers the inputs and `backward` if a graph is being built
/// and some input requires grad, a plain leaf otherwise. Inputs may be undefined (an optional bias, say).
template <class T, std::size_t K, class F>
Tensor<T> record(const char* op, Array<T>&& result, const Tensor<T>* const (&inputs)[K], F&& backward) {
  return detail::record(op, std::move(result), std::span<const Tensor<T>* const>(inputs), std::array<Edge<T>, K>(),
                        std::forward<F>(backward));
}

/// The same for an op whose number of inputs varies.
template <class T, class F>
Tensor<T> record(const char* op, Array<T>&& result, std::span<const Tensor<T>> inputs, F&& backward) {
  PoolVector<const Tensor<T>*> pointers;
  for (const Tensor<T>& input : inputs) pointers.push_back(&input);
  return detail::record(op, std::move(result), std::span<const Tensor<T>* const>(pointers),
                        PoolVector<Edge<T>>(inputs.size()), std::forward<F>(backward));
}

}  // namespace xtgrad
