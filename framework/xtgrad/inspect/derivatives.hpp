// Derivatives of higher order, as small functions on grad().
#pragma once

#include "xtgrad/autograd.hpp"

namespace xtgrad {

/// dy/dx in the shape of y followed by that of x, row by row: one walk for each element of y, whose graph is retained.
/// With create_graph the rows can be differentiated again. Throws unless x and y require grad.
template <class T> Tensor<T> jacobian(const Tensor<T>& y, const Tensor<T>& x, bool create_graph = false);

/// H v, where H is the Hessian of y (one element) with respect to all xs together and v, in their shapes, is a
/// direction: the gradient of <dy/dx, v> (Pearlmutter 1994), exact. The graph of y is retained. Throws unless there is
/// one v in the shape of each of xs, or where grad() would.
template <class T>
std::vector<Tensor<T>> hessian_vector_product(const Tensor<T>& y, const std::vector<Tensor<T>>& xs,
                                              const std::vector<Tensor<T>>& v);

}  // namespace xtgrad
