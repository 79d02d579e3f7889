// Precise BatchNorm (Wu and Johnson 2021, section 3): running statistics measured anew, with the weights as they are.
#pragma once

#include <xtgrad/data/dataset.hpp>
#include <xtgrad/layers/module.hpp>

namespace xtgrad {

/// Replaces the running statistics of every BatchNorm layer by those of all values that reach it in one epoch of the
/// loader, each batch normalised by its own statistics as in training: the pooled mean, and the unbiased variance of the
/// pooled values (within the batches and between their means, by the law of total variance; batches of any sizes count by
/// their values). Nothing else changes: no weight, count or switch, and no random number of the thread is drawn.
/// Returns the number of rows. Throws, with nothing changed, if a batch does not go through or a statistic is not finite.
template <class T> std::size_t recalibrate(Module<T>& net, DataLoader<T>& loader);

}  // namespace xtgrad
