#include "xtgrad/ops/batch_norm.hpp"

#include <cmath>

#include "xtgrad/kernels/table.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/fused.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

// (C) seen as (C, 1) where the channel axis is not the last.
template <class T> Tensor<T> per_channel(const Tensor<T>& t, const Tensor<T>& x) {
  return x.shape().size() == 3 ? reshape(t, {t.size(), 1}) : t;
}

template <class T> Tensor<T> affine(const Tensor<T>& xhat, const Tensor<T>& gamma, const Tensor<T>& beta) {
  Tensor<T> y = xhat;
  if (gamma.defined()) y = per_channel(gamma, xhat) * y;
  if (beta.defined()) y = y + per_channel(beta, xhat);
  return y;
}

template <class T> Tensor<T> inv_std_of(const Tensor<T>& var, double eps) {
  const Tensor<T> v = var + static_cast<T>(eps);
  return where(v > 0, 1 / sqrt(where(v > 0, v, 1)), 0);
}

// The first value of each channel, a constant of the shape (1, C) or (1, C, 1). Taking it away first changes neither
// xhat nor a gradient, but keeps the digits of x in T where the mean is large.
template <class T> Tensor<T> first_values(const Tensor<T>& x) {
  Shape shape = x.shape();
  const std::size_t C = shape[1], L = shape.size() == 3 ? shape[2] : 1;
  shape[0] = 1;
  if (shape.size() == 3) shape[2] = 1;
  Array<T> first = full_array<T>(shape, T(0));
  for (std::size_t c = 0; x.size() > 0 && c < C; ++c) first.data()[c] = x.data()[c * L];
  return first;
}

double inv_std_of(double var, double eps) { return var + eps == 0 ? 0 : 1 / std::sqrt(var + eps); }

}  // namespace

namespace reference {

template <class T> Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps) {
  const Axes axes = x.shape().size() == 3 ? Axes{0, 2} : Axes{0};
  const Tensor<T> shifted = x - first_values(x);
  const Tensor<T> mu = mean(shifted, axes, {.keepdims = true});
  const Tensor<T> centred = shifted - mu;
  const Tensor<T> var = mean(centred * centred, axes, {.keepdims = true});
  const Tensor<T> xhat = centred * inv_std_of(var, eps);
  return affine(xhat, gamma, beta);
}

template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps,
                     const Array<T>& running_mean, const Array<T>& running_var) {
  const Tensor<T> mu = per_channel(Tensor<T>(running_mean), x);
  const Tensor<T> var = per_channel(Tensor<T>(running_var), x);
  return affine((x - mu) * inv_std_of(var, eps), gamma, beta);
}

}  // namespace reference

namespace {

// shift, offset and inv_std of each channel, the rows of a (3, C) array.
struct SavedChannels {
  Array<double> rows;

  explicit SavedChannels(std::size_t C) : rows(empty_array<double>({3, C})) {}
  double* row(std::size_t i) { return rows.data() + i * rows.shape()[1]; }
  kernels::Channels view() const {
    const std::size_t C = rows.shape()[1];
    return {rows.data(), rows.data() + C, rows.data() + 2 * C};
  }
};

// The kernels take rows of channels: (N, C) as it is, (N, C, L) transposed to (N * L, C).
template <class T> Tensor<T> to_rows(const Tensor<T>& x, const ChannelLayout& layout) {
  return layout.L == 1 ? x : transpose(x.detach());
}
template <class T> Tensor<T> from_rows(Array<T>&& rows, const ChannelLayout& layout, const Shape& shape) {
  const Tensor<T> t = shared_array(rows, layout.L == 1 ? shape : Shape{layout.N, layout.L, layout.C});
  return layout.L == 1 ? t : transpose(t);
}

template <class T>
void check_parameter(const char* name, const Tensor<T>& t, const ChannelLayout& layout, const Shape& input) {
  if (t.defined() && t.shape() != Shape{layout.C})
    fail("batch_norm: {} is {}, input {} expects ({},)", name, t.shape(), input, layout.C);
}

template <class T> const T* data_or_null(const Tensor<T>& t) { return t.defined() ? t.data() : nullptr; }

// Fills shift and offset of `stats`, and returns the moments.
template <class T> Moments measure(const Tensor<T>& x, const ChannelLayout& layout, SavedChannels& stats) {
  Moments moments{layout.m(), full_array<double>({layout.C}, 0), full_array<double>({layout.C}, 0)};
  if (layout.m() == 0) return moments;
  const NoGrad guard;
  kernels::table<T>().batch_moments(static_cast<long>(layout.m()), static_cast<long>(layout.C),
                                    to_rows(x, layout).data(), stats.row(0), stats.row(1), moments.m2.data());
  for (std::size_t c = 0; c < layout.C; ++c) moments.mean(c) = stats.row(0)[c] + stats.row(1)[c];
  return moments;
}

// y in x's shape, for either kind of statistics.
template <class T>
Array<T> normalised(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, const SavedChannels& stats,
                    const ChannelLayout& layout) {
  const NoGrad guard;
  Array<T> y = empty_array<T>({layout.m(), layout.C});
  kernels::table<T>().batch_norm(static_cast<long>(layout.m()), static_cast<long>(layout.C), to_rows(x, layout).data(),
                                 stats.view(), data_or_null(gamma), data_or_null(beta), y.data());
  return Array<T>(shared_array(from_rows(std::move(y), layout, x.shape()).value(), x.shape()));
}

// The gradients of x, gamma and beta; `dx` computes the first from dy and the two sums.
template <class T, class Dx>
void backward(Backward<T>& b, const SavedChannels& stats, const ChannelLayout& layout, bool sums_for_dx, Dx&& dx) {
  const long m = static_cast<long>(layout.m()), C = static_cast<long>(layout.C);
  const Tensor<T> x = to_rows(b.input(0), layout), dy = to_rows(b.dz(), layout);
  Array<double> sum_dy = full_array<double>({layout.C}, 0), sum_dy_xhat = sum_dy;
  if (m > 0 && (b.needs(1) || b.needs(2) || sums_for_dx))
    kernels::table<T>().batch_norm_sums(m, C, x.data(), dy.data(), stats.view(), sum_dy.data(), sum_dy_xhat.data());
  if (b.needs(0)) {
    Array<T> d = empty_array<T>({layout.m(), layout.C});
    if (m > 0) dx(m, C, x.data(), dy.data(), data_or_null(b.input(1)), sum_dy.data(), sum_dy_xhat.data(), d.data());
    b.add(0, from_rows(std::move(d), layout, b.shape(0)));
  }
  const auto rounded = [](const Array<double>& sums) {
    Array<T> z = empty_array<T>(sums.shape());
    std::transform(sums.storage().begin(), sums.storage().end(), z.data(), [](double s) { return static_cast<T>(s); });
    return z;
  };
  if (b.needs(1)) b.add(1, rounded(sum_dy_xhat));
  if (b.needs(2)) b.add(2, rounded(sum_dy));
}

}  // namespace

