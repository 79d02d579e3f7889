#include "xtgrad/init.hpp"

#include <cmath>

#include "xtgrad/check.hpp"

namespace xtgrad::init {
namespace {

// {I, I + O} of a weight (O, I).
template <class T> std::pair<double, double> fans(const char* who, const Tensor<T>& w) {
  check(w.shape().size() == 2 && w.size() > 0, "{}: the weight is {}, expected (O, I)", who, w.shape());
  return {static_cast<double>(w.shape()[1]), static_cast<double>(w.shape()[0] + w.shape()[1])};
}

}  // namespace

template <class T> void uniform(Tensor<T>& w, double bound, Generator& generator) {
  for (T& value : w.mutable_value().storage()) value = static_cast<T>(bound * (2 * generator.uniform() - 1));
}

template <class T> void normal(Tensor<T>& w, double std, Generator& generator) {
  for (T& value : w.mutable_value().storage()) value = static_cast<T>(std * generator.normal());
}

template <class T> void kaiming_normal(Tensor<T>& w, Generator& generator) {
  normal(w, std::sqrt(2 / fans("kaiming_normal", w).first), generator);
}
template <class T> void kaiming_uniform(Tensor<T>& w, Generator& generator) {
  uniform(w, std::sqrt(6 / fans("kaiming_uniform", w).first), generator);
}
template <class T> void xavier_normal(Tensor<T>& w, Generator& generator) {
  normal(w, std::sqrt(2 / fans("xavier_normal", w).second), generator);
}
template <class T> void xavier_uniform(Tensor<T>& w, Generator& generator) {
  uniform(w, std::sqrt(6 / fans("xavier_uniform", w).second), generator);
}

#define XTGRAD_INSTANTIATE(T)                            \
  template void uniform(Tensor<T>&, double, Generator&); \
  template void normal(Tensor<T>&, double, Generator&);  \
  template void kaiming_normal(Tensor<T>&, Generator&);  \
  template void kaiming_uniform(Tensor<T>&, Generator&); \
  template void xavier_normal(Tensor<T>&, Generator&);   \
  template void xavier_uniform(Tensor<T>&, Generator&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad::init
