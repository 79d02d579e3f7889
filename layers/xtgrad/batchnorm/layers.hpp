// The BatchNorm layers of a network, and a guard that runs them as one wants and puts them back.
#pragma once

#include <string>
#include <utility>
#include <vector>
#include <xtgrad/layers/batch_norm1d.hpp>

namespace xtgrad {

/// Every BatchNorm1d at or below a module, with its label ("1 BatchNorm1d(64)"), in the order of visit().
template <class T> std::vector<std::pair<std::string, BatchNorm1d<T>*>> batch_norm_layers(Module<T>& net) {
  std::vector<std::pair<std::string, BatchNorm1d<T>*>> layers;
  for (const auto& [name, module] : net.named_modules())
    if (auto* bn = dynamic_cast<BatchNorm1d<T>*>(module))
      layers.emplace_back(name.empty() ? bn->name() : name + " " + bn->name(), bn);
  return layers;
}

/// Sets the statistics that normalise in every BatchNorm layer of a network, with no updates, for the life of the guard.
/// Layers that do not track running statistics always take the batch's.
template <class T> class NormaliseWith {
 public:
  NormaliseWith(Module<T>& net, Statistics statistics) {
    for (const auto& [name, bn] : batch_norm_layers(net)) {
      before_.push_back({bn, bn->statistics(), bn->update()});
      bn->statistics(bn->options().track_running_stats ? statistics : Statistics::batch);
      bn->update(false);
    }
  }
  ~NormaliseWith() {
    for (auto s = before_.rbegin(); s != before_.rend(); ++s) {  // a layer may be there twice: its first entry counts
      s->bn->statistics(s->statistics);
      s->bn->update(s->update);
    }
  }
  NormaliseWith(const NormaliseWith&) = delete;
  NormaliseWith& operator=(const NormaliseWith&) = delete;

 private:
  struct Switches {
    BatchNorm1d<T>* bn;
    Statistics statistics;
    bool update;
  };
  std::vector<Switches> before_;
};

}  // namespace xtgrad
