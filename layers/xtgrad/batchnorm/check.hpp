// What will go wrong with BatchNorm in a training set-up, before it does.
#pragma once

#include <string>
#include <vector>
#include <xtgrad/data/dataset.hpp>
#include <xtgrad/layers/module.hpp>
#include <xtgrad/optim/optimizers.hpp>

namespace xtgrad {

/// One thing that will go wrong.
struct Finding {
  std::string layer;   ///< "1 BatchNorm1d(64)", or "loader"
  std::string reason;  ///< what, and why it matters
  std::string remedy;
};

/// Looks at the network, at the loader, and at what the first batch of its rows does in the network:
///   a bias before BatchNorm, whose gradient is zero; rows that leave a last batch of 1 (an error) or 2 (no gradient);
///   batches of 2; weight decay on gamma and beta, where an optimizer is given; running statistics that are never updated,
///   or more than once in a forward pass; a channel without variance, whose gain is 1 / sqrt(eps); and evaluation (under
///   NoGrad) in training mode.
/// No state changes, and no random number is drawn. Throws as the forward pass does.
template <class T>
std::vector<Finding> check(Module<T>& net, const DataLoader<T>& loader, const Optimizer<T>* optimizer = nullptr);

}  // namespace xtgrad
