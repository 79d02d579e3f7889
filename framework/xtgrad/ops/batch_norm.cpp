#include "xtgrad/ops/batch_norm.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "xtgrad/kernels/table.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/fused.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/parallel.hpp"

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
  const std::size_t C = x.shape()[1], L = x.shape().size() == 3 ? x.shape()[2] : 1;
  Shape shape(x.shape().size(), 1);
  shape[1] = C;
  Array<T> first = full_array<T>(shape, T(0));
  for (std::size_t c = 0; x.size() > 0 && c < C; ++c) first.data()[c] = x.data()[c * L];
  return first;
}

// What is chosen is chosen before the division: without a branch after it, channels go through it side by side.
double inv_std_of(double var, double eps) {
  const double v = var + eps;
  return 1 / std::sqrt(v == 0 ? std::numeric_limits<double>::infinity() : v);
}

// That of a batch: NaN where finite values have a variance beyond the largest double; 0 would make y = beta of them.
double batch_inv_std(double var, double eps) { return inv_std_of(var, eps) + 0 * var; }

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

template <class T>
Tensor<T> batch_norm_dx(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& dy, double eps) {
  const Axes axes = x.shape().size() == 3 ? Axes{0, 2} : Axes{0};
  const Tensor<T> shifted = x - first_values(x);
  const Tensor<T> centred = shifted - mean(shifted, axes, {.keepdims = true});
  const Tensor<T> inv_std = inv_std_of(mean(centred * centred, axes, {.keepdims = true}), eps);
  const Tensor<T> xhat = centred * inv_std;
  const Tensor<T> slope = mean(dy * xhat, axes, {.keepdims = true});
  return affine(inv_std * (dy - mean(dy, axes, {.keepdims = true}) - xhat * slope), gamma, Tensor<T>());
}

}  // namespace reference

namespace {

// K numbers for each channel, as the rows of a (K, C) array: (mean, rest, inv_std) where nothing else is said.
struct ChannelRows {
  memory::Buffer<double> values;
  std::size_t C;

