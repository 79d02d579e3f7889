// Losses and what is counted beside them.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// The mean over n of -log softmax(logits)[n, labels[n]]; logits (N, C), labels (N) in [0, C), result ().
/// Saves the probabilities p; dlogits = (p - one_hot(labels)) / N. Throws if a shape or a label does not fit.
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Labels& labels);

/// The mean of (y - target)^2 over all elements. Throws unless the two shapes are equal.
template <class T>
Tensor<T> mse(const Tensor<T>& y, const Tensor<T>& target);

/// The share of rows whose largest logit is at their label; logits (N, C), labels (N).
template <class T>
double accuracy(const Tensor<T>& logits, const Labels& labels);

namespace reference {

/// The definition in plain ops.
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Labels& labels);

}  // namespace reference
}  // namespace xtgrad
