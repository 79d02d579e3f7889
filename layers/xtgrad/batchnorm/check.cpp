#include "xtgrad/batchnorm/check.hpp"

#include <cmath>
#include <map>
#include <numeric>

#include "xtgrad/autograd.hpp"
#include "xtgrad/batchnorm/layers.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/layers/linear.hpp"

namespace xtgrad {
namespace {

template <class T> void check_loader(const DataLoader<T>& loader, std::vector<Finding>& findings) {
  if (loader.dataset().x.shape().size() > 2) return;  // a row may hold many values of a channel
  const LoaderOptions& o = loader.options();
  const std::size_t N = loader.dataset().size(), rest = N % o.batch_size;
  if (o.batch_size == 1)
    findings.push_back({"loader", "batches of 1 row have no statistics", "take batch_size = 8 or more"});
  if (o.batch_size == 2)
    findings.push_back({"loader", "batches of 2 rows: xhat is +-1 whatever the rows are, and no gradient gets through",
                        "take batch_size = 8 or more"});
  if (o.drop_last || rest < o.min_batch) return;
  if (rest == 1)
    findings.push_back(
        {"loader",
         fmt::format("{} rows in batches of {} leave a last batch of 1, which has no statistics", N, o.batch_size),
         "set min_batch = 2 or drop_last"});
  if (rest == 2 && o.batch_size != 2)
    findings.push_back({"loader",
                        fmt::format("{} rows in batches of {} leave a last batch of 2, which has no gradient "
                                    "but counts in the running statistics",
                                    N, o.batch_size),
                        "set min_batch = 3 or drop_last"});
}

template <class T>
void check_switches(const std::string& name, BatchNorm1d<T>& bn, const Optimizer<T>* optimizer, bool training,
                    std::vector<Finding>& findings) {
  if (optimizer != nullptr && bn.gamma().defined()) {
    const double gamma = optimizer->weight_decay(bn.gamma()), beta = optimizer->weight_decay(bn.beta());
    if (gamma > 0 || beta > 0)
      findings.push_back({name,
                          fmt::format("weight decay {} on gamma and {} on beta pulls them to 0: it shrinks the "
                                      "output instead of the effective weights",
                                      gamma, beta),
                          "put them into a parameter group with weight_decay = 0"});
  }
  if (!bn.options().track_running_stats || bn.frozen()) return;
  if (training && !bn.update() && bn.statistics() == Statistics::batch)
    findings.push_back({name, "its running statistics are not updated: eval mode will use those of the start",
                        "call train(), or update(true)"});
  if (training && bn.update() && bn.options().momentum == 0)
    findings.push_back({name, "with momentum 0 its running statistics keep their initial values",
                        "take momentum = 0.1, or nullopt for the mean over all batches"});
  if (!grad_enabled() && training)
    findings.push_back({name,
                        "evaluation (no graph is built) in training mode: each output depends on the other rows, and "
                        "the running statistics move",
                        "call net.eval() first"});
}

}  // namespace

template <class T>
std::vector<Finding> check(Module<T>& net, const DataLoader<T>& loader, const Optimizer<T>* optimizer) {
  const auto layers = batch_norm_layers(net);
  std::vector<Finding> findings;
  if (layers.empty()) return findings;
  check_loader(loader, findings);
  for (const auto& [name, bn] : layers) check_switches(name, *bn, optimizer, net.training(), findings);

  const std::size_t N = std::min(loader.dataset().size(), loader.options().batch_size);
  if (N < 2) return findings;

  // One forward pass, watched: which Linear feeds which layer, how often each layer runs, and on what.
  std::map<const void*, std::string> biased;  // the results of Linears with a bias, by their values
  std::map<const void*, int> passes;
  ScopedHooks<T> hooks;
  std::vector<Tensor<T>> alive;  // so that no two results have one address
  for (const auto& [path, module] : net.named_modules())
    if (auto* const linear = dynamic_cast<Linear<T>*>(module); linear != nullptr && linear->bias().defined())
      hooks.add(*module, [&, label = path + " " + module->name()](Module<T>&, const Tensor<T>&, Tensor<T>& y) {
        biased[&y.node()] = label;
        alive.push_back(y);
      });
  for (const auto& layer : layers)
    hooks.add(*layer.second, [&, layer](Module<T>&, const Tensor<T>& x, Tensor<T>&) {
      if (++passes[layer.second] == 2 && layer.second->options().track_running_stats)
        findings.push_back({layer.first,
                            "it runs more than once in a forward pass, and its running statistics mix what it "
                            "sees in each place",
                            "take a layer of its own for each place"});
      if (const auto it = biased.find(&x.node()); it != biased.end())
        findings.push_back({layer.first,
                            fmt::format("the bias of {} before it is dead: the mean takes it away again, and "
                                        "its gradient is zero",
                                        it->second),
                            "construct that Linear with {.bias = false}"});
      const Moments batch = channel_moments(x);
      const double eps = layer.second->options().eps, m = static_cast<double>(batch.count);
      for (std::size_t c = 0; c < batch.m2.size(); ++c)
        if (batch.m2(c) / m <= 1e-3 * eps) {
          findings.push_back({layer.first,
                              fmt::format("channel {} has the variance {:.2g}, next to nothing beside eps: any "
                                          "difference in it is multiplied by 1 / sqrt(eps) = {:.3g}",
                                          c, batch.m2(c) / m, 1 / std::sqrt(eps)),
                              "drop the channel, or find out what silenced it"});
          break;
        }
    });
  const NormaliseWith<T> guard(net, Statistics::batch);
  const KeepGenerator keep;
  const NoGrad no_grad;
  std::vector<std::size_t> positions(N);
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  net(loader.dataset().rows(positions.data(), N).x);
  return findings;
}

template std::vector<Finding> check(Module<float>&, const DataLoader<float>&, const Optimizer<float>*);
template std::vector<Finding> check(Module<double>&, const DataLoader<double>&, const Optimizer<double>*);

}  // namespace xtgrad
