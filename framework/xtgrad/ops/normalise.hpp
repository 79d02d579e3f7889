// Softmax, layer normalisation and dropout: what is composed of other ops row by row.
#pragma once

#include "xtgrad/random.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// x (..., C) -> e^x / sum(e^x) over the last axis, shifted by the row's largest value so that nothing overflows.
/// Throws for a scalar.
template <class T> Tensor<T> softmax(const Tensor<T>& x);
/// log(softmax(x)), without the loss of digits that taking the logarithm afterwards would bring. Throws likewise.
template <class T> Tensor<T> log_softmax(const Tensor<T>& x);

/// Ba, Kiros and Hinton 2016: x (..., D), each row normalised over its D values with the biased variance, then
/// gamma * xhat + beta, both (D) or undefined. Throws unless D is 2 or more and the shapes fit.
template <class T> Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps);

/// Srivastava et al. 2014: each element is 0 with probability p and x / (1 - p) otherwise. Throws unless 0 <= p <= 1.
template <class T> Tensor<T> dropout(const Tensor<T>& x, double p, Generator& generator = default_generator());

}  // namespace xtgrad
