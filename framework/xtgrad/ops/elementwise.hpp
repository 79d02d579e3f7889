// Elementwise ops with numpy's broadcasting; value and derivative of each stand in formulas.hpp. The result has the
// shape that the inputs broadcast to; every op of more than one input throws if they do not.
#pragma once

#include <algorithm>

#include "xtgrad/broadcast.hpp"
#include "xtgrad/kernels/table.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/record.hpp"

namespace xtgrad {

/// -x
template <class T> Tensor<T> neg(const Tensor<T>& x);
/// e^x
template <class T> Tensor<T> exp(const Tensor<T>& x);
/// Natural logarithm; -inf at 0, NaN below.
template <class T> Tensor<T> log(const Tensor<T>& x);
/// Square root; NaN below 0.
template <class T> Tensor<T> sqrt(const Tensor<T>& x);
/// max(x, 0), with derivative 0 at 0.
template <class T> Tensor<T> relu(const Tensor<T>& x);
/// (e^x - e^-x) / (e^x + e^-x)
template <class T> Tensor<T> tanh(const Tensor<T>& x);
/// |x|, with derivative 0 at 0.
template <class T> Tensor<T> abs(const Tensor<T>& x);
/// The error function: 2 / sqrt(pi) times the integral of e^(-t^2) from 0 to x.
template <class T> Tensor<T> erf(const Tensor<T>& x);
/// x Phi(x), Phi the standard normal distribution function (Hendrycks and Gimpel 2016).
template <class T> Tensor<T> gelu(const Tensor<T>& x);
/// log(1 + e^x), without overflow.
template <class T> Tensor<T> softplus(const Tensor<T>& x);
/// x where it is positive, slope * x elsewhere, with derivative `slope` at 0.
template <class T> Tensor<T> leaky_relu(const Tensor<T>& x, double slope = 0.01);
/// x limited to [low, high], with derivative 1 at the bounds. Throws if low > high.
template <class T> Tensor<T> clamp(const Tensor<T>& x, double low, double high);
/// 1 / (1 + e^-x)
template <class T> Tensor<T> sigmoid(const Tensor<T>& x);

/// x + y, x - y, x * y, x / y, also as operators.
template <class T> Tensor<T> add(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> sub(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> mul(const Tensor<T>& x, const Tensor<T>& y);
template <class T> Tensor<T> div(const Tensor<T>& x, const Tensor<T>& y);

/// x^y; NaN for a negative x with a y that is not whole.
template <class T> Tensor<T> pow(const Tensor<T>& x, const std::type_identity_t<Tensor<T>>& y);
/// The larger and the smaller of two, NaN if one is; where they are equal each gets half of the gradient.
template <class T> Tensor<T> maximum(const Tensor<T>& x, const std::type_identity_t<Tensor<T>>& y);
template <class T> Tensor<T> minimum(const Tensor<T>& x, const std::type_identity_t<Tensor<T>>& y);

/// 1 where x > y, 0 elsewhere, also as an operator. Carries no gradient.
template <class T> Tensor<T> greater(const Tensor<T>& x, const Tensor<T>& y);
/// x where the condition is not 0, y elsewhere. Nothing of the branch that is not taken gets through, not
/// even NaN.
template <class T>
Tensor<T> where(const Tensor<T>& condition, const std::type_identity_t<Tensor<T>>& x,
                const std::type_identity_t<Tensor<T>>& y);

/// A tensor taken as a condition by the formulas.
template <class T> const Tensor<T>& truth(const Tensor<T>& condition) { return condition; }

/// The op that a struct like those in formulas.hpp describes; shapes broadcast. Throws if they do not.
template <class Op, class T, class... More> Tensor<T> elementwise(const Tensor<T>& x, const More&... more);

namespace detail {

// The vjp of input I, for scalars and for tensors.
template <class Op, std::size_t I, class V, class... X> V chain(const V& dz, const V& z, const X&... x) {
  if constexpr (sizeof...(X) == 1)
    return Op::template vjp<V>(dz, z, x...);
  else
    return Op::template vjp<I, V>(dz, z, x...);
}

// The loop of an op without a kernel of its own.
template <class Op, class T> struct PortableLoop {
  static constexpr std::size_t K = formulas::arity<Op>;

  static void value(long n, const T* const* in, const long* step, T* z) {
    for (long i = 0; i < n; ++i)
      z[i] = apply([](const auto&... x) { return Op::template value<T>(x...); }, in, step, i);
  }
  template <std::size_t I>
  static void vjp(long n, const T* dz, const T* z, const T* const* in, const long* step, T* d) {
    for (long i = 0; i < n; ++i)
      d[i] = apply([&](const auto&... x) { return chain<Op, I>(dz[i], z[i], x...); }, in, step, i);
  }

 private:
  template <class F> static T apply(F f, const T* const* in, const long* step, long i) {
    return [&]<std::size_t... k>(std::index_sequence<k...>) { return f(in[k][i * step[k]]...); }
    (std::make_index_sequence<K>());
  }
};

template <class Op, class T> const kernels::Elementwise<T>& kernel() {
  if constexpr (constexpr int index = formulas::Kernels::index<Op>(); index >= 0) {
    return kernels::table<T>().elementwise[index];
  } else {
    static constexpr auto portable = []<std::size_t... I>(std::index_sequence<I...>) {
      return kernels::Elementwise<T>{&PortableLoop<Op, T>::value, {&PortableLoop<Op, T>::template vjp<I>...}};
    }
    (std::make_index_sequence<formulas::arity<Op>>());
    return portable;
  }
}

/// z = Op(in...), all of shape z or broadcast to it.
template <class Op, class T, std::size_t K> void evaluate(const Tensor<T>* const (&in)[K], Array<T>& z) {
  const Shape* shapes[K];
  for (std::size_t k = 0; k < K; ++k) shapes[k] = &in[k]->shape();
  for_each_run(z.shape(), shapes, [&](const Run<K>& run) {
    const T* at[K];
    for (std::size_t k = 0; k < K; ++k) at[k] = in[k]->data() + run.at[k];
    kernel<Op, T>().value(static_cast<long>(run.size), at, run.step.data(), z.data() + run.position);
  });
}

/// The gradient of input I in the shape of the result. Operands that the vjp does not read are undefined.
template <class Op, std::size_t I, class T, std::size_t K>
Tensor<T> vjp(const Tensor<T>& dz, const Tensor<T>& z, const Tensor<T> (&in)[K]) {
  if (Op::saves[I] == formulas::kNothing || grad_enabled()) return [&]<std::size_t... k>(std::index_sequence<k...>) {
      return chain<Op, I>(dz, z, in[k]...);
    }
  (std::make_index_sequence<K>());

  // The kernel is given dz in place of what it does not read.
  const auto operand = [&dz](const Tensor<T>& t) -> const Tensor<T>& { return t.defined() ? t : dz; };
  Array<T> d = empty_array<T>(dz.shape());
  const Shape* shapes[K];
  for (std::size_t k = 0; k < K; ++k) shapes[k] = &operand(in[k]).shape();
  for_each_run(dz.shape(), shapes, [&](const Run<K>& run) {
    const T* at[K];
    for (std::size_t k = 0; k < K; ++k) at[k] = operand(in[k]).data() + run.at[k];
    kernel<Op, T>().vjp[I](static_cast<long>(run.size), dz.data() + run.position, operand(z).data() + run.position, at,
                           run.step.data(), d.data() + run.position);
  });
  return d;
}

template <class Op, std::size_t I, std::size_t K, class T> void backward_to(Backward<T>& b) {
  constexpr unsigned saves = Op::saves[I];
  if constexpr (saves != formulas::kConstant) {
    if (!b.needs(I)) return;
    Tensor<T> in[K];
    for (std::size_t k = 0; k < K; ++k)
      if ((saves >> k & 1U) != 0) in[k] = b.input(k);
    const Tensor<T> z = (saves & formulas::kZ) != 0 ? b.output() : Tensor<T>();
    b.add(I, sum_to(vjp<Op, I>(b.dz(), z, in), b.shape(I)));
  }
}

}  // namespace detail

template <class Op, class T, class... More> Tensor<T> elementwise(const Tensor<T>& x, const More&... more) {
  constexpr std::size_t K = 1 + sizeof...(More);
  static_assert(K == formulas::arity<Op>, "the op has another number of inputs");
  const Tensor<T>* const in[K] = {&x, &more...};
  Shape shape = x.shape();
  for (std::size_t k = 1; k < K; ++k)
    if (in[k]->shape() != shape) shape = broadcast_shape(Op::name, shape, in[k]->shape());
  Array<T> z = empty_array<T>(shape);
  detail::evaluate<Op>(in, z);
  if constexpr (std::ranges::all_of(Op::saves, [](unsigned s) { return s == formulas::kConstant; }))
    return z;
  else
    return record(Op::name, std::move(z), in, [](Backward<T>& b) {
      [&b]<std::size_t... I>(std::index_sequence<I...>) { (detail::backward_to<Op, I, K>(b), ...); }
      (std::make_index_sequence<K>());
    });
}

}  // namespace xtgrad
