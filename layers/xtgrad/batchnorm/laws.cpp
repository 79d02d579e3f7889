#include "xtgrad/batchnorm/laws.hpp"

#include <algorithm>
#include <cmath>

#include "xtgrad/autograd.hpp"
#include "xtgrad/batchnorm/layers.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/inspect/derivatives.hpp"
#include "xtgrad/layers/linear.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {
namespace {

// What went through a layer: its input, the gradient of its output, and the Linear that its input comes from.
template <class T> struct Passage {
  std::string layer;
  BatchNorm1d<T>* bn = nullptr;
  Tensor<T> x = {}, dy = {};
  Linear<T>* linear = nullptr;
  Tensor<T> dweight = {}, dbias = {};
};

template <class T> std::vector<Passage<T>> observe(Module<T>& net, const Batch<T>& batch) {
  std::vector<Passage<T>> passages;
  ScopedHooks<T> hooks;
  const NormaliseWith<T> guard(net, Statistics::batch);
  const KeepGenerator keep;

  Linear<T>* last_linear = nullptr;
  Tensor<T> last_output;
  std::vector<Tensor<T>> wanted;               // what the loss is differentiated with respect to,
  std::vector<Tensor<T> Passage<T>::*> where;  // and the member of the passage of the same turn that it goes to
  std::vector<std::size_t> turn;
  const auto want = [&](const Tensor<T>& t, Tensor<T> Passage<T>::*member) {
    if (!t.requires_grad()) return;
    wanted.push_back(t);
    where.push_back(member);
    turn.push_back(passages.size() - 1);
  };
  for (const auto& [name, module] : net.named_modules())
    if (auto* linear = dynamic_cast<Linear<T>*>(module))
      hooks.add(*module, [&, linear](Module<T>&, const Tensor<T>&, Tensor<T>& y) {
        last_linear = linear;
        last_output = y;
      });
  for (const auto& layer : batch_norm_layers(net))
    hooks.add(*layer.second, [&, layer](Module<T>&, const Tensor<T>& x, Tensor<T>& y) {
      const bool fed = last_output.defined() && &last_output.node() == &x.node();
      passages.push_back({.layer = layer.first, .bn = layer.second, .x = x, .linear = fed ? last_linear : nullptr});
      want(y, &Passage<T>::dy);
      if (!fed) return;
      want(last_linear->weight(), &Passage<T>::dweight);
      want(last_linear->bias(), &Passage<T>::dbias);
    });
  Tensor<T> x(Array<T>(batch.x.value()));
  const Tensor<T> loss = cross_entropy(net(x.requires_grad(true)), batch.y);  // fills `wanted`
  const auto gradients = grad(loss, wanted);
  for (std::size_t i = 0; i < wanted.size(); ++i) passages[turn[i]].*where[i] = gradients[i];
  return passages;
}

// The values of one channel, and what the closed forms need of it.
struct Channel {
  std::vector<double> xhat = {}, dy = {}, dx = {};
  double gamma, s, leak;          // leak: eps / (var + eps)
  double S = 0, Q = 0, N = 0, m;  // S(dy), S(dy xhat), S(dy^2)