ChannelLayout channel_layout(const char* who, const Shape& shape) {
  if (shape.size() != 2 && shape.size() != 3) fail("{}: input is {}, expected (N, C) or (N, C, L)", who, shape);
  return {shape[0], shape[1], shape.size() == 3 ? shape[2] : 1};
}

template <class T> Moments channel_moments(const Tensor<T>& x) {
  const ChannelLayout layout = channel_layout("channel_moments", x.shape());
  SavedChannels stats(layout.C);
  return measure(x, layout, stats);
}

template <class T>
BatchNormResult<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps) {
  const ChannelLayout layout = channel_layout("batch_norm", x.shape());
  check_parameter("gamma", gamma, layout, x.shape());
  check_parameter("beta", beta, layout, x.shape());
  if (layout.m() == 1)
    fail("batch_norm: needs more than one value per channel with batch statistics, got input {}", x.shape());

  SavedChannels stats(layout.C);
  Moments batch = measure(x, layout, stats);
  for (std::size_t c = 0; c < layout.C; ++c)
    stats.row(2)[c] = inv_std_of(batch.m2(c) / static_cast<double>(layout.m()), eps);
  Array<T> y = normalised(x, gamma, beta, stats, layout);
  Tensor<T> result =
      record("batch_norm", std::move(y), {&x, &gamma, &beta}, [stats = std::move(stats), layout, eps](Backward<T>& b) {
        if (grad_enabled())
          return backward_by_reference(b, 3, [eps](const std::vector<Tensor<T>>& in) {
            return reference::batch_norm(in[0], in[1], in[2], eps);
          });
        backward(b, stats, layout, true,
                 [&stats](long m, long C, const T* x_, const T* dy, const T* g, const double* sum_dy,
                          const double* sum_dy_xhat, T* dx) {
                   kernels::table<T>().batch_norm_dx(m, C, x_, dy, stats.view(), g, sum_dy, sum_dy_xhat, dx);
                 });
      });
  return {std::move(result), std::move(batch)};
}

template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps,
                     const Array<T>& running_mean, const Array<T>& running_var) {
  const ChannelLayout layout = channel_layout("batch_norm", x.shape());
  check_parameter("gamma", gamma, layout, x.shape());
  check_parameter("beta", beta, layout, x.shape());
  for (const Array<T>* statistic : {&running_mean, &running_var})
    if (statistic->shape() != Shape{layout.C})
      fail("batch_norm: a running statistic is {}, input {} expects ({},)", statistic->shape(), x.shape(), layout.C);

  SavedChannels stats(layout.C);
  for (std::size_t c = 0; c < layout.C; ++c) {
    stats.row(0)[c] = static_cast<double>(running_mean(c));
    stats.row(1)[c] = 0;
    stats.row(2)[c] = inv_std_of(static_cast<double>(running_var(c)), eps);
  }
  Array<T> y = normalised(x, gamma, beta, stats, layout);
  return record("batch_norm", std::move(y), {&x, &gamma, &beta},
                [stats = std::move(stats), layout, eps, running_mean, running_var](Backward<T>& b) {
                  if (grad_enabled())
                    return backward_by_reference(b, 3, [&](const std::vector<Tensor<T>>& in) {
                      return reference::batch_norm(in[0], in[1], in[2], eps, running_mean, running_var);
                    });
                  backward(
                      b, stats, layout, false,
                      [&stats](long m, long C, const T*, const T* dy, const T* g, const double*, const double*, T* dx) {
                        kernels::table<T>().batch_norm_scale(m, C, dy, stats.view().inv_std, g, dx);
                      });
                });
}

#define XTGRAD_INSTANTIATE(T)                                                                                  \
  template Moments channel_moments(const Tensor<T>&);                                                          \
  template BatchNormResult<T> batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double);        \
  template Tensor<T> batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double, const Array<T>&, \
                                const Array<T>&);                                                              \
  template Tensor<T> reference::batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double);      \
  template Tensor<T> reference::batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double,       \
                                           const Array<T>&, const Array<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
