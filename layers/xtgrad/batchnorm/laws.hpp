// The laws of BatchNorm's backward pass, measured on a network.
//
// Per channel, with the batch's own statistics, the backward pass is a projection:
//
//   dx = gamma s (dy - 1 S(dy)/m - xhat S(dy xhat)/m),   s = 1 / sqrt(var + eps),   S the sum over the m values
//
// It takes away what lies along 1 and along xhat; eps lets the share d = eps / (var + eps) of the latter through. All that
// people find strange about batch-norm gradients follows: see layers/batch_norm1d.md.
#pragma once

#include <string>
#include <vector>
#include <xtgrad/data/dataset.hpp>
#include <xtgrad/layers/module.hpp>

namespace xtgrad {

/// One law on one layer. Numbers are relative: each law says to what.
struct Law {
  std::string layer;      ///< "1 BatchNorm1d(64)"
  std::string statement;  ///< "sum(dx) = 0"
  double predicted = 0;   ///< in closed form from the layer's input, its dy and eps
  double measured = 0;    ///< from the gradients that the library gives
  double residual = 0;    ///< what is left between the two, channel by channel and not only in their norms
};

/// Runs one forward and backward pass of cross_entropy(net(x), y) with batch statistics, and holds each BatchNorm layer
/// against each law; those about weights where a Linear feeds the layer. No state of the network changes, and no gradient.
/// The closed forms are those of the whole batch: with virtual_batch the laws about weights leave a residual. Throws as the
/// forward pass does, and if m < 3.
template <class T> std::vector<Law> batch_norm_laws(Module<T>& net, const Batch<T>& batch);

}  // namespace xtgrad
