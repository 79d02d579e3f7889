// Networks of Linear layers, their training and their evaluation, as the programs share them.
#pragma once

#include <optional>
#include <vector>
#include <xtgrad/xtgrad.hpp>

namespace kit {

/// widths[0] - ... - widths.back(): a Linear from each to the next, and after each but the last what `add(net, width)` adds.
/// Those have a bias or not; the last has one.
template <class T, class Add>
xtgrad::Sequential<T> make_mlp(const std::vector<std::size_t>& widths, bool bias, Add add) {
  xtgrad::Sequential<T> net;
  for (std::size_t i = 0; i + 2 < widths.size(); ++i) {
    net.add(xtgrad::Linear<T>(widths[i], widths[i + 1], {.bias = bias}));
    add(net, widths[i + 1]);
  }
  net.add(xtgrad::Linear<T>(widths[widths.size() - 2], widths.back()));
  return net;
}

/// The usual one: Linear, BatchNorm1d if there are options for it, ReLU. A bias before BatchNorm is dead weight, since the
/// mean takes it away again, and is left out.
template <class T>
xtgrad::Sequential<T> make_mlp(const std::vector<std::size_t>& widths,
                               const std::optional<xtgrad::BatchNorm1dOptions>& norm) {
  return make_mlp<T>(widths, !norm, [&](xtgrad::Sequential<T>& net, std::size_t width) {
    if (norm) net.add(xtgrad::BatchNorm1d<T>(width, *norm));
    net.add(xtgrad::Relu<T>());
  });
}

/// One epoch of cross-entropy; the mode of the network is its caller's business.
template <class T>
void train_epoch(xtgrad::Module<T>& net, xtgrad::DataLoader<T>& loader, xtgrad::Optimizer<T>& optimizer) {
  for (auto [x, y] : loader) {
    optimizer.zero_grad();
    cross_entropy(net(x), y).backward();
    optimizer.step();
  }
}

/// What a network makes of rows, in the mode that it is in.
template <class T> struct Evaluation {
  double loss = 0, accuracy = 0;
  std::vector<T> logits = {};
  std::size_t rows = 0;  ///< how many there were
};

/// In batches of `batch_size`. A single row at the end, which has no batch statistics, is left out.
template <class T>
Evaluation<T> evaluate(xtgrad::Module<T>& net, const xtgrad::Dataset<T>& data, std::size_t batch_size) {
  const xtgrad::NoGrad guard;
  Evaluation<T> result;
  for (auto [x, y] : xtgrad::DataLoader<T>(data, {.batch_size = batch_size, .min_batch = 2})) {
    const xtgrad::Tensor<T> logits = net(x);
    const double rows = static_cast<double>(y.size());
    result.loss += static_cast<double>(cross_entropy(logits, y).item()) * rows;
    result.accuracy += accuracy(logits, y) * rows;
    result.logits.insert(result.logits.end(), logits.data(), logits.data() + logits.size());
    result.rows += y.size();
  }
  result.loss /= static_cast<double>(result.rows);
  result.accuracy /= static_cast<double>(result.rows);
  return result;
}

}  // namespace kit
