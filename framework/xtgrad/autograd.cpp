#include "xtgrad/autograd.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <tuple>

#include "xtgrad/check.hpp"
#include "xtgrad/kernels/table.hpp"
#include "xtgrad/record.hpp"

namespace xtgrad {

constinit thread_local GraphMode graph_mode;

GradMode::GradMode(bool enabled) noexcept : before_(std::exchange(graph_mode.recording, enabled)) {}
GradMode::~GradMode() { graph_mode.recording = before_; }

namespace {

/// Where anomaly mode found a value that is not finite: "nan in row 5, column 2 of (32, 16)"; empty if there is none.
template <class T> std::string not_finite(const Array<T>& values) {
  const T* const begin = values.data();
  const T* const end = begin + values.size();
  const T* const found = std::find_if_not(begin, end, [](T value) { return std::isfinite(value); });
  if (found == end) return "";
  constexpr const char* names[] = {"row", "column", "position"};
  std::string where;
  auto index = static_cast<std::size_t>(found - begin);
  for (std::size_t axis = values.dimension(); axis-- > 0; index /= values.shape()[axis]) {
    const char* const name = names[values.dimension() == 1 ? 1 : std::min<std::size_t>(axis, 2)];
    where = fmt::format("{}{} {}{}", axis == 0 ? " in " : ", ", name, index % values.shape()[axis], where);
  }
  return fmt::format("{}{} of {}", std::isnan(*found) ? "nan" : "inf", where, values.shape());
}

template <class T> void check_gradient(const Node<T>& node, std::size_t i, const Array<T>& gradient) {
  if (const std::string found = not_finite(gradient); !found.empty())
    throw std::runtime_error(
        fmt::format("anomaly: {}: its backward gave its input {} the gradient {}", node.description(), i, found));
}

}  // namespace

template <class T>
void detail::check_result(const char* op, const Array<T>& result, std::span<const Tensor<T>* const> inputs) {
  std::string found = not_finite(result);
  if (found.empty()) return;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i]->defined())
      if (const std::string before = not_finite(inputs[i]->value()); !before.empty())
        found += fmt::format("; its input {} was {} already", i, before);
  const std::string* const label = graph_mode.label;
  throw std::runtime_error(fmt::format("anomaly: {}{}{} gave {}", op, label == nullptr ? "" : " in ",
                                       label == nullptr ? "" : *label, found));
}

