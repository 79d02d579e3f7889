#include "xtgrad/batchnorm/fold.hpp"

#include <cmath>

#include "xtgrad/batchnorm/layers.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/layers/linear.hpp"

namespace xtgrad {
namespace {

template <class T> Linear<T> folded(Linear<T>& linear, BatchNorm1d<T>& bn) {
  const std::size_t O = linear.weight().shape()[0], I = linear.weight().shape()[1];
  const KeepGenerator keep;
  Linear<T> result(I, O);
  T* const W = result.weight().mutable_value().data();
  T* const b = result.bias().mutable_value().data();
  const auto at = [](const Tensor<T>& t, std::size_t i, double otherwise) {
    return t.defined() ? static_cast<double>(t.data()[i]) : otherwise;
  };
  for (std::size_t o = 0; o < O; ++o) {
    const double var = at(bn.running_var(), o, 1) + bn.options().eps;
    const double scale = var == 0 ? 0 : at(bn.gamma(), o, 1) / std::sqrt(var);
    for (std::size_t i = 0; i < I; ++i) W[o * I + i] = static_cast<T>(at(linear.weight(), o * I + i, 0) * scale);
    b[o] = static_cast<T>((at(linear.bias(), o, 0) - at(bn.running_mean(), o, 0)) * scale + at(bn.beta(), o, 0));
  }
  return result;
}

template <class T> void fold_into(Sequential<T>& net, const std::string& path, Sequential<T>& result) {
  for (std::size_t i = 0; i < net.size(); ++i) {
    const std::string label = fmt::format("{}{} {}", path, i, net[i].name());
    auto* const bn = dynamic_cast<BatchNorm1d<T>*>(&net[i]);
    if (auto* const inner = dynamic_cast<Sequential<T>*>(&net[i])) {
      Sequential<T> copy;
      fold_into(*inner, fmt::format("{}{}.", path, i), copy);
      result.add(std::move(copy));
    } else if (bn != nullptr) {
      auto* const linear = i > 0 ? dynamic_cast<Linear<T>*>(&net[i - 1]) : nullptr;
      check(linear != nullptr, "fold: {} does not follow a Linear, so there is nothing to fold it into", label);
      check(bn->options().track_running_stats,
            "fold: {} has no running statistics; it is another map for every batch, not an affine one", label);
      check(linear->weight().shape()[0] == bn->running_mean().size(), "fold: {} does not fit {} before it", label,
            linear->name());
      result.template get<Linear<T>>(result.size() - 1) = folded(*linear, *bn);
    } else {
      check(batch_norm_layers(net[i]).empty(), "fold: {} is not a Sequential; fold its BatchNorm by hand", label);
      result.add(clone(net[i]));
    }
  }
}

}  // namespace

template <class T> Sequential<T> fold(Sequential<T>& net) {
  Sequential<T> result;
  fold_into(net, "", result);
  result.eval();
  return result;
}

template Sequential<float> fold(Sequential<float>&);
template Sequential<double> fold(Sequential<double>&);

}  // namespace xtgrad
