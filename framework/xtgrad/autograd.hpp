// Derivatives of tensors with respect to tensors.
//
// The walk visits ops from the largest number to the smallest with an explicit queue, so no graph is too
// deep. Gradients of leaves are committed when the walk has ended: an exception on the way leaves them as
// they were.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// What ops on this thread do beside computing their values.
struct GraphMode {
  bool recording = true;               ///< build a graph; see GradMode
  bool checking = false;               ///< look for values that are not finite; see Anomaly
  const std::string* label = nullptr;  ///< name the ops; see Scope
};
extern constinit thread_local GraphMode graph_mode;

/// Whether ops on this thread build a graph.
inline bool grad_enabled() noexcept { return graph_mode.recording; }

/// Sets whether ops on this thread build a graph, for the life of the guard. Guards nest.
class GradMode {
 public:
  explicit GradMode(bool enabled) noexcept;
  ~GradMode();
  GradMode(const GradMode&) = delete;
  GradMode& operator=(const GradMode&) = delete;

 private:
  bool before_;
};

/// No op on this thread builds a graph while the guard lives.
class NoGrad : GradMode {
 public:
  NoGrad() noexcept : GradMode(false) {}
};

/// Anomaly mode, for this thread and the life of the guard: the first op whose result is not finite, and in backward
/// the first whose gradient is not, throws std::runtime_error with its name, its label, and the row and column.
class Anomaly {
 public:
  Anomaly() noexcept : before_(std::exchange(graph_mode.checking, true)) {}
  ~Anomaly() { graph_mode.checking = before_; }
  Anomaly(const Anomaly&) = delete;
  Anomaly& operator=(const Anomaly&) = delete;

 private:
  bool before_;
};

/// Options of grad().
template <class T> struct GradOptions {
  Tensor<T> seed = {};        ///< what dy is contracted with, of y's shape; may be left out if y has one element
  bool retain_graph = false;  ///< keep what the ops saved, so that a walk can run through them again
  bool create_graph = false;  ///< build a graph of the gradients; implies retain_graph
};

/// The gradients of y with respect to each of xs, which may be leaves or results of ops; no .grad() changes.
/// A gradient that is zero because y does not depend on an x at all is a tensor of zeros. Throws std::invalid_argument
/// if y or an x does not require grad, if the seed is missing or of another shape, if an op on the way was freed by an
/// earlier walk, or if a value that it needs was changed.
template <class T>
std::vector<Tensor<T>> grad(const Tensor<T>& y, std::span<const std::type_identity_t<Tensor<T>>> xs,
                            const std::type_identity_t<GradOptions<T>>& options = {});

template <class T>
std::vector<Tensor<T>> grad(const Tensor<T>& y, std::initializer_list<Tensor<T>> xs,
                            const std::type_identity_t<GradOptions<T>>& options = {}) {
  return grad(y, std::span<const Tensor<T>>(xs.begin(), xs.size()), options);
}

}  // namespace xtgrad
