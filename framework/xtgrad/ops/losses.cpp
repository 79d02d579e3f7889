#include "xtgrad/ops/losses.hpp"

#include <limits>

#include "xtgrad/kernels/table.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/fused.hpp"
#include "xtgrad/ops/normalise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

template <class T> void check_labels(const char* op, const Tensor<T>& logits, const Labels& labels) {
  const Shape& shape = logits.shape();
  check(shape.size() == 2, "{}: logits are {}, expected (N, C)", op, shape);
  check(labels.shape() == Shape{shape[0]}, "{}: logits are {}, labels {}, expected ({},)", op, shape, labels.shape(),
        shape[0]);
  const std::int64_t* const label = labels.data();
  for (std::size_t n = 0; n < shape[0]; ++n)
    if (label[n] < 0 || label[n] >= static_cast<std::int64_t>(shape[1]))
      fail("{}: label {} in row {} is not a class of 0 to {}", op, label[n], n, static_cast<long>(shape[1]) - 1);
}

template <class T> void check_equal(const char* op, const Tensor<T>& y, const Tensor<T>& target) {
  check(y.shape() == target.shape(), "{}: input is {}, target {}; they must have the same shape", op, y.shape(),
        target.shape());
}

template <class T> Tensor<T> reduced(const Tensor<T>& losses, Reduction reduction) {
  if (reduction == Reduction::none) return losses;
  return reduction == Reduction::mean ? mean(losses) : sum(losses);
}

}  // namespace

template <class T> Tensor<T> reference::cross_entropy(const Tensor<T>& logits, const Labels& labels) {
  return xtgrad::cross_entropy(logits, one_hot<T>(labels, logits.shape()[1]));
}

template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Tensor<T>& targets, CrossEntropyOptions options) {
  check_equal("cross_entropy", logits, targets);
  check(logits.shape().size() == 2, "cross_entropy: logits are {}, expected (N, C)", logits.shape());
  const double smoothing = options.label_smoothing;
  check(smoothing >= 0 && smoothing <= 1, "cross_entropy: label_smoothing is {}, expected 0 to 1", smoothing);
  Tensor<T> smooth = targets;
  if (smoothing > 0) {
    const double spread = smoothing / static_cast<double>(logits.shape()[1]);
    smooth = targets * static_cast<T>(1 - smoothing) + static_cast<T>(spread) * sum(targets, {1}, {.keepdims = true});
  }
  // A class without weight counts nothing, also where its logit is -inf.
  const Tensor<T> log_p = log_softmax(logits);
  const Tensor<T> finite = where(smooth > 0, log_p, maximum(log_p, std::numeric_limits<T>::lowest()));
  return reduced(-sum(smooth * finite, {1}), options.reduction);
}

template <class T> Tensor<T> cross_entropy(const Tensor<T>& logits, const Labels& labels, CrossEntropyOptions options) {
  check_labels("cross_entropy", logits, labels);
  if (options.label_smoothing != 0 || options.reduction != Reduction::mean)
    return cross_entropy(logits, one_hot<T>(labels, logits.shape()[1]), options);
  const long N = static_cast<long>(logits.shape()[0]), C = static_cast<long>(logits.shape()[1]);
  Array<T> p = empty_array<T>(logits.shape());
  const double total = kernels::table<T>().softmax_cross_entropy(N, C, logits.data(), labels.data(), p.data());
  Array<T> loss = full_array<T>({}, static_cast<T>(total / static_cast<double>(N)));
  return record("cross_entropy", std::move(loss), {&logits}, [p = std::move(p), labels, N, C](Backward<T>& b) {
    if (grad_enabled())
      return backward_by_reference(
          b, 1, [&labels](const std::vector<Tensor<T>>& in) { return reference::cross_entropy(in[0], labels); });
    Array<T> d = empty_array<T>(b.shape(0));
    kernels::table<T>().softmax_cross_entropy_vjp(N, C, p.data(), labels.data(), b.dz().item() / static_cast<T>(N),
                                                  d.data());
    b.add(0, std::move(d));
  });
}

template <class T> Tensor<T> mse(const Tensor<T>& y, const Tensor<T>& target, Reduction reduction) {
  check_equal("mse", y, target);
  const Tensor<T> difference = y - target;
  return reduced(difference * difference, reduction);
}

template <class T> Tensor<T> bce_with_logits(const Tensor<T>& x, const Tensor<T>& target, Reduction reduction) {
  check_equal("bce_with_logits", x, target);
  return reduced(softplus(x) - x * target, reduction);
}

template <class T> double accuracy(const Tensor<T>& logits, const Labels& labels) {
  check_labels("accuracy", logits, labels);
  const Labels predicted = argmax(logits);
  std::size_t right = 0;
  for (std::size_t n = 0; n < labels.size(); ++n) right += predicted(n) == labels(n) ? 1U : 0U;
  return static_cast<double>(right) / static_cast<double>(labels.size());
}

#define XTGRAD_INSTANTIATE(T)                                                                \
  template Tensor<T> cross_entropy(const Tensor<T>&, const Labels&, CrossEntropyOptions);    \
  template Tensor<T> cross_entropy(const Tensor<T>&, const Tensor<T>&, CrossEntropyOptions); \
  template Tensor<T> reference::cross_entropy(const Tensor<T>&, const Labels&);              \
  template Tensor<T> mse(const Tensor<T>&, const Tensor<T>&, Reduction);                     \
  template Tensor<T> bce_with_logits(const Tensor<T>&, const Tensor<T>&, Reduction);         \
  template double accuracy(const Tensor<T>&, const Labels&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
