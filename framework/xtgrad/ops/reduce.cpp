#include "xtgrad/ops/reduce.hpp"

#include <cmath>
#include <limits>

#include "xtgrad/broadcast.hpp"
#include "xtgrad/kernels/table.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/record.hpp"

namespace xtgrad {
namespace {

// x summed over the axes where `kept` has extent 1 and x has not; the result has shape `kept`, written as `named`. Neighbouring
// axes are taken together, so most sums are one pass; what is left over is summed again, in double.
template <class T> Array<T> summed(const Array<T>& x, const Shape& kept, const Shape& named) {
  Array<T> z = empty_array<T>(named);
  PoolVector<double> sums;
  Shape shape = x.shape();
  bool first = true;
  const auto is_summed = [&](std::size_t a) { return kept[a] != shape[a]; };
  for (std::size_t end = shape.size(), begin; end > 0; end = begin) {
    begin = end - 1;
    if (!is_summed(begin)) continue;
    while (begin > 0 && is_summed(begin - 1)) --begin;
    long outer = 1, reduced = 1, inner = 1;
    for (std::size_t a = 0; a < shape.size(); ++a)
      (a < begin ? outer : a < end ? reduced : inner) *= static_cast<long>(shape[a]);
    for (std::size_t a = begin; a < end; ++a) shape[a] = 1;
    PoolVector<double> partial(size_of(shape));
    if (first)
      kernels::table<T>().sum(outer, reduced, inner, x.data(), partial.data());
    else
      kernels::table<double>().sum(outer, reduced, inner, sums.data(), partial.data());
    sums.swap(partial);
    first = false;
  }
  if (first)
    std::copy_n(x.data(), z.storage().size(), z.data());
  else
    std::transform(sums.begin(), sums.end(), z.data(), [](double s) { return static_cast<T>(s); });
  return z;
}

// A shape with extent 1 at the given axes, and without these axes.
struct Reduced {
  Shape kept, rest;

