// Tensor<T> and Node<T>: a value in the graph and the handle to it.
//
// A Tensor is one counted pointer to a Node; copying it copies the handle, not the values. A leaf is a Node
// made from values; the result of an op is a node of a class derived from Node<T>, which is the op and holds
// what its backward saved (see record.hpp). A node owns its inputs and never its own output, so there are no
// cycles.
//
// A graph lives on one thread. Separate graphs on separate threads may share leaves that nobody writes.
#pragma once

#include <concepts>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "xtgrad/array.hpp"
#include "xtgrad/hooks.hpp"
#include "xtgrad/label.hpp"

namespace xtgrad {

template <class T> class Node;
template <class T> class Backward;
template <class T> class Walk;
template <class T> class Tensor;
namespace detail {
[[noreturn]] void fail_undefined();
template <class T, class Edges, class F>
Tensor<T> record(const char* op, Array<T>&& result, std::span<const Tensor<T>* const> inputs, Edges&& edges,
                 F&& backward);
}  // namespace detail

// The ops behind the operators below; they are documented where they are defined, in ops/elementwise.hpp.
template <class T> Tensor<T> add(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> sub(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> mul(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> div(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> neg(const Tensor<T>& x);
template <class T> Tensor<T> greater(const Tensor<T>& x, const Tensor<T>& y);

/// An element of an initialiser list. Tensor<> t{{1}, {2}} is then a column: {1} is an element only as a last resort.
template <class T> struct Number {
  template <class U>
  requires std::is_arithmetic_v<U> Number(U number)
      : value(static_cast<T>(number)) {}  // NOLINT: so that it can stand in a list
  T value;
};

/// Options of Tensor::backward.
struct BackwardOptions {
  bool retain_graph = false;  ///< keep what the ops saved, so that backward can run through them again
  /// Build a graph of the gradients; implies retain_graph. The gradient of a leaf then refers to the leaf itself, a
  /// cycle that zero_grad() breaks; grad() makes none.
  bool create_graph = false;
};

/// Is shown a gradient on its way, and may return another of its shape to go on with; undefined leaves it as it is.
template <class T> using GradHook = std::function<Tensor<T>(const Tensor<T>& gradient)>;

/// A contiguous row-major array of float or double with a place in a graph.
template <class T = float> class Tensor {
  static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "a Tensor holds float or double");

 public:
  using value_type = T;

  /// No tensor at all: defined() is false.
  Tensor() noexcept = default;
  /// A scalar, shape ().
  Tensor(T scalar);  // NOLINT: so that 2 * t converts
  /// Values of one, two or three axes: Tensor<> t{{1, 2, 3}, {4, 5, 6}}. Throws if the rows differ in length.
  Tensor(std::initializer_list<Number<T>> values);
  Tensor(std::initializer_list<std::initializer_list<T>> values);
  Tensor(std::initializer_list<std::initializer_list<std::initializer_list<T>>> values);
  /// Takes over the array.
  Tensor(Array<T>&& values);  // NOLINT: an array is a value
  /// Copies the values of any xtensor expression.
  template <class E> Tensor(const xt::xexpression<E>& values) : Tensor(Array<T>(values)) {}  // NOLINT: likewise

  Tensor(const Tensor& other) noexcept;
  Tensor(Tensor&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  Tensor& operator=(Tensor other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~Tensor();

  /// A leaf of this shape, filled. Throws std::bad_alloc.
  static Tensor zeros(const Shape& shape) { return full_array<T>(shape, T(0)); }
  static Tensor ones(const Shape& shape) { return full_array<T>(shape, T(1)); }
  static Tensor full(const Shape& shape, T value) { return full_array<T>(shape, value); }
  /// start, start + step, ... up to stop, which is left out but for rounding. Throws if step is 0 or leads away from it.
  static Tensor arange(T start, T stop, T step = 1);
  static Tensor arange(T stop) { return arange(0, stop); }
  /// Draws of this thread's default generator: uniform in [0, 1), standard normal.
  static Tensor rand(const Shape& shape);
  static Tensor randn(const Shape& shape);

  /// Whether there is a tensor. Most of what follows throws if there is none.
  bool defined() const noexcept { return node_ != nullptr; }
  const Shape& shape() const;
  /// The number of elements.
  std::size_t size() const;

  /// The values, with the whole xtensor API. The reference is good as long as some handle to the node lives.
  const Array<T>& value() const;
  /// The values for writing, with their shape as it is. A later backward that needs them throws.
  Array<T>& mutable_value();
  /// The first of size() values, row-major.
  const T* data() const { return value().data(); }
  /// The only element. Throws if there is more or less than one.
  T item() const;

  /// Whether gradients are wanted for this tensor.
  bool requires_grad() const noexcept;
  /// Says whether gradients are wanted. Throws on the result of an op.
  Tensor& requires_grad(bool wanted);
  /// Whether this is no op's result.
  bool is_leaf() const noexcept;
  /// The gradient that backward() accumulated here; undefined if there is none, as for a result of an op without
  /// retain_grad().
  const Tensor& grad() const;
  /// Lets backward() keep the gradient of this result of an op, too. Throws unless it requires grad.
  Tensor& retain_grad();
  /// Calls the hook whenever the gradient of this tensor is complete, before it goes on to grad() and to the op's
  /// inputs; hooks run in the order in which they were added, those of leaves after all others. Throws unless the tensor
  /// requires grad. A hook that holds the tensor itself keeps it alive for ever. Returns what remove_hook() wants.
  std::size_t add_hook(GradHook<T> hook);
  /// Throws if there is no such hook.
  void remove_hook(std::size_t id);
  /// A name that errors, anomaly mode and to_dot() show; layers name their parameters and the results of their ops.
  Tensor& label(std::string_view text);
  std::string_view label() const;
  /// Drops the gradient: grad() is undefined afterwards.
  void zero_grad();

  /// A leaf with the same values (shared, not copied) and no history.
  Tensor detach() const;

  /// Adds d(this)/d(leaf), contracted with `seed`, to the gradient of every leaf that this tensor depends on
  /// and that requires grad. Throws as grad() in autograd.hpp does: without a seed the tensor must have one element. If
  /// it throws, no leaf has changed.
  template <std::same_as<Tensor> Seed>  // a template, so that braces are options
  void backward(const Seed& seed, BackwardOptions options = {}) const {
    backward_from(seed, options);
  }
  void backward(BackwardOptions options = {}) const { backward_from(Tensor(), options); }

  /// Element by element; shapes broadcast as in numpy. They throw if the shapes do not.
  friend Tensor operator+(const Tensor& x, const Tensor& y) { return add(x, y); }
  friend Tensor operator-(const Tensor& x, const Tensor& y) { return sub(x, y); }
  friend Tensor operator*(const Tensor& x, const Tensor& y) { return mul(x, y); }
  friend Tensor operator/(const Tensor& x, const Tensor& y) { return div(x, y); }
  friend Tensor operator-(const Tensor& x) { return neg(x); }
  /// 1 where x > y, 0 elsewhere; carries no gradient.
  friend Tensor operator>(const Tensor& x, const Tensor& y) { return greater(x, y); }

  /// Prints the values as xtensor does.
  template <class U> friend std::ostream& operator<<(std::ostream& out, const Tensor<U>& t);

  /// The place in the graph, for those who walk it. Throws if there is none.
  Node<T>& node() const;

 private:
  friend class Node<T>;
  friend class Backward<T>;
  friend class Walk<T>;
  template <class U, class Edges, class F> friend class Operation;
  template <class U, class Edges, class F>
  friend Tensor<U> detail::record(const char*, Array<U>&&, std::span<const Tensor<U>* const>, Edges&&, F&&);

  struct Adopt {};
  Tensor(Node<T>* node, Adopt) noexcept : node_(node) {}
  std::int64_t number() const noexcept;
  void backward_from(const Tensor& seed, BackwardOptions options) const;

  Node<T>* node_ = nullptr;
};

/// An input of an op, and the version of its values that the op saw.
template <class T> struct Edge {
  Tensor<T> input;
  std::uint64_t version = 0;
};

/// Counts its owners and is released without recursion, however long the chain that it ends.
class Counted {
 public:
  Counted() noexcept = default;
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;
  virtual ~Counted() = default;

  void keep() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
  void drop() noexcept {
    if (unique() || owners_.fetch_sub(1, std::memory_order_acq_rel) == 1) dispose(this);
  }
  bool unique() const noexcept { return owners_.load(std::memory_order_acquire) == 1; }

  static void* operator new(std::size_t bytes) { return memory::allocate(bytes); }
  static void operator delete(void* block, std::size_t bytes) noexcept { memory::deallocate(block, bytes); }

 private:
  static void dispose(Counted* dead) noexcept;

  std::atomic<std::uint32_t> owners_{1};
  Counted* next_dead_ = nullptr;
};

/// A value in the graph. Nodes are numbered so that an op's number is larger than those of its inputs.
template <class T> class Node : public Counted {
 public:
  explicit Node(Array<T>&& v) : Node("leaf", std::move(v), 0) {}

  const char* op() const noexcept { return op_; }
  /// "linear", or "linear in 0 Linear(64, 10)" if it has a label.
  std::string description() const;
  std::span<Edge<T>> edges() const noexcept { return edges_; }
  bool is_leaf() const noexcept { return edges_.empty(); }

  /// Hands the gradient of this op's result on to its inputs.
  virtual void backward(Backward<T>&) {}
  /// Lets go of the inputs and of what was saved for backward.
  virtual void release() noexcept {}
  virtual bool released() const noexcept { return false; }

  /// Changes with every edit of the values: here, or through a tensor that shares them. The edits here are counted
  /// apart, because an assignment to the array may give it another block.
  std::uint64_t version() const noexcept { return std::uint64_t{edits} << 32 | value.storage().version(); }

  Array<T> value;
  Tensor<T> grad;
  std::int64_t number;
  std::uint32_t edits = 0;  ///< calls of mutable_value
  std::uint64_t written;    ///< the version when the op had written the values
  const std::string* label = nullptr;
  std::unique_ptr<HookList<GradHook<T>>> hooks;
  bool requires_grad = false;
  bool retains_grad = false;

 protected:
  Node(const char* op, Array<T>&& v, std::int64_t largest_input) noexcept;
  void set_edges(std::span<Edge<T>> edges) noexcept { edges_ = edges; }

 private:
  const char* op_;
  std::span<Edge<T>> edges_;
};

// Without `inline` the extern templates below would have every use call them.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Warray-bounds"  // g++ 12 sees one where a vector grows from one tensor to two
template <class T> inline Tensor<T>::Tensor(const Tensor& other) noexcept : node_(other.node_) {
  if (node_ != nullptr) node_->keep();
}
#pragma GCC diagnostic pop

template <class T> inline Tensor<T>::~Tensor() {
  if (node_ != nullptr) node_->drop();
}

template <class T> inline Node<T>& Tensor<T>::node() const {
  if (node_ == nullptr) [[unlikely]]
    detail::fail_undefined();
  return *node_;
}

template <class T> inline std::int64_t Tensor<T>::number() const noexcept { return node_ ? node_->number : 0; }

template <class T> inline const Shape& Tensor<T>::shape() const { return node().value.shape(); }

template <class T> inline std::size_t Tensor<T>::size() const { return node().value.storage().size(); }

template <class T> inline const Array<T>& Tensor<T>::value() const { return node().value; }

template <class T> inline const Tensor<T>& Tensor<T>::grad() const { return node().grad; }

template <class T> inline bool Tensor<T>::requires_grad() const noexcept { return node_ && node_->requires_grad; }

template <class T> inline bool Tensor<T>::is_leaf() const noexcept { return !node_ || node_->is_leaf(); }

extern template class Tensor<float>;
extern template class Tensor<double>;
extern template class Node<float>;
extern template class Node<double>;

}  // namespace xtgrad
