#include "xtgrad/inspect/derivatives.hpp"

#include "xtgrad/check.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {

template <class T> Tensor<T> jacobian(const Tensor<T>& y, const Tensor<T>& x, bool create_graph) {
  Shape shape = y.shape();
  for (const std::size_t extent : x.shape()) shape.push_back(extent);
  std::vector<Tensor<T>> rows;
  for (std::size_t i = 0; i < y.size(); ++i) {
    Array<T> seed = full_array<T>(y.shape(), T(0));
    seed.data()[i] = 1;
    const Tensor<T> row =
        grad(y, {x}, {.seed = std::move(seed), .retain_graph = true, .create_graph = create_graph})[0];
    rows.push_back(reshape(row, {1, x.size()}));
  }
  const GradMode mode(create_graph);
  return rows.empty() ? Tensor<T>::zeros(shape) : reshape(concat(rows, 0), shape);
}

template <class T>
std::vector<Tensor<T>> hessian_vector_product(const Tensor<T>& y, const std::vector<Tensor<T>>& xs,
                                              const std::vector<Tensor<T>>& v) {
  check(v.size() == xs.size(), "hessian_vector_product: {} directions for {} tensors", v.size(), xs.size());
  for (std::size_t i = 0; i < xs.size(); ++i)
    check(v[i].shape() == xs[i].shape(), "hessian_vector_product: direction {} is {}, its tensor {}", i, v[i].shape(),
          xs[i].shape());
  const std::vector<Tensor<T>> gradients = grad(y, xs, {.create_graph = true});
  const GradMode mode(true);
  Tensor<T> slope = T(0);
  for (std::size_t i = 0; i < xs.size(); ++i) slope = slope + sum(gradients[i] * v[i].detach());
  if (slope.requires_grad()) return grad(slope, xs, {.retain_graph = true});
  std::vector<Tensor<T>> zeros;  // y is linear in xs
  for (const Tensor<T>& x : xs) zeros.push_back(Tensor<T>::zeros(x.shape()));
  return zeros;
}

#define XTGRAD_INSTANTIATE(T)                                                                             \
  template Tensor<T> jacobian(const Tensor<T>&, const Tensor<T>&, bool);                                  \
  template std::vector<Tensor<T>> hessian_vector_product(const Tensor<T>&, const std::vector<Tensor<T>>&, \
                                                         const std::vector<Tensor<T>>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