/// One pass from a result down to leaves. All state of the pass is its own: nodes are only read, and lose their inputs and
/// what they saved.
template <class T> class Walk {
 public:
  /// Gradients for `wanted`, or for all leaves that require grad if there are none.
  Walk(const Tensor<T>& root, std::span<const Tensor<T>> wanted, bool retain) : retain_(retain) {
    ops_.reserve(16);
    leaves_.reserve(16);
    if (wanted.empty()) return;
    all_ = false;
    for (const Tensor<T>& x : wanted) smallest_ = std::min(smallest_, x.number());
    for (const Tensor<T>& x : wanted) reached_.at(&x.node());
    mark(root.node());
  }

  /// A tensor that gradients have reached, and their sum. While an op's backward runs, the op holds its inputs; then this.
  struct Reached {
    Tensor<T> t, gradient;
  };

  bool needs(const Tensor<T>& t) { return t.requires_grad() && (all_ || reached_.find(t.node_) != nullptr); }

  void add(const Tensor<T>& t, Tensor<T>&& gradient) {
    Tensor<T>& sum = reached_.at(t.node_).gradient;
    if (sum.defined()) return accumulate(sum, std::move(gradient));
    sum = std::move(gradient);
    (t.is_leaf() ? leaves_ : ops_).push_back(t.node_);
    if (!t.is_leaf()) std::push_heap(ops_.begin(), ops_.end(), before);
  }

  /// Runs from `root` until there is no op left, and then through the leaves. Shows `finished` the gradient of each leaf
  /// and of each result with retain_grad on the way, and where gradients of `wanted` are sought of each op's result as
  /// well. It is final: every op that contributes to it has a larger number and was here before.
  template <class Finished> void run(const Tensor<T>& root, Tensor<T>&& seed, Finished&& finished) {
    add(root, std::move(seed));
    reached_.at(root.node_).t = root;
    while (!ops_.empty()) {
      std::pop_heap(ops_.begin(), ops_.end(), before);
      auto [t, gradient] = reached_.take(ops_.back());
      ops_.pop_back();
      Node<T>& node = *t.node_;
      if (node.hooks != nullptr) [[unlikely]]
        run_hooks(node, gradient);
      if (node.retains_grad || !all_) finished(Tensor<T>(t), Tensor<T>(gradient));
      if (!leads_on(node)) {
        if (all_) check_not_released(node);
        continue;
      }
      Backward<T> step(node, std::move(gradient), *this);
      node.backward(step);
      hold_inputs(node);
      if (!retain_) node.release();
    }
    for (const Node<T>* leaf : leaves_) {
      Reached reached = std::move(reached_.at(leaf));
      if (leaf->hooks != nullptr) [[unlikely]]
        run_hooks(*leaf, reached.gradient);
      finished(std::move(reached.t), std::move(reached.gradient));
    }
  }

  /// sum += gradient. Values are written in place only where nobody else can see them.
  static void accumulate(Tensor<T>& sum, Tensor<T>&& gradient) {
    if (!exclusive(sum)) std::swap(sum, gradient);
    if (!grad_enabled() && exclusive(sum))
      add_in_place(sum, gradient);
    else
      sum = sum + gradient;
  }

  static void add_in_place(Tensor<T>& sum, const Tensor<T>& gradient) {
    kernels::table<T>().add_to(static_cast<long>(sum.size()), gradient.data(), sum.node_->value.data());
  }

  /// Whether this handle is the only way to the values, and no graph remembers them.
  static bool exclusive(const Tensor<T>& t) {
    return t.node_->is_leaf() && t.node_->unique() && t.value().storage().unique();
  }

  /// `gradient` for keeps: values of its own, unless a graph hangs on it.
  static Tensor<T> owned(Tensor<T>&& gradient) {
    const bool keeps = exclusive(gradient) || (grad_enabled() && gradient.requires_grad());
    return keeps ? std::move(gradient) : Tensor<T>(Array<T>(gradient.value()));
  }

 private:
  // A hash table from nodes to V: open addressing, linear probing.
  template <class V> class Table {
   public:
    V& at(const Node<T>* node) {
      if (2 * count_ >= mask_) grow();
      Slot& slot = slots_[index(node)];
      if (slot.node == nullptr) {
        slot.node = node;
        ++count_;
      }
      return slot.value;
    }
    V* find(const Node<T>* node) {
      if (slots_.empty()) return nullptr;
      Slot& slot = slots_[index(node)];
      return slot.node == nullptr ? nullptr : &slot.value;
    }
    V take(const Node<T>* node) {
      std::size_t hole = index(node);
      V value = std::move(slots_[hole].value);
      slots_[hole] = {};
      --count_;
      // Close the gap, so that whatever had to probe past this slot is still found.
      for (std::size_t i = next(hole); slots_[i].node != nullptr; i = next(i)) {
        const std::size_t home = hash(slots_[i].node);
        if (((i - home) & mask_) >= ((i - hole) & mask_)) {
          slots_[hole] = std::move(slots_[i]);
          slots_[i] = {};
          hole = i;
        }
      }
      return value;
    }

   private:
    struct Slot {
      const Node<T>* node = nullptr;
      V value = {};
    };
    std::size_t hash(const Node<T>* node) const {
      return (reinterpret_cast<std::uintptr_t>(node) * 0x9e3779b97f4a7c15u >> 32) & mask_;
    }
    std::size_t next(std::size_t i) const { return (i + 1) & mask_; }
    std::size_t index(const Node<T>* node) const {
      std::size_t i = hash(node);
      while (slots_[i].node != nullptr && slots_[i].node != node) i = next(i);
      return i;
    }
    [[gnu::noinline]] void grow() {
      PoolVector<Slot> old(std::max<std::size_t>(32, 2 * slots_.size()));
      std::swap(old, slots_);
      mask_ = slots_.size() - 1;
      for (Slot& slot : old)
        if (slot.node != nullptr) slots_[index(slot.node)] = std::move(slot);
    }

    PoolVector<Slot> slots_;  // a power of two of them, at most half of them taken
    std::size_t mask_ = 0, count_ = 0;
  };

  static constexpr auto before = [](const Node<T>* a, const Node<T>* b) { return a->number < b->number; };

  // Marks what lies between the root and the wanted tensors. Below the smallest wanted number there is
  // nothing.
  void mark(Node<T>& root) {
    Table<bool> seen;
    PoolVector<Node<T>*> reached{&root};
    seen.at(&root);
    for (std::size_t i = 0; i < reached.size(); ++i) {
      if (reached[i]->number > smallest_) check_not_released(*reached[i]);  // a wanted one may lie below
      for (const Edge<T>& edge : reached[i]->edges())
        if (edge.input.requires_grad() && edge.input.number() >= smallest_ && seen.find(edge.input.node_) == nullptr) {
          seen.at(edge.input.node_);
          reached.push_back(edge.input.node_);
        }
    }
    std::sort(reached.begin(), reached.end(), before);
    for (Node<T>* node : reached)
      if (leads_on(*node)) reached_.at(node);
  }

  bool leads_on(const Node<T>& node) {
    return std::ranges::any_of(node.edges(), [this](const Edge<T>& edge) { return needs(edge.input); });
  }

  // Takes over, from an op that is done, its inputs that a gradient has reached.
  void hold_inputs(Node<T>& node) {
    for (Edge<T>& edge : node.edges())
      if (Reached* const at = reached_.find(edge.input.node_); at && at->gradient.defined() && !at->t.defined())
        at->t = retain_ ? edge.input : std::move(edge.input);
  }

  static void check_not_released(const Node<T>& node) {
    if (node.released())
      fail("backward: {} was already differentiated and its saved values are freed; say retain_graph the first time",
           node.description());
  }

  static void run_hooks(const Node<T>& node, Tensor<T>& gradient) {
    node.hooks->for_each([&](const GradHook<T>& hook) {
      Tensor<T> changed = hook(gradient);
      if (!changed.defined()) return;
      check(changed.shape() == gradient.shape(), "hook: it returned a gradient of shape {} for a tensor of shape {}",
            changed.shape(), gradient.shape());
      gradient = std::move(changed);
    });
  }

  bool all_ = true;
  const bool retain_;
  std::int64_t smallest_ = std::numeric_limits<std::int64_t>::max();
  Table<Reached> reached_;  // where gradients of some tensors are sought, all that is on the way to them from the first
  PoolVector<Node<T>*> ops_, leaves_;  // reached and not finished; the ops are a heap
};