  explicit ChannelRows(std::size_t channels, std::size_t K = 3) : values(K * channels, 0), C(channels) {}
  double* row(std::size_t i) { return values.data() + i * C; }
  const double* row(std::size_t i) const { return values.data() + i * C; }
  kernels::Channels view() const { return {row(0), row(1), row(2)}; }
};

// Row i of such an array, (C), in T.
template <class T> Array<T> rounded(const ChannelRows& rows, std::size_t i) {
  Array<T> z = empty_array<T>({rows.C});
  std::transform(rows.row(i), rows.row(i) + z.size(), z.data(), [](double s) { return static_cast<T>(s); });
  return z;
}

template <class T> ChannelLayout checked(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta) {
  const ChannelLayout layout = channel_layout("batch_norm", x.shape());
  for (const auto& [name, t] : {std::pair("gamma", &gamma), std::pair("beta", &beta)})
    if (t->defined() && t->shape() != Shape{layout.C})
      fail("batch_norm: {} is {}, input {} expects ({},)", name, t->shape(), x.shape(), layout.C);
  return layout;
}

template <class T> const T* data_or_null(const Tensor<T>& t) { return t.defined() ? t.data() : nullptr; }

// How many rows a thread takes at a time: it depends on the shape alone, and so no sum on the number of threads.
std::size_t rows_of_a_part(const ChannelLayout& layout) {
  constexpr std::size_t kWorthAThread = 1U << 17, kFewest = 16, kMost = 64;  // values, those of a channel; parts
  const std::size_t group = layout.L == 1 ? 8 : 1;
  const std::size_t parts =
      std::min({layout.m() * layout.C / kWorthAThread, layout.m() / kFewest, layout.N / group, kMost});
  if (parts <= 1) return std::max<std::size_t>(layout.N, 1);
  return (layout.N + parts * group - 1) / (parts * group) * group;
}

// Calls body(extent) for all rows, `part` at a time, on threads.
template <class Body> void for_rows(const ChannelLayout& layout, std::size_t part, const Body& body) {
  const long N = static_cast<long>(layout.N), C = static_cast<long>(layout.C), L = static_cast<long>(layout.L);
  parallel_for(L == 0 ? 0 : N, static_cast<long>(part), [&](long first, long last) {
    body(kernels::Extent{N, C, L, first, last});
  });
}
template <class Body> void for_rows(const ChannelLayout& layout, const Body& body) {
  for_rows(layout, num_threads() == 1 ? layout.N : rows_of_a_part(layout), body);
}

// The two sums per channel that body(extent, a, b) leaves of parts of the rows, of all rows.
template <class Body> ChannelRows sum_rows(const ChannelLayout& layout, const Body& body) {
  const std::size_t part = rows_of_a_part(layout), parts = std::max<std::size_t>((layout.N + part - 1) / part, 1);
  ChannelRows sums(layout.C, 2 * parts);
  for_rows(layout, part, [&](kernels::Extent e) {
    double* const mine = sums.row(2 * (static_cast<std::size_t>(e.first) / part));
    body(e, mine, mine + e.C);
  });
  for (std::size_t p = 1; p < parts; ++p)
    for (std::size_t i = 0; i < 2 * layout.C; ++i) sums.row(0)[i] += sums.row(2 * p)[i];
  return sums;
}

// Fills mean and rest of `stats`, and returns the moments.
template <class T> Moments measure(const Tensor<T>& x, const ChannelLayout& layout, ChannelRows& stats) {
  Moments moments{layout.m(), full_array<double>({layout.C}, 0), full_array<double>({layout.C}, 0)};
  if (layout.m() == 0) return moments;
  const double m = static_cast<double>(layout.m());
  double *const mean = moments.mean.data(), *const m2 = moments.m2.data();
  double *const nearest = stats.row(0), *const rest = stats.row(1);
  // Fills them anew, from sums over x less what `stats` has for the mean.
  const auto improve = [&] {
    const ChannelRows sums = sum_rows(layout, [&](kernels::Extent e, double* sum, double* squares) {
      kernels::table<T>().batch_moments(e, x.data(), nearest, sum, squares);
    });
    const double *const sum = sums.row(0), *const squares = sums.row(1);
    for (std::size_t c = 0; c < layout.C; ++c) {
      if (std::is_same_v<T, double> && !std::isfinite(mean[c])) continue;  // there is nothing to improve
      const double from = nearest[c], offset = sum[c] / m, left = squares[c] - sum[c] * offset;
      mean[c] = from + offset;
      m2[c] = left < 0 ? 0 : left;  // NaN stays
      nearest[c] = static_cast<double>(static_cast<T>(from + offset));
      rest[c] = from - nearest[c] + offset;
    }
  };
  for (std::size_t c = 0; c < layout.C; ++c) nearest[c] = static_cast<double>(x.data()[c * layout.L]);
  improve();
  // For float that is exact enough. In double the sums may lose digits where the first value is far from the others: a
  // second pass takes the deviations from the mean itself, and corrects it (Chan, Golub and LeVeque 1983).
  if constexpr (std::is_same_v<T, double>) improve();
  return moments;
}

// y, for either kind of statistics.
template <class T>
Array<T> normalised(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, const ChannelRows& stats,
                    const ChannelLayout& layout) {
  Array<T> y = empty_array<T>(x.shape());
  for_rows(layout, [&](kernels::Extent e) {
    kernels::table<T>().batch_norm(e, x.data(), stats.view(), data_or_null(gamma), data_or_null(beta), y.data());
  });
  return y;
}

// What a forward pass leaves behind: the statistics, and whether the gradient flows through them.
template <class T> struct Saved {
  ChannelRows stats;
  ChannelLayout layout;
  double eps;
  bool batch;

  // S(dy), S(dy * xhat)
  ChannelRows sums(const Tensor<T>& x, const Tensor<T>& dy) const {
    return sum_rows(layout, [&](kernels::Extent e, double* plain, double* weighted) {
      kernels::table<T>().batch_norm_sums(e, x.data(), dy.data(), stats.view(), plain, weighted);
    });
  }
  // gamma * inv_std * (dy - mean(dy) - xhat * mean(dy * xhat)), or gamma * inv_std * dy
  Array<T> dx(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& dy, const ChannelRows& sums) const {
    if (!batch) {
      ChannelRows scale(layout.C);
      std::copy_n(stats.row(2), layout.C, scale.row(2));
      return normalised(dy, gamma, Tensor<T>(), scale, layout);
    }
    Array<T> d = empty_array<T>(x.shape());
    for_rows(layout, [&](kernels::Extent e) {
      kernels::table<T>().batch_norm_dx(e, x.data(), dy.data(), stats.view(), data_or_null(gamma), sums.row(0),
                                        sums.row(1), d.data());
    });
    return d;
  }
  // xhat in plain ops
  Tensor<T> xhat(const Tensor<T>& x) const {
    if (batch) return reference::batch_norm(x, Tensor<T>(), Tensor<T>(), eps);
    return (x - per_channel(Tensor<T>(rounded<T>(stats, 0)), x)) * per_channel(Tensor<T>(rounded<T>(stats, 2)), x);
  }
};

// The gradients with respect to x and gamma as ops of their own, so that their gradients, the second order, are closed
// forms, too. With ggx and ggg the gradients of dx and dgamma, xm = x - mu, s = inv_std, and S the sum of a channel:
//
//   to dy:    gamma s [ggx - S(ggx)/m - xm s^2 S(ggx xm)/m]    + ggg s xm
//   to gamma: s [S(ggx dy) - S(ggx) S(dy)/m - s^2 S(ggx xm) S(dy xm)/m]
//   to x:     gamma/m { xm s^3 [S(ggx) S(dy)/m - S(ggx dy) + 3 s^2 S(dy xm) S(ggx xm)/m]
//                       + s^3 S(ggx xm) [S(dy)/m - dy] + s^3 S(dy xm) [S(ggx)/m - ggx] }
//             + ggg s [dy - S(dy)/m - xm s^2 S(dy xm)/m]
//
// Running statistics leave gamma s ggx + ggg s xm, s S(ggx dy), and ggg s dy. Orders above take the reference.
template <class T>
Tensor<T> dx_op(const Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& dy) {
  return record("batch_norm_dx", saved.dx(x, gamma, dy, saved.sums(x, dy)), {&x, &gamma, &dy}, [saved](Backward<T>& b) {
    if (grad_enabled())
      return backward_by_reference(b, 3, [&](const std::vector<Tensor<T>>& in) {
        return saved.batch
                   ? reference::batch_norm_dx(in[0], in[1], in[2], saved.eps)
                   : affine(in[2] * per_channel(Tensor<T>(rounded<T>(saved.stats, 2)), in[2]), in[1], Tensor<T>());
      });
    const ChannelLayout& layout = saved.layout;
    const Tensor<T>&xs = b.input(0), &g = b.input(1), &ggx = b.dz();
    const ChannelRows of_ggx = saved.sums(xs, ggx);  // S(.), S(. xhat)
    if (b.needs(2)) b.add(2, saved.dx(xs, g, ggx, of_ggx));
    if (!b.needs(0) && !b.needs(1)) return;

    const ChannelRows of_dy = saved.sums(xs, b.input(2));
    // S(ggx dy): the sums of dy over an x of ggx, not normalised
    Saved<T> products{ChannelRows(layout.C), layout, 0, false};
    std::fill_n(products.stats.row(2), layout.C, 1.0);
    const ChannelRows of_both = products.sums(ggx, b.input(2));

    const double m = static_cast<double>(layout.m());
    ChannelRows d_gamma(layout.C, 1), k(layout.C, 5);
    for (std::size_t c = 0; c < layout.C && layout.m() > 0; ++c) {
      const double s = saved.stats.row(2)[c], A = of_ggx.row(0)[c], R = of_ggx.row(1)[c], B = of_dy.row(0)[c],
                   Q = of_dy.row(1)[c], P = of_both.row(1)[c];
      d_gamma.row(0)[c] = saved.batch ? s * (P - A * B / m - R * Q / m) : s * P;
      const double scale = (g.defined() ? static_cast<double>(g.data()[c]) : 1) * s * s / m;
      k.row(0)[c] = scale * s * (A * B / m - P + 3 * Q * R / m);
      k.row(1)[c] = -scale * R;
      k.row(2)[c] = -scale * Q;
      k.row(3)[c] = B / m;
      k.row(4)[c] = A / m;
    }
    if (b.needs(1)) b.add(1, rounded<T>(d_gamma, 0));
    if (!b.needs(0)) return;
    Array<T> d = full_array<T>(xs.shape(), T(0));
    if (saved.batch)
      for_rows(layout, [&](kernels::Extent e) {
        kernels::table<T>().batch_norm_ddx(e, xs.data(), b.input(2).data(), ggx.data(), saved.stats.view(),
                                           {k.row(0), k.row(1), k.row(2), k.row(3), k.row(4)}, d.data());
      });
    b.add(0, std::move(d));
  });
}

template <class T> Tensor<T> dgamma_op(const Saved<T>& saved, const Tensor<T>& x, const Tensor<T>& dy) {
  return record("batch_norm_dgamma", rounded<T>(saved.sums(x, dy), 1), {&x, &dy}, [saved](Backward<T>& b) {
    if (grad_enabled())
      return backward_by_reference(b, 2, [&](const std::vector<Tensor<T>>& in) {
        return sum(in[1] * saved.xhat(in[0]), in[0].shape().size() == 3 ? Axes{0, 2} : Axes{0});
      });
    const Tensor<T>&x_ = b.input(0), &dy_ = b.input(1), &ggg = b.dz();
    if (b.needs(0)) b.add(0, saved.dx(x_, ggg, dy_, saved.sums(x_, dy_)));
    if (b.needs(1)) b.add(1, normalised(x_, ggg, Tensor<T>(), saved.stats, saved.layout));
  });
}

template <class T> void backward(Backward<T>& b, const Saved<T>& saved) {
  const Tensor<T>&x = b.input(0), &gamma = b.input(1), &dy = b.dz();
  if (grad_enabled()) {
    if (b.needs(0)) b.add(0, dx_op(saved, x, gamma, dy));
    if (b.needs(1)) b.add(1, dgamma_op(saved, x, dy));
    if (b.needs(2)) b.add(2, sum(dy, x.shape().size() == 3 ? Axes{0, 2} : Axes{0}));
    return;
  }
  const bool wanted = b.needs(1) || b.needs(2) || saved.batch;
  const ChannelRows sums = wanted ? saved.sums(x, dy) : ChannelRows(saved.layout.C, 2);
  if (b.needs(0)) b.add(0, saved.dx(x, gamma, dy, sums));
  if (b.needs(1)) b.add(1, rounded<T>(sums, 1));
  if (b.needs(2)) b.add(2, rounded<T>(sums, 0));
}

// Of either kind of statistics: y, with its backward.
template <class T>
Tensor<T> normalise(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, Saved<T>&& saved) {
  Array<T> y = normalised(x, gamma, beta, saved.stats, saved.layout);
  return record("batch_norm", std::move(y), {&x, &gamma, &beta},
                [saved = std::move(saved)](Backward<T>& b) { backward(b, saved); });
}

}  // namespace

