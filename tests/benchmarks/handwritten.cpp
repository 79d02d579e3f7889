// The floor: what the cases cost without autograd, as loops over registers of floats, and products by OpenBLAS or by the
// library's kernel, whichever is faster.
//
// Nothing is allocated in a step, gradients are overwritten, and what can be done in one pass over memory is. A bias
// before a BatchNorm1d only moves the running mean, so that only that is given it. Weights lie as (inputs, outputs), whose
// product with the inputs is faster than that with their transpose. Rows of activations lie an odd number
// of cache lines apart, so that a column of them does not fall into one set of the cache, and are padded with zeros to
// whole registers, so that loops over them have no rest. With threads, each does its share of every product and loop.
#include <cblas.h>
#include <omp.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include <xtgrad/kernels/table.hpp>
#include "side.hpp"

namespace {

using benchmarks::Network;
using benchmarks::Normalisation;
using benchmarks::Start;

#ifdef __AVX512F__
constexpr long kLanes = 16;  // floats to a register
#else
constexpr long kLanes = 8;
#endif
constexpr long kLine = 16;  // floats to a cache line
using Vector = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));
using Whole = std::int32_t __attribute__((vector_size(kLanes * sizeof(float))));

// Loops over channels work on V, a register of them or one.
template <class V> constexpr long width = sizeof(V) / sizeof(float);
template <class V = Vector> const V& at(const float* p) { return *reinterpret_cast<const V*>(p); }
template <class V = Vector> V& at(float* p) { return *reinterpret_cast<V*>(p); }
template <class V = Vector> V splat(float x) { return x - V{}; }
template <class V> V max(V a, V b) { return a > b ? a : b; }

float sqrt(float x) { return std::sqrt(x); }
Vector sqrt(Vector x) {
#if defined(__AVX512F__)
  return _mm512_sqrt_ps(x);
#elif defined(__AVX2__)
  return _mm256_sqrt_ps(x);
#else
  for (long i = 0; i < kLanes; ++i) x[i] = std::sqrt(x[i]);
  return x;
#endif
}

// e^x = 2^n e^r with |r| <= log(2) / 2: the polynomial of Cephes.
Vector exp(Vector x) {
  x = max(x < 88.0F ? x : splat(88), splat(-87));
  const Vector n = __builtin_convertvector(
      __builtin_convertvector(x * 1.44269504F + (x < 0.0F ? splat(-0.5F) : splat(0.5F)), Whole), Vector);
  const Vector r = x - n * 0.693359375F + n * 2.12194440e-4F;
  Vector p = splat(1.9875691500e-4F);
  for (const float c : {1.3981999507e-3F, 8.3334519073e-3F, 4.1665795894e-2F, 1.6666665459e-1F, 5.0000001201e-1F})
    p = p * r + c;
  const Whole power = (__builtin_convertvector(n, Whole) + 127) << 23;
  return (p * r * r + r + 1.0F) * reinterpret_cast<const Vector&>(power);
}

long round_up(long n, long to) { return (n + to - 1) / to * to; }
// The distance of rows of n floats: an odd number of cache lines.
long stride_of(long n) { return (round_up(n, kLine) / kLine | 1) * kLine; }

// Aligned floats, zero at first.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(long n)
      : data_(static_cast<float*>(::operator new(static_cast<std::size_t>(n) * sizeof(float), std::align_val_t(64)))) {
    std::fill_n(data_.get(), n, 0.0F);
  }
  operator float*() const { return data_.get(); }  // NOLINT: it is one

 private:
  struct Delete {
    void operator()(float* p) const { ::operator delete(p, std::align_val_t(64)); }
  };
  std::unique_ptr<float, Delete> data_;
};

int threads = 1;

// One of the threads that go through a step together.
struct Member {
  int index = 0, count = 1;

  // This member's share of 0 .. n-1, in multiples of `grain`.
  std::pair<long, long> share(long n, long grain = kLanes) const {
    const long grains = (n + grain - 1) / grain;
    return {std::min(n, grains * index / count * grain), std::min(n, grains * (index + 1) / count * grain)};
  }
  void wait() const {
    if (count > 1) {
#pragma omp barrier
    }
  }
};

template <class F> void together(bool worthwhile, F body) {
  if (!worthwhile || threads == 1) return body(Member());
#pragma omp parallel num_threads(threads)
  body(Member{omp_get_thread_num(), omp_get_num_threads()});
}