  Reduced(const char* op, const Shape& shape, const Axes& axes) : kept(shape) {
    memory::InlineVector<bool> named(shape.size(), false);
    for (const std::ptrdiff_t axis : axes) {
      const std::size_t a = normalise_axis(op, axis, shape.size());
      check(!named[a], "{}: axis {} is named twice", op, axis);
      named[a] = true;
      kept[a] = 1;
    }
    for (std::size_t a = 0; a < shape.size(); ++a)
      if (!named[a]) rest.push_back(shape[a]);
  }
};

// The sum down to `kept`, which has as many axes as x, in another shape of the same size.
template <class T> Tensor<T> sum_kept(const Tensor<T>& x, const Shape& kept, const Shape& named) {
  return record("sum", summed(x.value(), kept, named), {&x},
                [kept](Backward<T>& b) { b.add(0, expand(reshape(b.dz(), kept), b.shape(0))); });
}

}  // namespace

template <class T> Tensor<T> sum(const Tensor<T>& x, const Axes& axes, ReduceOptions options) {
  const Reduced reduced("sum", x.shape(), axes);
  return sum_kept(x, reduced.kept, options.keepdims ? reduced.kept : reduced.rest);
}

template <class T> Tensor<T> sum(const Tensor<T>& x) { return sum_to(x, {}); }

template <class T> Tensor<T> mean(const Tensor<T>& x, const Axes& axes, ReduceOptions options) {
  const Tensor<T> total = sum(x, axes, options);
  return total / static_cast<T>(static_cast<double>(x.size()) / static_cast<double>(total.size()));
}

template <class T> Tensor<T> mean(const Tensor<T>& x) { return sum(x) / static_cast<T>(x.size()); }

template <class T> Tensor<T> var(const Tensor<T>& x, const Axes& axes, bool biased, ReduceOptions options) {
  const Tensor<T> centred = x - mean(x, axes, {.keepdims = true});
  const Tensor<T> total = sum(centred * centred, axes, options);
  const double m = static_cast<double>(x.size()) / static_cast<double>(total.size());
  return total / static_cast<T>(biased ? m : m - 1);
}

template <class T> Tensor<T> max(const Tensor<T>& x, const Axes& axes, ReduceOptions options) {
  const auto& [kept, rest] = Reduced("max", x.shape(), axes);
  check(x.size() > 0 || size_of(kept) == 0, "max: no values along an axis of the shape {}", x.shape());
  Array<T> z = full_array<T>(kept, -std::numeric_limits<T>::infinity());
  for_each_run(x.shape(), {&x.shape(), &kept}, [&](const Run<2>& run) {
    for (std::size_t i = 0; i < run.size; ++i) {
      const T value = x.data()[run.at[0] + i];
      T& largest = z.data()[run.at[1] + i * static_cast<std::size_t>(run.step[1])];
      if (value > largest || std::isnan(value)) largest = value;
    }
  });
  const Tensor<T> result = record("max", std::move(z), {&x}, [axes](Backward<T>& b) {
    Tensor<T> share;
    {
      const NoGrad guard;
      const Tensor<T> chosen = 1 - maximum(b.input(0) > b.output(), b.output() > b.input(0));
      share = chosen / sum(chosen, axes, {.keepdims = true});
    }
    b.add(0, b.dz() * share);
  });
  return options.keepdims ? result : reshape(result, rest);
}

template <class T> Labels argmax(const Tensor<T>& x) {
  check(!x.shape().empty() && x.shape().back() > 0, "argmax: input is {}, expected (..., C)", x.shape());
  Shape rows = x.shape();
  const std::size_t C = rows.back();
  rows.resize(rows.size() - 1);
  Labels positions = empty_array<std::int64_t>(rows);
  for (std::size_t n = 0; n < positions.size(); ++n)
    positions.data()[n] = std::max_element(x.data() + n * C, x.data() + (n + 1) * C) - (x.data() + n * C);
  return positions;
}

template <class T> Tensor<T> expand(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  check(broadcasts_to(x.shape(), shape), "expand: shape {} does not broadcast to {}", x.shape(), shape);
  Array<T> z = empty_array<T>(shape);
  for_each_run(shape, {&x.shape()}, [&](const Run<1>& run) {
    const T* const from = x.data() + run.at[0];
    if (run.step[0] == 0)
      std::fill_n(z.data() + run.position, run.size, *from);
    else
      std::copy_n(from, run.size, z.data() + run.position);
  });
  return record("expand", std::move(z), {&x}, [](Backward<T>& b) { b.add(0, sum_to(b.dz(), b.shape(0))); });
}

template <class T> Tensor<T> sum_to(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  check(broadcasts_to(shape, x.shape()), "sum_to: shape {} does not broadcast to {}", shape, x.shape());
  Shape kept = x.shape();
  const std::size_t lead = kept.size() - shape.size();
  for (std::size_t a = 0; a < kept.size(); ++a) kept[a] = a < lead ? 1 : shape[a - lead];
  return sum_kept(x, kept, shape);
}

#define XTGRAD_INSTANTIATE(T)                                                 \
  template Tensor<T> sum(const Tensor<T>&);                                   \
  template Tensor<T> sum(const Tensor<T>&, const Axes&, ReduceOptions);       \
  template Tensor<T> mean(const Tensor<T>&);                                  \
  template Tensor<T> mean(const Tensor<T>&, const Axes&, ReduceOptions);      \
  template Tensor<T> var(const Tensor<T>&, const Axes&, bool, ReduceOptions); \
  template Tensor<T> max(const Tensor<T>&, const Axes&, ReduceOptions);       \
  template Labels argmax(const Tensor<T>&);                                   \
  template Tensor<T> expand(const Tensor<T>&, const Shape&);                  \
  template Tensor<T> sum_to(const Tensor<T>&, const Shape&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