ChannelLayout channel_layout(const char* who, const Shape& shape) {
  if (shape.size() != 2 && shape.size() != 3) fail("{}: input is {}, expected (N, C) or (N, C, L)", who, shape);
  return {shape[0], shape[1], shape.size() == 3 ? shape[2] : 1};
}

void Moments::merge(const Moments& other) {
  if (other.count == 0) return;
  if (count == 0) return static_cast<void>(*this = other);
  check(mean.size() == other.mean.size(), "Moments: {} channels and {}", mean.size(), other.mean.size());
  const double n = static_cast<double>(count), k = static_cast<double>(other.count);
  for (std::size_t c = 0; c < mean.size(); ++c) {
    const double apart = other.mean(c) - mean(c);
    mean(c) += apart * k / (n + k);
    m2(c) += other.m2(c) + apart * apart * n * k / (n + k);
  }
  count += other.count;
}

template <class T> Moments channel_moments(const Tensor<T>& x) {
  const ChannelLayout layout = channel_layout("channel_moments", x.shape());
  ChannelRows stats(layout.C);
  return measure(x, layout, stats);
}

template <class T>
BatchNormResult<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps) {
  const ChannelLayout layout = checked(x, gamma, beta);
  if (layout.m() == 1)
    fail("batch_norm: needs more than one value per channel with batch statistics, got input {}", x.shape());
  Saved<T> saved{ChannelRows(layout.C), layout, eps, true};
  Moments batch = measure(x, layout, saved.stats);
  std::transform(batch.m2.data(), batch.m2.data() + layout.C, saved.stats.row(2),
                 [eps, m = static_cast<double>(layout.m())](double m2) { return batch_inv_std(m2 / m, eps); });
  return {normalise(x, gamma, beta, std::move(saved)), std::move(batch)};
}