// C (M, N) = op(A) op(B); the rows of C are shared.
void product(const Member& member, CBLAS_TRANSPOSE a, CBLAS_TRANSPOSE b, long M, long N, long K, const float* A,
             long lda, const float* B, long ldb, float* C, long ldc) {
  const auto [first, last] = member.share(M);
  if (first == last) return;
  const float* const left = A + first * (a == CblasNoTrans ? lda : 1);
  float* const to = C + first * ldc;
  const long rows = last - first;
  const auto& kernels = xtgrad::kernels::table<float>();
  if (rows * N * K > 1 << 20 && kernels.matmul_pays(a == CblasTrans, b == CblasTrans, rows, N, K)) {
    thread_local std::vector<float> copies;
    const auto room = static_cast<std::size_t>(kernels.matmul_copies(a == CblasTrans, rows, K));
    if (copies.size() < room) copies.resize(room);
    kernels.matmul(a == CblasTrans, b == CblasTrans, rows, N, K, left, lda, B, ldb, nullptr, to, ldc,
                   room > 0 ? copies.data() : nullptr);
  } else
    cblas_sgemm(CblasRowMajor, a, b, static_cast<int>(rows), static_cast<int>(N), static_cast<int>(K), 1, left,
                static_cast<int>(lda), B, static_cast<int>(ldb), 0, to, static_cast<int>(ldc));
}

// What BatchNorm1d keeps per channel: its state, and what forward leaves for backward.
struct ChannelState {
  float *running_mean, *running_var, *mean, *inv_std;
};

// The first of m values of some channels; the sums of all minus that, and of their squares.
template <class V> struct Moments { V shift, sum, squares; };

template <class V>
void take_statistics(const Moments<V>& moments, float m, const ChannelState& state, long c, const V& bias) {
  const V offset = moments.sum / m, mean = moments.shift + offset;
  const V deviations = max(moments.squares - moments.sum * offset, V{});
  constexpr float kNew = benchmarks::kRunning;
  at<V>(state.mean + c) = mean;
  at<V>(state.inv_std + c) = 1.0F / sqrt(deviations / m + static_cast<float>(benchmarks::kEps));
  at<V>(state.running_mean + c) += kNew * (mean + bias - at<V>(state.running_mean + c));
  at<V>(state.running_var + c) += kNew * (deviations / (m - 1) - at<V>(state.running_var + c));
}

// dx = gamma inv_std (dy - d_beta / m - xhat d_gamma / m) = a dy + b x + e
template <class V> struct Slope {
  V a, b, e;

  Slope(const V& gamma, const V& inv_std, const V& mean, const V& d_beta, const V& d_gamma, float m)
      : a(gamma * inv_std), b(-a * inv_std * d_gamma / m), e(-a * d_beta / m - b * mean) {}
  V operator()(const V& dy, const V& x) const { return a * dy + (b * x + e); }
};

template <bool Sigmoid> Vector activation(Vector x) {
  if constexpr (Sigmoid)
    return 1.0F / (1.0F + exp(-x));
  else
    return max(x, splat(0));
}

// Rows of outputs are padded with zeros to whole registers, and lie `stride` apart.
struct Layer {
  long inputs, outputs, padded, stride;
  float *weight, *bias, *gamma, *beta;  // among the network's parameters; the last layer does not use gamma and beta
  float *d_weight, *d_bias, *d_gamma, *d_beta;
  Buffer running_mean, running_var, mean, inv_std;
  Buffer z, h;  // the product, before the bias, and the activation
  Buffer d;     // gradient of h, then of z

  ChannelState state() const { return {running_mean, running_var, mean, inv_std}; }
};

