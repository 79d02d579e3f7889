// Initialisers of weights (O, I), where I is the fan-in and O the fan-out. They write into a leaf; draws come
// from the thread's default generator unless another is given.
#pragma once

#include <cmath>

#include "xtgrad/check.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad::init {

/// Uniform in [-bound, bound].
template <class T> void uniform(Tensor<T>& w, double bound, Generator& generator = default_generator()) {
  for (T& value : w.mutable_value().storage()) value = static_cast<T>(bound * (2 * generator.uniform() - 1));
}

/// Normal with the given standard deviation and mean 0.
template <class T> void normal(Tensor<T>& w, double std, Generator& generator = default_generator()) {
  for (T& value : w.mutable_value().storage()) value = static_cast<T>(std * generator.normal());
}

/// I and I + O. Throws unless w is (O, I) with elements.
template <class T> std::pair<double, double> fans(const char* who, const Tensor<T>& w) {
  check(w.shape().size() == 2 && w.size() > 0, "{}: the weight is {}, expected (O, I)", who, w.shape());
  return {static_cast<double>(w.shape()[1]), static_cast<double>(w.shape()[0] + w.shape()[1])};
}

/// He et al. 2015, for ReLU: variance 2 / I, so normal with std sqrt(2 / I) or uniform with bound sqrt(6 / I). These
/// and the next throw as fans() does.
template <class T> void kaiming_normal(Tensor<T>& w, Generator& generator = default_generator()) {
  normal(w, std::sqrt(2 / fans("kaiming_normal", w).first), generator);
}
template <class T> void kaiming_uniform(Tensor<T>& w, Generator& generator = default_generator()) {
  uniform(w, std::sqrt(6 / fans("kaiming_uniform", w).first), generator);
}

/// Glorot and Bengio 2010: variance 2 / (I + O), so normal with its root as std or uniform with bound sqrt(6 / (I +
/// O)).
template <class T> void xavier_normal(Tensor<T>& w, Generator& generator = default_generator()) {
  normal(w, std::sqrt(2 / fans("xavier_normal", w).second), generator);
}
template <class T> void xavier_uniform(Tensor<T>& w, Generator& generator = default_generator()) {
  uniform(w, std::sqrt(6 / fans("xavier_uniform", w).second), generator);
}

}  // namespace xtgrad::init
