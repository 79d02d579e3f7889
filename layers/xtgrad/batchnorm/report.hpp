// Why a network's loss in eval mode is not the one it was trained with: the gap, taken apart.
#pragma once

#include <string>
#include <vector>
#include <xtgrad/data/dataset.hpp>
#include <xtgrad/layers/module.hpp>

namespace xtgrad {

/// A network under one choice of statistics in all its BatchNorm layers.
struct StatisticsResult {
  std::string statistics;  ///< batch, EMA (the running ones), precise, frozen
  double loss = 0;         ///< mean cross-entropy over the rows
  double accuracy = 0;
  double distance = 0;  ///< mean |difference| of the outputs from those under EMA
};

/// What one cause adds to the gap when it is switched on after those before it.
struct GapPart {
  std::string part;
  double loss = 0, accuracy = 0;
};

/// What one cause does to the normalised values of a layer, xhat -> scale * xhat + shift: root mean squares over the
/// channels.
struct LayerPart {
  struct Map {
    double scale = 0, shift = 0;
  };
  std::string layer, part;
  Map theory;     ///< from m, N, a and t, for independent rows and weights that stand still
  Map predicted;  ///< from the layer's statistics
  Map measured;   ///< on the layer's outputs
};

struct BatchNormReport {
  std::vector<StatisticsResult> statistics;
  std::vector<GapPart> parts;  ///< they add up to the gap
  std::vector<LayerPart> layers;
  double loss_gap = 0, accuracy_gap = 0;  ///< EMA less batch
};

/// Evaluates cross_entropy and accuracy of net over one epoch of the loader, and takes the way from batch statistics to
/// the running ones in steps, each of which changes one thing. With m values per channel in a batch, N in all, the weight a
/// of a new batch and t batches so far, theory says of each step what stands beside it:
///
///   eps              the batch's statistics without eps                        scale sqrt((var + eps) / var)
///   sampling noise   the means of the batches' mean and biased variance        scale sqrt(1 + (1 - m/N) / (m - 1))
///   Bessel           the mean of the unbiased variances                        scale sqrt((m - 1) / m)
///   EMA lag          the running statistics without their initial values      shift sqrt(a / ((2 - a) m))
///   initial residue  with them, at their weight r = (1 - a)^t from mean 0 and  scale sqrt(v / ((1 - r) v + r))
///                    variance 1
///   eps              with eps                                                  scale sqrt(var / (var + eps))
///
/// Rows that another BatchNorm has normalised together are not independent, and weights that move leave the running
/// statistics behind: there theory and measurement part, while what follows from the statistics still holds.
/// The two steps of eps count as one part of loss and accuracy. `precise` are the mean and unbiased variance of all values;
/// `frozen` those of the first batch. Layers without running statistics keep the batch's; virtual_batch counts as 0. Call
/// eval() before if there is Dropout. No state changes. Throws as the forward pass does.
template <class T> BatchNormReport batch_norm_report(Module<T>& net, DataLoader<T>& loader);

}  // namespace xtgrad