  double scale() const { return gamma * s; }
  double squared_norm_of_dx() const { return scale() * scale() * (N - S * S / m - (1 + leak) * Q * Q / m); }
};

// The channels of a passage; dx is the gradient that the layer's own op gives for its input and dy.
template <class T>
std::vector<Channel> channels(const Tensor<T>& x, const Tensor<T>& dy, BatchNorm1d<T>& bn, double scale_of_x = 1) {
  Tensor<T> input = x.detach() * static_cast<T>(scale_of_x);
  input.requires_grad(true);
  const double eps = bn.options().eps;
  const BatchNormResult<T> result = batch_norm(input, bn.gamma(), bn.beta(), eps);
  const Tensor<T> dx = grad(result.y, {input}, {.seed = dy})[0];
  const ChannelLayout layout = channel_layout("batch_norm_laws", x.shape());
  std::vector<Channel> all;
  for (std::size_t c = 0; c < layout.C; ++c) {
    const double m = static_cast<double>(layout.m()), var = result.batch.m2(c) / m;
    Channel ch{.gamma = bn.gamma().defined() ? static_cast<double>(bn.gamma().data()[c]) : 1,
               .s = var + eps == 0 ? 0 : 1 / std::sqrt(var + eps),
               .leak = var + eps == 0 ? 1 : eps / (var + eps),
               .m = m};
    for (std::size_t n = 0; n < layout.N; ++n)
      for (std::size_t l = 0; l < layout.L; ++l) {
        const std::size_t i = (n * layout.C + c) * layout.L + l;
        ch.xhat.push_back((static_cast<double>(input.data()[i]) - result.batch.mean(c)) * ch.s);
        ch.dy.push_back(static_cast<double>(dy.data()[i]));
        ch.dx.push_back(static_cast<double>(dx.data()[i]));
        ch.S += ch.dy.back();
        ch.Q += ch.dy.back() * ch.xhat.back();
        ch.N += ch.dy.back() * ch.dy.back();
      }
    all.push_back(std::move(ch));
  }
  return all;
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// Collects (predicted, measured, scale) channel by channel; the law's numbers are 2-norms over the channels.
struct Comparison {
  double predicted = 0, measured = 0, difference = 0, scale = 0;

  void add(double p, double q, double unit) {
    predicted += p * p;
    measured += q * q;
    difference += (p - q) * (p - q);
    scale += unit * unit;
  }
  Law law(const std::string& layer, const char* statement) const {
    const double unit = scale > 0 ? std::sqrt(scale) : 1;
    return {layer, statement, std::sqrt(predicted) / unit, std::sqrt(measured) / unit, std::sqrt(difference) / unit};
  }
};

template <class T> void add_laws(const Passage<T>& p, std::vector<Law>& laws) {
  BatchNorm1d<T>& bn = *p.bn;
  const std::vector<Channel> all = channels(p.x, p.dy, bn);
  Comparison sums, along, norms;
  for (const Channel& ch : all) {
    double sum = 0, magnitude = 0;
    for (const double d : ch.dx) {
      sum += d;
      magnitude += std::abs(d);
    }
    sums.add(0, sum, magnitude);
    along.add(ch.scale() * ch.Q * ch.leak, dot(ch.dx, ch.xhat), ch.scale() * ch.Q);
    norms.add(ch.squared_norm_of_dx(), dot(ch.dx, ch.dx), ch.scale() * ch.scale() * ch.N);
  }
  laws.push_back(sums.law(p.layer, "sum(dx) = 0, to sum|dx|"));
  laws.push_back(along.law(p.layer, "sum(dx xhat) = gamma s S(dy xhat) d, to its size without d"));
  laws.push_back(
      norms.law(p.layer, "|dx|^2 = (gamma s)^2 (|dy|^2 - S(dy)^2/m - (1+d) S(dy xhat)^2/m), to (gamma s |dy|)^2"));

  // The Jacobian of the first channel: m - 2 singular values gamma s, one gamma s d, one 0.
  {
    const ChannelLayout layout = channel_layout("batch_norm_laws", p.x.shape());
    const std::size_t m = std::min<std::size_t>(layout.m(), 32);
    Array<double> values = empty_array<double>({m, 1});
    for (std::size_t i = 0; i < m; ++i)
      values(i, 0) = static_cast<double>(p.x.data()[(i / layout.L * layout.C) * layout.L + i % layout.L]);
    Tensor<double> x(std::move(values));
    const BatchNormResult<double> result =
        batch_norm(x.requires_grad(true), Tensor<double>(), Tensor<double>(), bn.options().eps);
    const Tensor<double> J = jacobian(result.y, x);
    const double var = result.batch.m2(0) / static_cast<double>(m), v = var + bn.options().eps;
    const double leak = v == 0 ? 1 : bn.options().eps / v, count = static_cast<double>(m) - 2;
    double squares = 0;
    for (const double j : J.value().storage()) squares += j * j * v;
    Comparison rank;
    rank.add(count + leak * leak, squares, count);
    laws.push_back(rank.law(p.layer, "rank of the Jacobian of a channel = m - 2 (+ d^2), to m - 2"));
  }

  // Twice the weights: the same output, half the gradient, but for eps.
  constexpr double a = 2;
  const std::vector<Channel> scaled = channels(p.x, p.dy, bn, a);
  Comparison outputs, gradients;
  for (std::size_t c = 0; c < all.size(); ++c) {
    const Channel &one = all[c], &two = scaled[c];
    const double r = one.s > 0 ? a * two.s / one.s : 1, q = one.Q / one.m;
    double out = 0, out_predicted = 0, g = 0, norm = 0;
    std::vector<double> expected;
    for (std::size_t i = 0; i < one.xhat.size(); ++i) {
      out += std::pow(two.xhat[i] - one.xhat[i], 2);
      out_predicted += std::pow((r - 1) * one.xhat[i], 2);
      const double centred = one.dy[i] - one.S / one.m;
      g += std::pow(a * two.dx[i] - one.dx[i], 2);
      norm += std::pow(one.scale() * ((r - 1) * centred - (r * r * r - 1) * one.xhat[i] * q), 2);
    }
    outputs.add(one.gamma * std::sqrt(out_predicted), one.gamma * std::sqrt(out),
                one.gamma * std::sqrt(dot(one.xhat, one.xhat)));
    gradients.add(std::sqrt(norm), std::sqrt(g), std::sqrt(dot(one.dx, one.dx)));
  }
  laws.push_back(outputs.law(p.layer, "BN(2 x) = BN(x), to |BN(x) - beta|"));
  laws.push_back(gradients.law(p.layer, "2 dx at 2 x = dx at x, to |dx|"));

  // Two rows only: xhat is +-1, and nothing is left but what eps lets through.
  if (p.x.shape().size() == 2) {
    Comparison dead;
    for (const Channel& ch : channels(slice(p.x.detach(), 0, 0, 2), slice(p.dy.detach(), 0, 0, 2), bn))
      dead.add(ch.squared_norm_of_dx(), dot(ch.dx, ch.dx), ch.scale() * ch.scale() * ch.N);
    laws.push_back(dead.law(p.layer, "m = 2: |dx|^2 = 0 but for eps, to (gamma s |dy|)^2"));
  }

  if (p.dweight.defined()) {
    // W . dW = S(dx z) = S(dx (z - mu)) = gamma S(dy xhat) d for each row of W
    Comparison radial;
    const std::size_t I = p.dweight.shape()[1];
    for (std::size_t c = 0; c < all.size(); ++c) {
      std::vector<double> w, dw;
      for (std::size_t i = c * I; i < (c + 1) * I; ++i) {
        w.push_back(static_cast<double>(p.linear->weight().data()[i]));
        dw.push_back(static_cast<double>(p.dweight.data()[i]));
      }
      radial.add(all[c].gamma * all[c].Q * all[c].leak, dot(w, dw), std::sqrt(dot(w, w) * dot(dw, dw)));
    }
    laws.push_back(radial.law(p.layer, "W . dW = gamma S(dy xhat) d per row, to |W| |dW|"));
  }
  if (p.dbias.defined()) {
    Comparison dead;
    for (std::size_t c = 0; c < all.size(); ++c) {
      double magnitude = 0;
      for (const double d : all[c].dx) magnitude += std::abs(d);
      dead.add(0, static_cast<double>(p.dbias.data()[c]), magnitude);
    }
    laws.push_back(dead.law(p.layer, "the gradient of the bias before it = 0, to sum|dx|"));
  }
}

}  // namespace

template <class T> std::vector<Law> batch_norm_laws(Module<T>& net, const Batch<T>& batch) {
  std::vector<Law> laws;
  for (const Passage<T>& passage : observe(net, batch)) {
    const std::size_t m = channel_layout("batch_norm_laws", passage.x.shape()).m();
    check(m >= 3, "batch_norm_laws: {} values per channel in {}, expected 3 or more", m, passage.layer);
    add_laws(passage, laws);
  }
  return laws;
}

template std::vector<Law> batch_norm_laws(Module<float>&, const Batch<float>&);
template std::vector<Law> batch_norm_laws(Module<double>&, const Batch<double>&);

}  // namespace xtgrad
