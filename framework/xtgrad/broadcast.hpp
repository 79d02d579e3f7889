// Walking over broadcast arrays: an N-dimensional loop cut into runs that a kernel can take at once.
#pragma once

#include <algorithm>
#include <array>

#include "xtgrad/memory.hpp"
#include "xtgrad/shape.hpp"

namespace xtgrad {

/// Positions and steps of K inputs at the start of one run.
template <std::size_t K> struct Run {
  std::size_t position = 0;         ///< of the output's first element
  std::size_t size = 1;             ///< elements in the run
  std::array<std::size_t, K> at{};  ///< of each input's first element
  std::array<long, K> step{};       ///< 1 where an input runs along with the output, 0 where it repeats one element
};

/// Covers an output of shape `out` with the longest runs over which each of K inputs, all of which broadcast
/// to `out`, either advances with it or stands still, and calls visit(Run<K>) for each.
template <std::size_t K, class Visit> void for_each_run(const Shape& out, const Shape* const (&in)[K], Visit&& visit) {
  Run<K> run;
  if (std::ranges::all_of(in, [&](const Shape* shape) { return *shape == out; })) {
    run.size = size_of(out);
    run.step.fill(1);
    if (run.size > 0) visit(run);
    return;
  }

  // The axes of the output, innermost first, each with the strides of the inputs along it. Neighbours are
  // merged where every input runs on from one to the next.
  struct Axis {
    std::size_t extent;
    std::array<std::size_t, K> stride;
    std::size_t counter;
  };
  PoolVector<Axis> axes;
  std::array<std::size_t, K> size;
  size.fill(1);
  for (std::size_t a = out.size(); a-- > 0;) {
    if (out[a] == 0) return;
    if (out[a] == 1) continue;
    Axis axis{out[a], {}, 0};
    bool merges = !axes.empty();
    for (std::size_t k = 0; k < K; ++k) {
      const std::size_t lead = out.size() - in[k]->size();
      const std::size_t extent = a < lead ? 1 : (*in[k])[a - lead];
      axis.stride[k] = extent == 1 ? 0 : size[k];
      size[k] *= extent;
      merges = merges && axis.stride[k] == axes.back().stride[k] * axes.back().extent;
    }
    if (merges)
      axes.back().extent *= axis.extent;
    else
      axes.push_back(axis);
  }

  if (!axes.empty()) {
    run.size = axes[0].extent;
    for (std::size_t k = 0; k < K; ++k) run.step[k] = static_cast<long>(axes[0].stride[k]);
  }
  for (;; run.position += run.size) {
    visit(run);
    std::size_t a = 1;
    for (; a < axes.size(); ++a) {
      for (std::size_t k = 0; k < K; ++k) run.at[k] += axes[a].stride[k];
      if (++axes[a].counter < axes[a].extent) break;
      for (std::size_t k = 0; k < K; ++k) run.at[k] -= axes[a].stride[k] * axes[a].extent;
      axes[a].counter = 0;
    }
    if (a >= axes.size()) return;
  }
}

}  // namespace xtgrad
