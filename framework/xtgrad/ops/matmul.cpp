#include "xtgrad/ops/matmul.hpp"

#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/record.hpp"

namespace xtgrad {

template <class T> Tensor<T> matmul(const Tensor<T>& a, const Tensor<T>& b, MatmulOptions options) {
  const bool ta = options.transpose_a, tb = options.transpose_b;
  const auto extent = [](const Tensor<T>& t, bool transposed, std::size_t axis) {
    return t.shape()[transposed ? 1 - axis : axis];
  };
  if (a.shape().size() != 2 || b.shape().size() != 2 || extent(a, ta, 1) != extent(b, tb, 0))
    fail("matmul: {}{} times {}{} does not fit", a.shape(), ta ? " transposed" : "", b.shape(),
         tb ? " transposed" : "");
  const std::size_t M = extent(a, ta, 0), K = extent(a, ta, 1), N = extent(b, tb, 1);
  Array<T> z = empty_array<T>({M, N});
  blas::gemm(ta ? blas::Op::transposed : blas::Op::plain, tb ? blas::Op::transposed : blas::Op::plain,
             static_cast<long>(M), static_cast<long>(N), static_cast<long>(K), a.data(), b.data(), z.data());
  return record("matmul", std::move(z), {&a, &b}, [ta, tb](Backward<T>& step) {
    // Z = A B: dA = dZ B^T, dB = A^T dZ; where A or B is used transposed, so is its gradient.
    if (step.needs(0)) {
      const Tensor<T>& B = step.input(1);
      step.add(0, ta ? matmul(B, step.dz(), {.transpose_a = tb, .transpose_b = true})
                     : matmul(step.dz(), B, {.transpose_b = !tb}));
    }
    if (step.needs(1)) {
      const Tensor<T>& A = step.input(0);
      step.add(1, tb ? matmul(step.dz(), A, {.transpose_a = true, .transpose_b = ta})
                     : matmul(A, step.dz(), {.transpose_a = !ta}));
    }
  });
}

template <class T> Tensor<T> linear(const Tensor<T>& x, const Tensor<T>& weight, const Tensor<T>& bias) {
  const Shape& w = weight.shape();
  check(w.size() == 2, "linear: weight is {}, expected (outputs, inputs)", w);
  if (x.shape().size() != 2 || x.shape()[1] != w[1])
    fail("linear: input is {}, weight expects (N, {})", x.shape(), w[1]);
  if (bias.defined() && bias.shape() != Shape{w[0]})
    fail("linear: bias is {}, weight expects ({},)", bias.shape(), w[0]);
  const std::size_t N = x.shape()[0], I = w[1], O = w[0];
  Array<T> z = empty_array<T>({N, O});
  blas::gemm(blas::Op::plain, blas::Op::transposed, static_cast<long>(N), static_cast<long>(O), static_cast<long>(I),
             x.data(), weight.data(), z.data(), bias.defined() ? bias.data() : nullptr);
  return record("linear", std::move(z), {&x, &weight, &bias}, [](Backward<T>& b) {
    if (b.needs(0)) b.add(0, matmul(b.dz(), b.input(1)));
    if (b.needs(1)) b.add(1, matmul(b.dz(), b.input(0), {.transpose_a = true}));
    if (b.needs(2)) b.add(2, sum_to(b.dz(), b.shape(2)));
  });
}

#define XTGRAD_INSTANTIATE(T)                                                   \
  template Tensor<T> matmul(const Tensor<T>&, const Tensor<T>&, MatmulOptions); \
  template Tensor<T> linear(const Tensor<T>&, const Tensor<T>&, const Tensor<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
