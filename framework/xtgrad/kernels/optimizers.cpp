// One optimizer step for one parameter, as the update formulas of optim/ have it. Each number is read and written once:
// the compiler cannot know that the arrays do not overlap, and would read again what a line before has written.
#include <cmath>

#include "xtgrad/kernels/families.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

template <class T> void sgd(long n, T* w, const T* g, T* v, const SgdStep& s) {
  const T lr = static_cast<T>(s.lr), momentum = static_cast<T>(s.momentum), intake = static_cast<T>(s.intake);
  const T decay = static_cast<T>(s.weight_decay);
  if (v == nullptr) {
    for (long i = 0; i < n; ++i) w[i] -= lr * (g[i] + decay * w[i]);
  } else {
    for (long i = 0; i < n; ++i) {
      const T gradient = g[i] + decay * w[i], velocity = momentum * v[i] + intake * gradient;
      w[i] -= lr * (s.nesterov ? gradient + momentum * velocity : velocity);
      v[i] = velocity;
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
    const T first = beta1 * m[i] + rest1 * gradient, second = beta2 * v[i] + rest2 * gradient * gradient;
    w[i] = w[i] - decay * w[i] - rate * first / (std::sqrt(second) * scale + eps);
    m[i] = first;
    v[i] = second;
  }
}

template <class T> void rmsprop(long n, T* w, const T* g, T* square, T* v, const RmspropStep& s) {
  const T lr = static_cast<T>(s.lr), alpha = static_cast<T>(s.alpha), rest = static_cast<T>(1 - s.alpha);
  const T eps = static_cast<T>(s.eps), momentum = static_cast<T>(s.momentum), decay = static_cast<T>(s.weight_decay);
  for (long i = 0; i < n; ++i) {
    const T gradient = g[i] + decay * w[i], mean = alpha * square[i] + rest * gradient * gradient;
    const T velocity = momentum * v[i] + gradient / (std::sqrt(mean) + eps);
    w[i] -= lr * velocity;
    square[i] = mean;
    v[i] = velocity;
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