template <class T> bool Backward<T>::needs(std::size_t i) const { return walk_.needs(node_.edges()[i].input); }

template <class T> void Backward<T>::check_version(const char* what, const Node<T>& node, std::uint64_t saved) const {
  if (node.version() != saved)
    fail("{}: its {} of shape {} was changed after the forward pass, and backward needs it as it was",
         node_.description(), what, node.value.shape());
}

template <class T> const Tensor<T>& Backward<T>::input(std::size_t i) const {
  const Edge<T>& edge = node_.edges()[i];
  if (edge.input.defined()) check_version("input", edge.input.node(), edge.version);
  return edge.input;
}

template <class T> Tensor<T> Backward<T>::output() const {
  check_version("result", node_, node_.written);
  node_.keep();
  return {&node_, typename Tensor<T>::Adopt{}};
}

template <class T> void Backward<T>::add(std::size_t i, Tensor<T> d) {
  const Tensor<T>& input = node_.edges()[i].input;
  if (!needs(i)) return;
  if (d.shape() != input.shape())
    fail("{}: backward gave a gradient of shape {} for an input of shape {}", node_.op(), d.shape(), input.shape());
  if (graph_mode.checking) [[unlikely]]
    check_gradient(node_, i, d.value());
  walk_.add(input, std::move(d));
}

