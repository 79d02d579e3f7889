#include "xtgrad/ops/normalise.hpp"

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

// x minus the largest value of its row, which is a constant: it changes no result and needs no gradient.
template <class T> Tensor<T> shifted(const char* op, const Tensor<T>& x) {
  check(!x.shape().empty(), "{}: the input is a scalar, expected (..., C)", op);
  if (x.size() == 0) return x;
  return x - max(x.detach(), {-1}, {.keepdims = true});
}

}  // namespace

template <class T> Tensor<T> softmax(const Tensor<T>& x) {
  const Tensor<T> e = exp(shifted("softmax", x));
  return e / sum(e, {-1}, {.keepdims = true});
}

template <class T> Tensor<T> log_softmax(const Tensor<T>& x) {
  const Tensor<T> s = shifted("log_softmax", x);
  return s - log(sum(exp(s), {-1}, {.keepdims = true}));
}

template <class T> Tensor<T> layer_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps) {
  const std::size_t D = x.shape().empty() ? 0 : x.shape().back();
  check(D >= 2, "layer_norm: input is {}, expected (..., D) with two or more values in a row", x.shape());
  for (const Tensor<T>* t : {&gamma, &beta})
    check(!t->defined() || t->shape() == Shape{D}, "layer_norm: a parameter is {}, input {} expects ({},)",
          t->defined() ? t->shape() : Shape(), x.shape(), D);
  // A row is to layer normalisation what a channel is to batch normalisation.
  const Tensor<T> channels = reshape(x, {1, x.size() / D, D});
  Tensor<T> y = reshape(batch_norm(channels, Tensor<T>(), Tensor<T>(), eps).y, x.shape());
  if (gamma.defined()) y = gamma * y;
  return beta.defined() ? y + beta : y;
}

template <class T> Tensor<T> dropout(const Tensor<T>& x, double p, Generator& generator) {
  check(p >= 0 && p <= 1, "dropout: p is {}, expected a probability", p);
  Array<T> mask = empty_array<T>(x.shape());
  for (T& m : mask.storage()) m = generator.uniform() < p ? T(0) : static_cast<T>(1 / (1 - p));
  return x * Tensor<T>(std::move(mask));
}

#define XTGRAD_INSTANTIATE(T)                                                                  \
  template Tensor<T> softmax(const Tensor<T>&);                                                \
  template Tensor<T> log_softmax(const Tensor<T>&);                                            \
  template Tensor<T> layer_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double); \
  template Tensor<T> dropout(const Tensor<T>&, double, Generator&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