class Net {
 public:
  explicit Net(const Network& network)
      : start_(network),
        N(static_cast<long>(network.batch)),
        sigmoid_(network.activation == benchmarks::Activation::sigmoid),
        adam_(network.optimizer == benchmarks::Optimizer::adam) {
    long largest = 0;
    for (std::size_t l = 1; l < network.widths.size(); ++l) {
      Layer layer{};
      layer.inputs = static_cast<long>(network.widths[l - 1]);
      layer.outputs = static_cast<long>(network.widths[l]);
      layer.padded = round_up(layer.outputs, kLanes);
      layer.stride = stride_of(layer.outputs);
      size_ += round_up(layer.inputs * layer.outputs, kLanes) + 3 * layer.padded;
      largest = std::max(largest, layer.inputs * layer.outputs);
      layers_.push_back(std::move(layer));
    }
    for (Buffer* b : {&parameters_, &gradients_, &first_moment_, &second_moment_}) *b = Buffer(size_);
    long used = 0;
    const auto place = [&](float*& value, float*& gradient, long n) {
      value = parameters_ + used;
      gradient = gradients_ + used;
      used += round_up(n, kLanes);
    };
    for (std::size_t l = 0; l < layers_.size(); ++l) {
      Layer& layer = layers_[l];
      place(layer.weight, layer.d_weight, layer.inputs * layer.outputs);
      place(layer.bias, layer.d_bias, layer.outputs);
      place(layer.gamma, layer.d_gamma, layer.outputs);
      place(layer.beta, layer.d_beta, layer.outputs);
      const auto& weight = start_.layers[l].weight;
      std::copy(weight.begin(), weight.end(), layer.weight);
      if (l + 1 < layers_.size())
        for (long i = 0; i < layer.inputs; ++i)
          for (long o = 0; o < layer.outputs; ++o)
            layer.weight[i * layer.outputs + o] = weight[static_cast<std::size_t>(o * layer.inputs + i)];
      std::copy(start_.layers[l].bias.begin(), start_.layers[l].bias.end(), layer.bias);
      std::fill_n(layer.gamma, layer.outputs, 1.0F);
      for (Buffer* b : {&layer.running_mean, &layer.running_var, &layer.mean, &layer.inv_std})
        *b = Buffer(layer.padded);
      std::fill_n(static_cast<float*>(layer.running_var), layer.outputs, 1.0F);
      for (Buffer* b : {&layer.z, &layer.h, &layer.d}) *b = Buffer(N * layer.stride);
    }
    // The last layer's values and weights are transposed, classes by rows: the softmax then runs over rows, a register of them at
    // a time.
    Layer& last = layers_.back();
    last.stride = stride_of(N);
    for (Buffer* b : {&last.z, &last.d}) *b = Buffer(last.outputs * last.stride);
    for (Buffer& labels : labels_) labels = Buffer(last.stride);
    for (int i = 0; i < 2; ++i)
      for (long n = 0; n < N; ++n) labels_[i][n] = static_cast<float>(start_.labels[i][static_cast<std::size_t>(n)]);
    losses_ = Buffer(last.stride);
    worthwhile_ = N * largest > 4000000;
  }

  float step() {
    ++steps_;
    together(worthwhile_, [&](const Member& member) {
      sigmoid_ ? pass<true>(member) : pass<false>(member);
      adam_ ? adam(member) : sgd(member);
    });
    float loss = 0;
    for (long n = 0; n < N; ++n) loss += losses_[n];
    return loss / static_cast<float>(N);
  }

  /// Logits (N, C), in eval mode; the mean of their sizes.
  void forward() {
    together(worthwhile_, [&](const Member& member) { sigmoid_ ? infer<true>(member) : infer<false>(member); });
  }
  double mean_size() const {
    const Layer& last = layers_.back();
    double sum = 0;
    for (long c = 0; c < last.outputs; ++c)
      for (long n = 0; n < N; ++n) sum += static_cast<double>(std::abs(last.z[c * last.stride + n]));
    return sum / static_cast<double>(N * last.outputs);
  }

 private:
  const float* input(std::size_t l) const { return l == 0 ? start_.x.data() : layers_[l - 1].h; }
  long input_stride(std::size_t l) const { return l == 0 ? layers_[0].inputs : layers_[l - 1].stride; }

  void multiply(const Member& member, std::size_t l) {
    const Layer& layer = layers_[l];
    if (l + 1 < layers_.size())
      product(member, CblasNoTrans, CblasNoTrans, N, layer.outputs, layer.inputs, input(l), input_stride(l),
              layer.weight, layer.outputs, layer.z, layer.stride);
    else if (member.index == 0)
      product({}, CblasNoTrans, CblasTrans, layer.outputs, N, layer.inputs, layer.weight, layer.inputs, input(l),
              input_stride(l), layer.z, layer.stride);
    member.wait();
  }

