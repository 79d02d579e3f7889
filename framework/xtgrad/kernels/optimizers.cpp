// One optimizer step for one parameter, as the update formulas of optim/ have it.
#include <cmath>

#include "xtgrad/kernels/families.hpp"

namespace xtgrad::kernels::XTGRAD_ISA {
namespace {

template <class T>
void sgd(long n, T* w, const T* g, T* v, double lr_, double momentum_, double weight_decay_) {
  const T lr = static_cast<T>(lr_), momentum = static_cast<T>(momentum_), decay = static_cast<T>(weight_decay_);
  if (v == nullptr) {
    for (long i = 0; i < n; ++i) w[i] -= lr * (g[i] + decay * w[i]);
    return;
  }
  for (long i = 0; i < n; ++i) {
    v[i] = momentum * v[i] + (g[i] + decay * w[i]);
    w[i] -= lr * v[i];
  }
}

template <class T>
void adam(long n, T* w, const T* g, T* m, T* v, const AdamStep& s) {
  const T beta1 = static_cast<T>(s.beta1), beta2 = static_cast<T>(s.beta2), eps = static_cast<T>(s.eps);
  const T rest1 = static_cast<T>(1 - s.beta1), rest2 = static_cast<T>(1 - s.beta2);
  const T decay = static_cast<T>(s.weight_decay);
  const T rate = static_cast<T>(s.lr / s.correction1);
  const T scale = static_cast<T>(1 / std::sqrt(s.correction2));
  for (long i = 0; i < n; ++i) {
    const T gradient = g[i] + decay * w[i];
    m[i] = beta1 * m[i] + rest1 * gradient;
    v[i] = beta2 * v[i] + rest2 * gradient * gradient;
    w[i] -= rate * m[i] / (std::sqrt(v[i]) * scale + eps);
  }
}

}  // namespace

template <class T>
void fill_optimizers(Table<T>& table) {
  table.sgd = sgd<T>;
  table.adam = adam<T>;
}

template void fill_optimizers(Table<float>&);
template void fill_optimizers(Table<double>&);

}  // namespace xtgrad::kernels::XTGRAD_ISA
