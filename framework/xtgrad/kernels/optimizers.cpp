// One optimizer step for one parameter, as the update formulas of optim/ have it.
#include <cmath>

#include "xtgrad/kernels/families.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

template <class T> void sgd(long n, T* w, const T* g, T* v, const SgdStep& s) {
  const T lr = static_cast<T>(s.lr), momentum = static_cast<T>(s.momentum), intake = static_cast<T>(s.intake);
  const T decay = static_cast<T>(s.weight_decay);
  if (v == nullptr) {
    for (long i = 0; i < n; ++i) w[i] -= lr * (g[i] + decay * w[i]);
  } else if (s.nesterov) {
    for (long i = 0; i < n; ++i) {
      const T gradient = g[i] + decay * w[i];
      v[i] = momentum * v[i] + gradient;
      w[i] -= lr * (gradient + momentum * v[i]);
    }
  } else {
    for (long i = 0; i < n; ++i) {
      v[i] = momentum * v[i] + intake * (g[i] + decay * w[i]);
      w[i] -= lr * v[i];
    }
  }
}

template <class T> void adam(long n, T* w, const T* g, T* m, T* v, const AdamStep& s) {
  const T beta1 = static_cast<T>(s.beta1), beta2 = static_cast<T>(s.beta2), eps = static_cast<T>(s.eps);
  const T rest1 = static_cast<T>(1 - s.beta1), rest2 = static_cast<T>(1 - s.beta2);
  const T penalty = static_cast<T>(s.penalty), decay = static_cast<T>(s.decay);
  const T rate = static_cast<T>(s.lr / s.correction1);
  const T scale = static_cast<T>(1 / std::sqrt(s.correction2));
  for (long i = 0; i < n; ++i) {
    const T gradient = g[i] + penalty * w[i];
    m[i] = beta1 * m[i] + rest1 * gradient;
    v[i] = beta2 * v[i] + rest2 * gradient * gradient;
    w[i] -= decay * w[i];
    w[i] -= rate * m[i] / (std::sqrt(v[i]) * scale + eps);
  }
}

template <class T> void rmsprop(long n, T* w, const T* g, T* square, T* v, const RmspropStep& s) {
  const T lr = static_cast<T>(s.lr), alpha = static_cast<T>(s.alpha), rest = static_cast<T>(1 - s.alpha);
  const T eps = static_cast<T>(s.eps), momentum = static_cast<T>(s.momentum), decay = static_cast<T>(s.weight_decay);
  for (long i = 0; i < n; ++i) {
    const T gradient = g[i] + decay * w[i];
    square[i] = alpha * square[i] + rest * gradient * gradient;
    v[i] = momentum * v[i] + gradient / (std::sqrt(square[i]) + eps);
    w[i] -= lr * v[i];
  }
}

}  // namespace

template <class T> void fill_optimizers(Table<T>& table) {
  table.sgd = sgd<T>;
  table.adam = adam<T>;
  table.rmsprop = rmsprop<T>;
}

template void fill_optimizers(Table<float>&);
template void fill_optimizers(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
