// Folding: eval-mode BatchNorm is an affine map, and a Linear before it can do its work.
#pragma once

#include <xtgrad/layers/sequential.hpp>

namespace xtgrad {

/// A network without the BatchNorm layers of `net`, with the same outputs in eval mode up to rounding:
///   W' = W * gamma s per row    b' = (b - running_mean) * gamma s + beta,    s = 1 / sqrt(running_var + eps)
/// The rest is copied as by clone(), and the result is in eval mode. Throws std::invalid_argument, naming the layer and the
/// reason, if a BatchNorm1d does not follow a Linear directly in the same Sequential, has no running statistics, or sits
/// in a module other than a Sequential.
template <class T> Sequential<T> fold(Sequential<T>& net);

}  // namespace xtgrad
