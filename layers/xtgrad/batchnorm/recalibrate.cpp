#include "xtgrad/batchnorm/recalibrate.hpp"

#include <cmath>

#include "xtgrad/autograd.hpp"
#include "xtgrad/batchnorm/layers.hpp"
#include "xtgrad/check.hpp"

namespace xtgrad {

template <class T> std::size_t recalibrate(Module<T>& net, DataLoader<T>& loader) {
  const auto layers = batch_norm_layers(net);
  std::vector<Moments> pooled(layers.size());
  std::size_t rows = 0;
  {
    ScopedHooks<T> hooks;
    for (std::size_t i = 0; i < layers.size(); ++i)
      hooks.add(*layers[i].second,
                [&pooled, i](Module<T>&, const Tensor<T>& x, Tensor<T>&) { pooled[i].merge(channel_moments(x)); });
    const NormaliseWith<T> guard(net, Statistics::batch);
    const KeepGenerator keep;
    const NoGrad no_grad;
    for (const auto& [x, y] : loader) {
      net(x);
      rows += x.shape()[0];
    }
  }

  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!layers[i].second->options().track_running_stats) continue;
    check(pooled[i].count >= 2, "recalibrate: {} values per channel reached {}, expected 2 or more", pooled[i].count,
          layers[i].first);
    for (std::size_t c = 0; c < pooled[i].mean.size(); ++c)
      check(std::isfinite(static_cast<T>(pooled[i].mean(c))) && std::isfinite(static_cast<T>(pooled[i].unbiased(c))),
            "recalibrate: channel {} of {} has the mean {} and the variance {}; is there NaN or inf in the data?", c,
            layers[i].first, pooled[i].mean(c), pooled[i].unbiased(c));
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    if (!layers[i].second->options().track_running_stats) continue;
    Array<T> mean = empty_array<T>({pooled[i].mean.size()}), var = mean;
    for (std::size_t c = 0; c < mean.size(); ++c) {
      mean(c) = static_cast<T>(pooled[i].mean(c));
      var(c) = static_cast<T>(pooled[i].unbiased(c));
    }
    layers[i].second->set_running_statistics(mean, var);
  }
  return rows;
}

template std::size_t recalibrate(Module<float>&, DataLoader<float>&);
template std::size_t recalibrate(Module<double>&, DataLoader<double>&);

}  // namespace xtgrad
