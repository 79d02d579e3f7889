#include "xtgrad/tensor.hpp"

#include <algorithm>
#include <cmath>
#include <ostream>

#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

constinit thread_local Counted* dead_nodes = nullptr;
constinit thread_local bool disposing = false;
constinit thread_local std::int64_t last_number = 0;

// Copies nested initializer lists row by row.
template <class T, class List> void flatten(const List& list, std::size_t axis, Shape& shape, T*& out) {
  check(list.size() == shape[axis], "Tensor: the rows of an initialiser differ in length: {} and {}", shape[axis],
        list.size());
  if constexpr (std::is_same_v<List, std::initializer_list<T>>)
    out = std::copy(list.begin(), list.end(), out);
  else
    for (const auto& row : list) flatten(row, axis + 1, shape, out);
}

template <class T, class List> Array<T> array_of(const List& list, Shape shape) {
  Array<T> array = empty_array<T>(shape);
  T* out = array.data();
  flatten(list, 0, shape, out);
  return array;
}

}  // namespace

void Counted::dispose(Counted* dead) noexcept {
  // Deleting a node drops its inputs, which arrive here again: they wait in the list for their turn.
  dead->next_dead_ = std::exchange(dead_nodes, dead);
  if (std::exchange(disposing, true)) return;
  while (Counted* const next = dead_nodes) {
    dead_nodes = next->next_dead_;
    delete next;
  }
  disposing = false;
}

template <class T>
Node<T>::Node(const char* op, Array<T>&& v, std::int64_t largest_input) noexcept
    : value(std::move(v)),
      number(last_number = std::max(last_number, largest_input) + 1),
      written(version()),
      op_(op) {}

template <class T> Tensor<T>::Tensor(T scalar) : Tensor(full_array<T>({}, scalar)) {}

template <class T>
Tensor<T>::Tensor(std::initializer_list<Number<T>> values) : Tensor(empty_array<T>({values.size()})) {
  std::ranges::transform(values, node_->value.data(), &Number<T>::value);
}

template <class T>
Tensor<T>::Tensor(std::initializer_list<std::initializer_list<T>> values)
    : Tensor(array_of<T>(values, {values.size(), values.size() == 0 ? 0 : values.begin()->size()})) {}

template <class T>
Tensor<T>::Tensor(std::initializer_list<std::initializer_list<std::initializer_list<T>>> values)
    : Tensor(array_of<T>(values,
                         {values.size(), values.size() == 0 ? 0 : values.begin()->size(),
                          values.size() == 0 || values.begin()->size() == 0 ? 0 : values.begin()->begin()->size()})) {}

template <class T> Tensor<T>::Tensor(Array<T>&& values) : node_(new Node<T>(std::move(values))) {}

void detail::fail_undefined() {
  fail("Tensor: this tensor is not defined (it was default-constructed, or has no gradient yet)");
}

template <class T> Array<T>& Tensor<T>::mutable_value() {
  ++node().edits;
  node_->value.storage().bump_version();
  return node_->value;
}

template <class T> T Tensor<T>::item() const {
  check(size() == 1, "item: the tensor has shape {}, which is not one element", shape());
  return *data();
}

template <class T> Tensor<T>& Tensor<T>::requires_grad(bool wanted) {
  check(is_leaf(), "requires_grad: this is the result of {}; detach() it first", node().description());
  node().requires_grad = wanted;
  return *this;
}

template <class T> void Tensor<T>::zero_grad() { node().grad = {}; }

template <class T> Tensor<T>& Tensor<T>::retain_grad() {
  check(requires_grad(), "retain_grad: a tensor of shape {} does not require grad", shape());
  node_->retains_grad = true;
  return *this;
}

template <class T> std::size_t Tensor<T>::add_hook(GradHook<T> hook) {
  check(requires_grad(), "add_hook: a tensor of shape {} does not require grad, so no gradient will come by", shape());
  if (node_->hooks == nullptr) node_->hooks = std::make_unique<HookList<GradHook<T>>>();
  return node_->hooks->add(std::move(hook));
}

template <class T> void Tensor<T>::remove_hook(std::size_t id) {
  check(node().hooks != nullptr, "remove_hook: there is no hook {}", id);
  node_->hooks->remove(id);
}

template <class T> Tensor<T>& Tensor<T>::label(std::string_view text) {
  node().label = intern(text);
  return *this;
}

template <class T> std::string_view Tensor<T>::label() const {
  return node().label == nullptr ? std::string_view() : *node_->label;
}

template <class T> std::string Node<T>::description() const {
  return label == nullptr ? op_ : fmt::format("{} in {}", op_, *label);
}

template <class T> Tensor<T> Tensor<T>::arange(T start, T stop, T step) {
  const double steps = (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  check(steps >= 0 && steps < 0x1p48, "arange: {} to {} by {} is not a finite number of steps", start, stop, step);
  Array<T> values = empty_array<T>({static_cast<std::size_t>(std::ceil(steps))});
  for (std::size_t i = 0; i < values.size(); ++i)
    values.data()[i] = static_cast<T>(static_cast<double>(start) + static_cast<double>(i) * static_cast<double>(step));
  return Tensor(std::move(values));
}

template <class T> Tensor<T> Tensor<T>::detach() const { return shared_array(value(), shape()); }

template <class T> std::ostream& operator<<(std::ostream& out, const Tensor<T>& t) {
  return t.defined() ? out << t.value() : out << "Tensor()";
}

template class Node<float>;
template class Node<double>;
template class Tensor<float>;
template class Tensor<double>;
template std::ostream& operator<<(std::ostream&, const Tensor<float>&);
template std::ostream& operator<<(std::ostream&, const Tensor<double>&);

}  // namespace xtgrad