  template <bool Sigmoid> void pass(const Member& member) {
    for (std::size_t l = 0; l + 1 < layers_.size(); ++l) {
      multiply(member, l);
      const Layer& layer = layers_[l];
      const auto [first, last] = member.share(layer.padded);
      for (long c = first; c < last; c += kLanes) {
        const Vector origin = at(layer.z + c);
        Vector sums[2] = {}, squares[2] = {};
        for (long n = 0; n < N; ++n) {
          const Vector d = at(layer.z + n * layer.stride + c) - origin;
          sums[n % 2] += d;
          squares[n % 2] += d * d;
        }
        take_statistics<Vector>({origin, sums[0] + sums[1], squares[0] + squares[1]}, static_cast<float>(N),
                                layer.state(), c, at(layer.bias + c));
        const Vector scale = at(layer.gamma + c) * at(layer.inv_std + c);
        const Vector shift = at(layer.beta + c) - at(layer.mean + c) * scale;
        for (long n = 0; n < N; ++n)
          at(layer.h + n * layer.stride + c) = activation<Sigmoid>(at(layer.z + n * layer.stride + c) * scale + shift);
      }
      member.wait();
    }
    multiply(member, layers_.size() - 1);
    if (member.index == 0) softmax_cross_entropy();
    member.wait();
    for (std::size_t l = layers_.size(); l-- > 0;) {
      const Layer& layer = layers_[l];
      const bool is_last = l + 1 == layers_.size();
      if (l > 0)
        product(member, is_last ? CblasTrans : CblasNoTrans, is_last ? CblasNoTrans : CblasTrans, N, layer.inputs,
                layer.outputs, layer.d, layer.stride, layer.weight, is_last ? layer.inputs : layer.outputs,
                layers_[l - 1].d, layers_[l - 1].stride);
      if (is_last)
        product(member, CblasNoTrans, CblasNoTrans, layer.outputs, layer.inputs, N, layer.d, layer.stride, input(l),
                input_stride(l), layer.d_weight, layer.inputs);
      else
        product(member, CblasTrans, CblasNoTrans, layer.inputs, layer.outputs, N, input(l), input_stride(l), layer.d,
                layer.stride, layer.d_weight, layer.outputs);
      member.wait();
      if (l > 0) {
        normalise_backward<Sigmoid>(member, layers_[l - 1]);
        member.wait();
      }
    }
  }

  template <bool Sigmoid> void normalise_backward(const Member& member, const Layer& layer) {
    const auto [first, last] = member.share(layer.padded);
    for (long c = first; c < last; c += kLanes) {
      const Vector inv_std = at(layer.inv_std + c), minus_mean = -at(layer.mean + c) * inv_std;
      const Vector gamma = at(layer.gamma + c), beta = at(layer.beta + c);
      Vector sums[2] = {}, products[2] = {};
      for (long n = 0; n < N; ++n) {
        const long i = n * layer.stride + c;
        const Vector xhat = at(layer.z + i) * inv_std + minus_mean;
        Vector d = at(layer.d + i);
        if constexpr (Sigmoid) {
          const Vector h = at(layer.h + i);
          d *= h - h * h;
        } else {
          d = xhat * gamma + beta > 0.0F ? d : splat(0);
        }
        at(layer.d + i) = d;
        sums[n % 2] += d;
        products[n % 2] += d * xhat;
      }
      const Vector sum = sums[0] + sums[1], product = products[0] + products[1];
      at(layer.d_beta + c) = sum;
      at(layer.d_gamma + c) = product;
      const Slope<Vector> slope(gamma, inv_std, at(layer.mean + c), sum, product, static_cast<float>(N));
      Vector d_bias[2] = {};
      for (long n = 0; n < N; ++n) {
        const long i = n * layer.stride + c;
        const Vector dz = slope(at(layer.d + i), at(layer.z + i));
        at(layer.d + i) = dz;
        d_bias[n % 2] += dz;
      }
      at(layer.d_bias + c) = d_bias[0] + d_bias[1];
    }
  }

