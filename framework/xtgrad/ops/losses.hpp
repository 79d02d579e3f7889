// Losses, and what is counted beside them.
#pragma once

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// What becomes of the losses of single rows or elements: their mean () or sum (), or all of them.
enum class Reduction { mean, sum, none };

/// Options of cross_entropy.
struct CrossEntropyOptions {
  Reduction reduction = Reduction::mean;  ///< over rows; with none the result is (N)
  double label_smoothing = 0;  ///< share of the target that is spread evenly over all classes (Szegedy et al. 2016)
};

/// -log softmax(logits)[n, labels[n]] for each row n; logits (N, C), labels (N) in [0, C).
/// Saves the probabilities p; dlogits = p - one_hot(labels), divided by N for the mean. Throws if a shape, a label or
/// an option does not fit.
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Labels& labels, CrossEntropyOptions options = {});
/// -sum over c of targets[n, c] * log softmax(logits)[n, c] for each row n; both (N, C). Throws if a shape does not
/// fit.
template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Tensor<T>& targets, CrossEntropyOptions options = {});

/// (y - target)^2 for each element. Throws unless the two shapes are equal.
template <class T> Tensor<T> mse(const Tensor<T>& y, const Tensor<T>& target, Reduction reduction = Reduction::mean);

/// -target * log(s) - (1 - target) * log(1 - s) with s = sigmoid(x) for each element, without overflow. Throws unless
/// the two shapes are equal.
template <class T>
Tensor<T> bce_with_logits(const Tensor<T>& x, const Tensor<T>& target, Reduction reduction = Reduction::mean);

/// The share of rows, 0 to 1, whose largest logit is at their label; logits (N, C), labels (N). NaN without rows.
/// Throws as cross_entropy does.
template <class T> double accuracy(const Tensor<T>& logits, const Labels& labels);

namespace reference {

/// The mean in plain ops.
template <class T> Tensor<T> cross_entropy(const Tensor<T>& logits, const Labels& labels);

}  // namespace reference
}  // namespace xtgrad
