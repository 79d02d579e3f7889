#include "xtgrad/ops/losses.hpp"

#include <algorithm>

#include "xtgrad/kernels/table.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/fused.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

template <class T>
void check_labels(const char* op, const Tensor<T>& logits, const Labels& labels) {
  const Shape& shape = logits.shape();
  if (shape.size() != 2) fail("{}: logits are {}, expected (N, C)", op, shape);
  if (labels.shape() != Shape{shape[0]})
    fail("{}: logits are {}, labels {}, expected ({},)", op, shape, labels.shape(), shape[0]);
  for (std::size_t n = 0; n < shape[0]; ++n)
    if (labels(n) < 0 || labels(n) >= static_cast<std::int64_t>(shape[1]))
      fail("{}: label {} in row {} is not a class of 0 to {}", op, labels(n), n, static_cast<long>(shape[1]) - 1);
}

}  // namespace

template <class T>
Tensor<T> reference::cross_entropy(const Tensor<T>& logits, const Labels& labels) {
  const std::size_t N = logits.shape()[0], C = logits.shape()[1];
  // A constant shift changes nothing but keeps exp in range.
  Array<T> largest = empty_array<T>({N, 1}), one_hot = full_array<T>({N, C}, 0);
  for (std::size_t n = 0; n < N; ++n) {
    largest(n, 0) = *std::max_element(logits.data() + n * C, logits.data() + (n + 1) * C);
    one_hot(n, static_cast<std::size_t>(labels(n))) = 1;
  }
  const Tensor<T> shifted = logits - Tensor<T>(std::move(largest));
  const Tensor<T> log_softmax = shifted - log(sum(exp(shifted), {1}, {.keepdims = true}));
  return -sum(Tensor<T>(std::move(one_hot)) * log_softmax) / static_cast<T>(N);
}

template <class T>
Tensor<T> cross_entropy(const Tensor<T>& logits, const Labels& labels) {
  check_labels("cross_entropy", logits, labels);
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

template <class T>
Tensor<T> mse(const Tensor<T>& y, const Tensor<T>& target) {
  check(y.shape() == target.shape(), "mse: y is {}, target {}; they must have the same shape", y.shape(),
        target.shape());
  const Tensor<T> difference = y - target;
  return mean(difference * difference);
}

template <class T>
double accuracy(const Tensor<T>& logits, const Labels& labels) {
  check_labels("accuracy", logits, labels);
  const std::size_t N = logits.shape()[0], C = logits.shape()[1];
  std::size_t right = 0;
  for (std::size_t n = 0; n < N; ++n) {
    const T* const row = logits.data() + n * C;
    if (std::max_element(row, row + C) - row == labels(n)) ++right;
  }
  return static_cast<double>(right) / static_cast<double>(N);
}

#define XTGRAD_INSTANTIATE(T)                                                   \
  template Tensor<T> cross_entropy(const Tensor<T>&, const Labels&);            \
  template Tensor<T> reference::cross_entropy(const Tensor<T>&, const Labels&); \
  template Tensor<T> mse(const Tensor<T>&, const Tensor<T>&);                   \
  template double accuracy(const Tensor<T>&, const Labels&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