  void softmax_cross_entropy() {
    const Layer& layer = layers_.back();
    const float* labels = labels_[(steps_ - 1) % 2];
    for (long c = 0; c < layer.outputs; ++c) layer.d_bias[c] = 0;
    for (long first = 0; first < N; first += kLanes) {
      Vector largest = splat(-1e30F), sum{}, of_label{};
      const Vector label = at(labels + first);
      for (long c = 0; c < layer.outputs; ++c) {
        Vector& z = at(layer.z + c * layer.stride + first);
        z += layer.bias[c];
        largest = max(largest, z);
      }
      for (long c = 0; c < layer.outputs; ++c) {
        const long i = c * layer.stride + first;
        const Vector shifted = at(layer.z + i) - largest, e = exp(shifted);
        of_label = label == static_cast<float>(c) ? shifted : of_label;
        at(layer.d + i) = e;
        sum += e;
      }
      Vector log_sum = sum;
      for (long k = 0; k < kLanes; ++k) log_sum[k] = std::log(log_sum[k]);
      at(losses_ + first) = log_sum - of_label;
      // Rows beyond N have no gradient.
      Vector weight{};
      for (long k = 0; k < std::min(kLanes, N - first); ++k) weight[k] = 1 / static_cast<float>(N);
      const Vector scale = weight / sum;
      for (long c = 0; c < layer.outputs; ++c) {
        Vector& d = at(layer.d + c * layer.stride + first);
        d = d * scale - (label == static_cast<float>(c) ? weight : splat(0));
        for (long k = 0; k < kLanes; ++k) layer.d_bias[c] += d[k];
      }
    }
  }

  template <bool Sigmoid> void infer(const Member& member) {
    for (std::size_t l = 0; l + 1 < layers_.size(); ++l) {
      multiply(member, l);
      const Layer& layer = layers_[l];
      const auto [first, last] = member.share(layer.padded);
      for (long c = first; c < last; c += kLanes) {
        const Vector scale =
            at(layer.gamma + c) / sqrt(at(layer.running_var + c) + static_cast<float>(benchmarks::kEps));
        const Vector shift = at(layer.beta + c) + (at(layer.bias + c) - at(layer.running_mean + c)) * scale;
        for (long n = 0; n < N; ++n)
          at(layer.h + n * layer.stride + c) = activation<Sigmoid>(at(layer.z + n * layer.stride + c) * scale + shift);
      }
      member.wait();
    }
    multiply(member, layers_.size() - 1);
    const Layer& layer = layers_.back();
    if (member.index == 0)
      for (long c = 0; c < layer.outputs; ++c)
        for (long n = 0; n < N; ++n) layer.z[c * layer.stride + n] += layer.bias[c];
  }

  void sgd(const Member& member) {
    constexpr float kRate = benchmarks::kSgdRate, kMomentum = benchmarks::kMomentum;
    const auto [first, last] = member.share(size_);
    for (long i = first; i < last; i += kLanes) {
      const Vector v = at(first_moment_ + i) * kMomentum + at(gradients_ + i);
      at(first_moment_ + i) = v;
      at(parameters_ + i) -= kRate * v;
    }
  }

  void adam(const Member& member) {
    constexpr float kBeta1 = 0.9F, kBeta2 = 0.999F;
    const double correction1 = 1 - std::pow(0.9, steps_), correction2 = 1 - std::pow(0.999, steps_);
    const float rate = static_cast<float>(benchmarks::kAdamRate / correction1);
    const float root = static_cast<float>(1 / std::sqrt(correction2));
    const auto [first, last] = member.share(size_);
    const float* g = gradients_;
    float *w = parameters_, *m = first_moment_, *v = second_moment_;
#pragma omp simd
    for (long i = first; i < last; ++i) {
      m[i] = m[i] * kBeta1 + g[i] * (1 - kBeta1);
      v[i] = v[i] * kBeta2 + g[i] * g[i] * (1 - kBeta2);
      w[i] -= rate * m[i] / (std::sqrt(v[i]) * root + 1e-8F);
    }
  }

  Start start_;
  long N, size_ = 0;
  bool sigmoid_, adam_, worthwhile_ = false;
  std::vector<Layer> layers_;
  Buffer parameters_, gradients_, first_moment_, second_moment_, losses_, labels_[2];
  int steps_ = 0;
};

struct Side {
  static void set_threads(int count) {
    openblas_set_num_threads(1);  // a product is shared as everything else is
    threads = count;
  }

  struct TrainStep {
    explicit TrainStep(const Network& network) : net(network) {}
    void run() { net.step(); }
    double value() { return static_cast<double>(net.step()); }

    Net net;
  };

  struct EvalForward {
    explicit EvalForward(const Network& network) : net(network) {
      for (int i = 0; i < benchmarks::kTrained; ++i) net.step();
    }
    void run() { net.forward(); }
    double value() {
      net.forward();
      return net.mean_size();
    }

