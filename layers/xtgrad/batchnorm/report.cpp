#include "xtgrad/batchnorm/report.hpp"

#include <algorithm>
#include <cmath>
#include <functional>

#include "xtgrad/autograd.hpp"
#include "xtgrad/batchnorm/layers.hpp"
#include "xtgrad/ops/losses.hpp"

namespace xtgrad {
namespace {

// The steps from batch statistics to running ones, and two more choices to compare with.
enum Choice { kBatch, kBatchNoEps, kMeanBiased, kMeanUnbiased, kDebiased, kRunningNoEps, kRunning, kPrecise, kFrozen };
constexpr std::size_t kChoices = kFrozen + 1;
constexpr const char* kParts[] = {"eps", "sampling noise", "Bessel", "EMA lag", "initial residue", "eps"};

// The statistics of a layer under each choice; the first two take those of the batch at hand.
template <class T> struct Watched {
  std::string name;
  BatchNorm1d<T>* bn;
  Moments pooled = {}, first = {};
  std::size_t batches = 0;
  Array<double> mean = {}, biased = {}, unbiased = {};  // means over the batches
  std::vector<Array<T>> means = {}, vars = {};          // by Choice
  std::vector<Moments> outputs = {};                    // of xhat, by Choice
  double residue = 0;                                   // initial_share()

  double a() const { return bn->options().momentum.value_or(0); }
  // The weight of the initial values. Where less than their share is left, the statistics were set, or recalibrated.
  double initial_share() const {
    const double t = static_cast<double>(bn->num_batches_tracked());
    if (t > 0 && (!bn->options().momentum || bn->options().debias)) return 0;
    const double r = std::pow(1 - a(), t);
    const auto& var = bn->running_var().value().storage();
    const bool set = std::any_of(var.begin(), var.end(), [r](T v) { return static_cast<double>(v) < r * (1 - 1e-3); });
    return set ? 0 : r;
  }
  double m() const { return static_cast<double>(pooled.count) / static_cast<double>(batches); }

  void observe(const Moments& batch) {
    if (batches++ == 0) {
      first = batch;
      mean = biased = unbiased = full_array<double>({batch.mean.size()}, 0);
    }
    pooled.merge(batch);
    for (std::size_t c = 0; c < mean.size(); ++c) {
      mean(c) += batch.mean(c);
      biased(c) += batch.m2(c) / static_cast<double>(batch.count);
      unbiased(c) += batch.unbiased(c);
    }
  }

  void choose() {
    const std::size_t C = mean.size();
    for (Array<double>* sum : {&mean, &biased, &unbiased})
      for (double& s : sum->storage()) s /= static_cast<double>(batches);
    means.assign(kChoices, full_array<T>({C}, T(0)));
    vars = means;
    outputs.assign(kChoices, {});
    const auto set = [&](Choice choice, std::size_t c, double mu, double var) {
      means[choice](c) = static_cast<T>(mu);
      vars[choice](c) = static_cast<T>(var);
    };
    residue = initial_share();
    const double r = residue;
    for (std::size_t c = 0; c < C; ++c) {
      set(kMeanBiased, c, mean(c), biased(c));
      set(kMeanUnbiased, c, mean(c), unbiased(c));
      const double rm = static_cast<double>(bn->running_mean().data()[c]),
                   rv = static_cast<double>(bn->running_var().data()[c]);
      if (r < 1)
        set(kDebiased, c, rm / (1 - r), std::max((rv - r) / (1 - r), 0.0));  // below 0 by rv's rounding
      else
        set(kDebiased, c, mean(c), unbiased(c));
      set(kRunningNoEps, c, rm, rv);
      set(kRunning, c, rm, rv);
      set(kPrecise, c, pooled.mean(c), pooled.unbiased(c));
      set(kFrozen, c, first.mean(c), first.unbiased(c));
    }
  }

  Tensor<T> normalise(const Tensor<T>& x, std::size_t choice, const Tensor<T>& gamma, const Tensor<T>& beta) const {
    const bool without = choice == kBatchNoEps || (choice >= kMeanBiased && choice <= kRunningNoEps);
    const double eps = without ? 0 : bn->options().eps;
    return choice <= kBatchNoEps ? batch_norm(x, gamma, beta, eps).y
                                 : batch_norm(x, gamma, beta, eps, means[choice], vars[choice]);
  }

  // Scale and shift of xhat where x, standardised with one mean and variance, is standardised with another.
  static std::pair<double, double> between(double mu, double var, double new_mu, double new_var) {
    return {std::sqrt(var / new_var), (mu - new_mu) / std::sqrt(new_var)};
  }

  // What a part does to channel c, from the statistics alone.
  std::pair<double, double> predicted(std::size_t part, std::size_t c) const {
    const auto mu = [&](std::size_t choice) { return static_cast<double>(means[choice](c)); };
    const auto var = [&](std::size_t choice) { return static_cast<double>(vars[choice](c)); };
    if (part == 1)  // the law of total variance: the rows of all batches vary as much as those of one, and as the means
      return between(pooled.mean(c), pooled.m2(c) / static_cast<double>(pooled.count), mean(c), biased(c));
    if (part == 0 || part == 5) return theory(part, c);
    return between(mu(part), var(part), mu(part + 1), var(part + 1));
  }

  // The same for independent rows and weights that stand still, from m, N, a and t.
  std::pair<double, double> theory(std::size_t part, std::size_t c) const {
    const double eps = bn->options().eps, r = residue, N = static_cast<double>(pooled.count);
    const double v = static_cast<double>(vars[kDebiased](c)), rv = static_cast<double>(vars[kRunning](c));
    switch (part) {
      case 0:
        return {std::sqrt((biased(c) + eps) / biased(c)), 0};
      case 1:
        return {std::sqrt(1 + (1 - m() / N) / (m() - 1)), 0};
      case 2:
        return {std::sqrt((m() - 1) / m()), 0};
      case 3:
        return {1, std::sqrt(a() / ((2 - a()) * m()))};
      case 4:
        return {std::sqrt(v / ((1 - r) * v + r)),
                r * static_cast<double>(means[kDebiased](c)) / std::sqrt((1 - r) * v + r)};
      default:
        return {std::sqrt(rv / (rv + eps)), 0};
    }
  }
};

// Calls `on(layer, x, y)` after each forward pass of a layer, while it lives.
template <class T> class Watch {
 public:
  using On = std::function<void(Watched<T>&, const Tensor<T>&, Tensor<T>&)>;
  Watch(std::vector<Watched<T>>& layers, On on) {
    for (Watched<T>& layer : layers)
      hooks_.add(*layer.bn, [&layer, on](Module<T>&, const Tensor<T>& x, Tensor<T>& y) { on(layer, x, y); });
  }

 private:
  ScopedHooks<T> hooks_;
};

// Scale and shift from one choice to the next, over all channels, from the moments of the outputs.
template <class T> LayerPart layer_part(const Watched<T>& layer, std::size_t part) {
  LayerPart result{layer.name, kParts[part], {}, {}, {}};
  const auto add = [](LayerPart::Map& sums, std::pair<double, double> map) {
    sums.scale += map.first * map.first;
    sums.shift += map.second * map.second;
  };
  const Moments &before = layer.outputs[part], &after = layer.outputs[part + 1];
  double channels = 0;
  for (std::size_t c = 0; c < before.mean.size(); ++c) {
    if (!(before.m2(c) > 0)) continue;  // a channel without variance has no scale
    ++channels;
    const double scale = std::sqrt(after.m2(c) / before.m2(c)), shift = after.mean(c) - scale * before.mean(c);
    add(result.theory, layer.theory(part, c));
    add(result.predicted, layer.predicted(part, c));
    add(result.measured, {scale, shift});
  }
  for (LayerPart::Map* map : {&result.theory, &result.predicted, &result.measured})
    for (double* value : {&map->scale, &map->shift}) *value = channels > 0 ? std::sqrt(*value / channels) : 0;
  return result;
}

}  // namespace

template <class T> BatchNormReport batch_norm_report(Module<T>& net, DataLoader<T>& loader) {
  const NormaliseWith<T> guard(net, Statistics::batch);
  const KeepGenerator keep;
  const NoGrad no_grad;
  std::vector<Batch<T>> batches;  // the same for every choice, also where the loader shuffles
  for (auto [x, y] : loader) batches.push_back({x, y});
  std::vector<Watched<T>> layers;
  for (const auto& [name, bn] : batch_norm_layers(net))
    if (bn->options().track_running_stats) layers.push_back({name, bn});

  {
    const Watch<T> watch(layers,
                         [](Watched<T>& layer, const Tensor<T>& x, Tensor<T>&) { layer.observe(channel_moments(x)); });
    for (const Batch<T>& b : batches) net(b.x);
  }
  for (Watched<T>& layer : layers) layer.choose();
  {
    const Watch<T> watch(layers, [](Watched<T>& layer, const Tensor<T>& x, Tensor<T>&) {
      for (std::size_t i = 0; i <= kRunning; ++i)
        layer.outputs[i].merge(channel_moments(layer.normalise(x, i, Tensor<T>(), Tensor<T>())));
    });
    for (const Batch<T>& b : batches) net(b.x);
  }

  StatisticsResult results[kChoices];
  double rows = 0, numbers = 0;
  for (const Batch<T>& b : batches) {
    const double n = static_cast<double>(b.y.size());
    std::vector<Tensor<T>> outputs;
    for (std::size_t i = 0; i < kChoices; ++i) {
      const Watch<T> watch(layers, [i](Watched<T>& layer, const Tensor<T>& x, Tensor<T>& y) {
        y = layer.normalise(x, i, layer.bn->gamma(), layer.bn->beta());
      });
      outputs.push_back(net(b.x));
      results[i].loss += static_cast<double>(cross_entropy(outputs[i], b.y).item()) * n;
      results[i].accuracy += accuracy(outputs[i], b.y) * n;
    }
    for (std::size_t i = 0; i < kChoices; ++i)
      for (std::size_t k = 0; k < outputs[i].size(); ++k)
        results[i].distance +=
            std::abs(static_cast<double>(outputs[i].data()[k]) - static_cast<double>(outputs[kRunning].data()[k]));
    rows += n;
    numbers += static_cast<double>(outputs[0].size());
  }
  for (StatisticsResult& r : results) {
    r.loss /= rows;
    r.accuracy /= rows;
    r.distance /= numbers;
  }

  BatchNormReport report;
  for (const auto& [name, choice] :
       {std::pair{"batch", kBatch}, {"EMA", kRunning}, {"precise", kPrecise}, {"frozen", kFrozen}}) {
    report.statistics.push_back(results[choice]);
    report.statistics.back().statistics = name;
  }
  report.loss_gap = results[kRunning].loss - results[kBatch].loss;
  report.accuracy_gap = results[kRunning].accuracy - results[kBatch].accuracy;
  for (std::size_t i = 0; i < kRunning; ++i) {
    const double loss = results[i + 1].loss - results[i].loss, accuracy = results[i + 1].accuracy - results[i].accuracy;
    if (i + 1 < kRunning) {
      report.parts.push_back({kParts[i], loss, accuracy});
    } else {
      report.parts[0].loss += loss;
      report.parts[0].accuracy += accuracy;
    }
  }
  for (const Watched<T>& layer : layers)
    for (std::size_t part = 0; part < kRunning; ++part) report.layers.push_back(layer_part(layer, part));
  return report;
}

template BatchNormReport batch_norm_report(Module<float>&, DataLoader<float>&);
template BatchNormReport batch_norm_report(Module<double>&, DataLoader<double>&);

}  // namespace xtgrad
