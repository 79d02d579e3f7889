#include "xtgrad/init.hpp"

#include <cmath>

#include "xtgrad/check.hpp"

namespace xtgrad::init {
namespace {

template <class T>
const Shape& matrix_shape(const char* who, const Tensor<T>& w) {
  check(w.shape().size() == 2 && w.size() > 0, "{}: the weight is {}, expected (O, I)", who, w.shape());
  return w.shape();
}

}  // namespace

template <class T>
void uniform(Tensor<T>& w, double bound, Generator& generator) {
  for (T& value : w.mutable_value().storage()) value = static_cast<T>(bound * (2 * generator.uniform() - 1));
}

template <class T>
void normal(Tensor<T>& w, double std, Generator& generator) {
  for (T& value : w.mutable_value().storage()) value = static_cast<T>(std * generator.normal());
}

template <class T>
void kaiming_normal(Tensor<T>& w, Generator& generator) {
  const Shape& shape = matrix_shape("kaiming_normal", w);
  normal(w, std::sqrt(2 / static_cast<double>(shape[1])), generator);
}

template <class T>
void xavier_uniform(Tensor<T>& w, Generator& generator) {
  const Shape& shape = matrix_shape("xavier_uniform", w);
  uniform(w, std::sqrt(6 / static_cast<double>(shape[0] + shape[1])), generator);
}

#define XTGRAD_INSTANTIATE(T)                            \
  template void uniform(Tensor<T>&, double, Generator&); \
  template void normal(Tensor<T>&, double, Generator&);  \
  template void kaiming_normal(Tensor<T>&, Generator&);  \
  template void xavier_uniform(Tensor<T>&, Generator&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad::init
