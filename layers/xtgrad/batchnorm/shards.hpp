// One batch in several parts: gradient accumulation over micro-batches as if they were one batch, BatchNorm included.
#pragma once

#include <algorithm>
#include <xtgrad/layers/batch_norm1d.hpp>
#include <xtgrad/layers/sequential.hpp>
#include <xtgrad/ops/rearrange.hpp>

namespace xtgrad {

/// The outputs of a network for the parts (N_i, ...) of a batch, with the statistics, the gradients and the running
/// statistics of the one batch of all their rows: BatchNorm layers see the parts together, all others one by one. A part may
/// be empty. Differentiate the losses of the parts, weighted by their rows, together or one after the other with
/// retain_graph. Layers are reached through Sequentials; another module that holds a BatchNorm1d is refused by name.
template <class T> std::vector<Tensor<T>> forward_shards(Sequential<T>& net, std::vector<Tensor<T>> shards) {
  for (std::size_t i = 0; i < net.size(); ++i) {
    if (auto* const inner = dynamic_cast<Sequential<T>*>(&net[i])) {
      shards = forward_shards(*inner, std::move(shards));
    } else if (auto* const bn = dynamic_cast<BatchNorm1d<T>*>(&net[i])) {
      const Tensor<T> y = (*bn)(concat(shards, 0));
      std::size_t first = 0;
      for (Tensor<T>& shard : shards) {
        const std::size_t rows = shard.shape()[0];
        shard = slice(y, 0, first, first + rows);
        first += rows;
      }
    } else {
      for (const auto& [name, module] : net[i].named_modules())
        check(dynamic_cast<BatchNorm1d<T>*>(module) == nullptr,
              "forward_shards: {} {} holds {}, which would see each part alone; put it into a Sequential", i,
              net[i].name(), module->name());
      for (Tensor<T>& shard : shards) shard = net[i](shard);
    }
  }
  return shards;
}

}  // namespace xtgrad