namespace {

template <class T> Tensor<T> seed_for(const char* what, const Tensor<T>& y, const Tensor<T>& seed) {
  check(y.requires_grad(), "{}: the tensor of shape {} does not depend on anything that requires grad", what,
        y.shape());
  if (!seed.defined()) {
    check(y.size() == 1, "{}: the tensor has shape {}; only one element can do without a seed of that shape", what,
          y.shape());
    return Tensor<T>::ones(y.shape());
  }
  check(seed.shape() == y.shape(), "{}: the seed has shape {}, the tensor {}", what, seed.shape(), y.shape());
  return seed;
}

}  // namespace

template <class T> void Tensor<T>::backward_from(const Tensor& seed, BackwardOptions options) const {
  Tensor start = seed_for("backward", *this, seed);
  const GradMode mode(options.create_graph);
  Walk<T> walk(*this, {}, options.retain_graph || options.create_graph);
  PoolVector<std::tuple<Tensor, Tensor, bool>> leaves;  // the gradient of each; whether it is added in place
  leaves.reserve(16);
  walk.run(*this, std::move(start),
           [&](Tensor&& t, Tensor&& gradient) { leaves.emplace_back(std::move(t), std::move(gradient), false); });
  for (auto& [leaf, gradient, in_place] : leaves) {  // whatever may throw comes before the first change
    const Tensor& grad = leaf.node_->grad;
    if (grad.defined() && grad.shape() != gradient.shape())
      fail("backward: a leaf has a gradient {}, and gets {}; zero_grad() it", grad.shape(), gradient.shape());
    in_place = grad.defined() && !grad_enabled() && Walk<T>::exclusive(grad);
    if (!grad.defined())
      gradient = Walk<T>::owned(std::move(gradient));  // it may also be the caller's seed, or another leaf's gradient
    else if (!in_place)
      gradient = grad + gradient;
  }
  for (auto& [leaf, gradient, in_place] : leaves)
    if (in_place)
      Walk<T>::add_in_place(leaf.node_->grad, gradient);
    else
      leaf.node_->grad = std::move(gradient);
}

template <class T>
std::vector<Tensor<T>> grad(const Tensor<T>& y, std::span<const std::type_identity_t<Tensor<T>>> xs,
                            const std::type_identity_t<GradOptions<T>>& options) {
  for (const Tensor<T>& x : xs) check(x.requires_grad(), "grad: an x of shape {} does not require grad", x.shape());
  std::vector<Tensor<T>> gradients(xs.size());
  if (xs.empty()) return gradients;
  Tensor<T> start = seed_for("grad", y, options.seed);
  const GradMode mode(options.create_graph);
  Walk<T> walk(y, xs, options.retain_graph || options.create_graph);
  if (walk.needs(y))
    walk.run(y, std::move(start), [&](const Tensor<T>& t, const Tensor<T>& gradient) {
      for (std::size_t i = 0; i < xs.size(); ++i)
        if (&xs[i].value() == &t.value()) gradients[i] = gradient;
    });
  for (std::size_t i = 0; i < xs.size(); ++i)
    gradients[i] = gradients[i].defined() ? Walk<T>::owned(std::move(gradients[i])) : Tensor<T>::zeros(xs[i].shape());
  return gradients;
}

#define XTGRAD_INSTANTIATE(T)                                                                          \
  template class Backward<T>;                                                                          \
  template void detail::check_result(const char*, const Array<T>&, std::span<const Tensor<T>* const>); \
  template void Tensor<T>::backward_from(const Tensor<T>&, BackwardOptions) const;                     \
  template std::vector<Tensor<T>> grad(const Tensor<T>&, std::span<const Tensor<T>>, const GradOptions<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