    Net net;
  };

  // Rows are those of the caller, with nothing between them: they are gone through in the order in which they lie, kRows
  // at a time, each thread its own.
  struct BatchNorm {
    static constexpr long kRows = 8;

    explicit BatchNorm(const Normalisation& normalisation)
        : batch(normalisation),
          N(static_cast<long>(normalisation.N)),
          C(static_cast<long>(normalisation.C)),
          L(static_cast<long>(normalisation.L)) {
      for (Buffer* b : {&y, &dx}) *b = Buffer(N * C * L);
      for (Buffer* b : {&gamma, &beta, &running_mean, &running_var, &mean, &inv_std, &d_gamma, &d_beta})
        *b = Buffer(round_up(C, kLanes));
      for (Buffer* b : {&sums, &products}) *b = Buffer(threads * round_up(C, kLanes));
      std::fill_n(static_cast<float*>(gamma), C, 1.0F);
      std::fill_n(static_cast<float*>(running_var), C, 1.0F);
    }
    void run() {
      together(N * C * L > 100000, [&](const Member& member) {
        if (L > 1) return both_of_runs(member);
        const long whole = C / kLanes * kLanes;
        both<Vector>(member, 0, whole);
        both<float>(member, whole, C);
      });
    }
    double value() {
      run();
      double sum = 0;
      for (long i = 0; i < N * C * L; ++i) sum += static_cast<double>(std::abs(y[i]) + std::abs(dx[i]));
      return sum / static_cast<double>(N * C * L);
    }

   private:
    // What is larger than the caches passes them by.
    template <class V> void put(float* to, const V& value) const {
#if defined(__AVX512F__)
      if constexpr (width<V> == kLanes)
        if (stream) return _mm512_stream_ps(to, value);
#elif defined(__AVX2__)
      if constexpr (width<V> == kLanes)
        if (stream) return _mm256_stream_ps(to, value);
#endif
      at<V>(to) = value;
    }

    // Sums of registers and, beyond the last whole one, of numbers.
    struct Sum {
      Vector registers;
      float rest;
      void operator+=(const Vector& v) { registers += v; }
      void operator+=(float v) { rest += v; }
      operator float() const {
        float total = rest;
        for (long k = 0; k < kLanes; ++k) total += registers[k];
        return total;
      }
    };

    // Three axes, forward and backward: a channel's values come in runs of L, which are read in their order. Runs are not
    // aligned, so that nothing can pass the caches by.
    void both_of_runs(const Member& member) {
      const float *x = batch.x.data(), *dy = batch.dy.data(), count = static_cast<float>(N * L);
      const auto [begin, end] = member.share(C, 1);
      const long first = begin, last = end;
      const auto each_run = [&](auto body) {
        for (long n = 0; n < N; ++n)
          for (long c = first; c < last; ++c) body(c, (n * C + c) * L);
      };
      const auto each = [&](long i, auto body) {
        const long stop = i + L;
        for (; i + kLanes <= stop; i += kLanes) body(Vector{}, i);
        for (; i < stop; ++i) body(0.0F, i);
      };
      const auto sum_runs = [&](auto add) {
        for (long c = first; c < last; ++c) sums[c] = products[c] = 0;
        each_run([&](long c, long run) {
          Sum sum{}, product{};
          each(run, [&](auto v, long i) { add(v, c, i, sum, product); });
          sums[c] += sum;
          products[c] += product;
        });
      };
      sum_runs([&]<class V>(V, long c, long i, Sum& sum, Sum& square) {
        const V d = at<V>(x + i) - x[c * L];
        sum += d;
        square += d * d;
      });
      for (long c = first; c < last; ++c)
        take_statistics<float>({x[c * L], sums[c], products[c]}, count, state(), c, 0);
      each_run([&](long c, long run) {
        const float scale = gamma[c] * inv_std[c], offset = beta[c] - mean[c] * scale;
        each(run, [&]<class V>(V, long i) { at<V>(y + i) = at<V>(x + i) * scale + offset; });
      });
      sum_runs([&]<class V>(V, long c, long i, Sum& sum, Sum& product) {
        sum += at<V>(dy + i);
        product += at<V>(dy + i) * (at<V>(x + i) - mean[c]);
      });
      for (long c = first; c < last; ++c) {
        d_beta[c] = sums[c];
        d_gamma[c] = products[c] * inv_std[c];
      }
      each_run([&](long c, long run) {
        const Slope<float> slope(gamma[c], inv_std[c], mean[c], d_beta[c], d_gamma[c], count);
        each(run,
             [&]<class V>(V, long i) { at<V>(dx + i) = slope.a * at<V>(dy + i) + (slope.b * at<V>(x + i) + slope.e); });
      });
    }

