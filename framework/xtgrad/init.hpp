// Initialisers of weights (O, I), where I is the fan-in and O the fan-out. They write into a leaf; draws come
// from the thread's default generator unless another is given.
#pragma once

#include "xtgrad/random.hpp"

namespace xtgrad::init {

/// Uniform in [-bound, bound].
template <class T> void uniform(Tensor<T>& w, double bound, Generator& generator = default_generator());
/// Normal with the given standard deviation and mean 0.
template <class T> void normal(Tensor<T>& w, double std, Generator& generator = default_generator());
/// He et al. 2015, for ReLU: variance 2 / I, so normal with std sqrt(2 / I) or uniform with bound sqrt(6 / I). These
/// and the next throw unless w is (O, I) with elements.
template <class T> void kaiming_normal(Tensor<T>& w, Generator& generator = default_generator());
template <class T> void kaiming_uniform(Tensor<T>& w, Generator& generator = default_generator());
/// Glorot and Bengio 2010: variance 2 / (I + O), so normal with its root as std or uniform with bound sqrt(6 / (I +
/// O)).
template <class T> void xavier_normal(Tensor<T>& w, Generator& generator = default_generator());
template <class T> void xavier_uniform(Tensor<T>& w, Generator& generator = default_generator());

}  // namespace xtgrad::init