template <class T>
Tensor<T> batch_norm(const Tensor<T>& x, const Tensor<T>& gamma, const Tensor<T>& beta, double eps,
                     const Array<T>& running_mean, const Array<T>& running_var) {
  const ChannelLayout layout = checked(x, gamma, beta);
  for (const Array<T>* statistic : {&running_mean, &running_var})
    if (statistic->shape() != Shape{layout.C})
      fail("batch_norm: a running statistic is {}, input {} expects ({},)", statistic->shape(), x.shape(), layout.C);
  Saved<T> saved{ChannelRows(layout.C), layout, eps, false};
  for (std::size_t c = 0; c < layout.C; ++c) {
    saved.stats.row(0)[c] = static_cast<double>(running_mean(c));
    saved.stats.row(2)[c] = inv_std_of(static_cast<double>(running_var(c)), eps);
  }
  return normalise(x, gamma, beta, std::move(saved));
}

#define XTGRAD_INSTANTIATE(T)                                                                                  \
  template Moments channel_moments(const Tensor<T>&);                                                          \
  template BatchNormResult<T> batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double);        \
  template Tensor<T> batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double, const Array<T>&, \
                                const Array<T>&);                                                              \
  template Tensor<T> reference::batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double);      \
  template Tensor<T> reference::batch_norm_dx(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double);   \
  template Tensor<T> reference::batch_norm(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&, double,       \
                                           const Array<T>&, const Array<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