    // Channels first .. last of two axes, forward and backward.
    template <class V> void both(const Member& member, long first, long last) {
      const float *x = batch.x.data(), *dy = batch.dy.data(), count = static_cast<float>(N);
      total<V>(member, first, last, [&](long begin, long end, long c, V& sum, V& square) {
        const V shift = at<V>(x + c);
        for (long n = begin; n < end; ++n) {
          const V d = at<V>(x + n * C + c) - shift;
          sum += d;
          square += d * d;
        }
      });
      if (member.index == 0)
        for (long c = first; c < last; c += width<V>)
          take_statistics<V>({at<V>(x + c), at<V>(sums + c), at<V>(products + c)}, count, state(), c, V{});
      member.wait();
      blocks<V>(member, first, last, true, [&](long begin, long end, long c) {
        const V scale = at<V>(gamma + c) * at<V>(inv_std + c), shift = at<V>(beta + c) - at<V>(mean + c) * scale;
        for (long n = begin; n < end; ++n) put<V>(y + n * C + c, at<V>(x + n * C + c) * scale + shift);
      });

      total<V>(member, first, last, [&](long begin, long end, long c, V& sum, V& product) {
        const V centre = at<V>(mean + c);
        for (long n = begin; n < end; ++n) {
          const V d = at<V>(dy + n * C + c);
          sum += d;
          product += d * (at<V>(x + n * C + c) - centre);
        }
      });
      if (member.index == 0)
        for (long c = first; c < last; ++c) {
          d_beta[c] = sums[c];
          d_gamma[c] = products[c] * inv_std[c];
        }
      member.wait();
      blocks<V>(member, first, last, true, [&](long begin, long end, long c) {
        const Slope<V> slope(at<V>(gamma + c), at<V>(inv_std + c), at<V>(mean + c), at<V>(d_beta + c),
                             at<V>(d_gamma + c), count);
        for (long n = begin; n < end; ++n) put<V>(dx + n * C + c, slope(at<V>(dy + n * C + c), at<V>(x + n * C + c)));
      });
    }

    // body(first row, last row, c) for blocks of a thread's rows and, within them, registers of channels. The second
    // time the rows come from the last to the first, for the last are those that the caches still hold.
    template <class V, class Body>
    void blocks(const Member& member, long first, long last, bool again, Body body) const {
      const auto [begin, end] = member.share(N);
      const long count = (end - begin + kRows - 1) / kRows;
      for (long i = 0; i < count; ++i) {
        const long n = begin + (again ? count - 1 - i : i) * kRows;
        for (long c = first; c < last; c += width<V>) body(n, std::min(end, n + kRows), c);
      }
    }

    // sums and products of all rows, in those of the first thread: add(first row, last row, c, sum, product)
    template <class V, class Add> void total(const Member& member, long first, long last, Add add) {
      const long size = round_up(C, kLanes);
      float *sum = sums + member.index * size, *product = products + member.index * size;
      std::fill(sum + first, sum + last, 0.0F);
      std::fill(product + first, product + last, 0.0F);
      blocks<V>(member, first, last, false, [&](long begin, long end, long c) {
        V s{}, p{};
        add(begin, end, c, s, p);
        at<V>(sum + c) += s;
        at<V>(product + c) += p;
      });
      member.wait();
      if (member.index > 0) return;
      for (long i = 1; i < member.count; ++i)
        for (long c = first; c < last; ++c) {
          sums[c] += sums[i * size + c];
          products[c] += products[i * size + c];
        }
    }

    ChannelState state() const { return {running_mean, running_var, mean, inv_std}; }

    benchmarks::Batch batch;
    long N, C, L;
    bool stream = N * C * L > 1000000;
    Buffer y, dx, gamma, beta, running_mean, running_var, mean, inv_std, d_gamma, d_beta, sums, products;
  };
};

}  // namespace

int main(int argc, char** argv) { return benchmarks::run<Side>(argc, argv); }
