#include "xtgrad/ops/rearrange.hpp"

#include "xtgrad/record.hpp"

namespace xtgrad {

template <class T>
Tensor<T> reshape(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  check(size_of(shape) == x.size(), "reshape: {} elements of shape {} do not fill the shape {}", x.size(), x.shape(),
        shape);
  return record("reshape", shared_array(x.value(), shape), {&x},
                [](Backward<T>& b) { b.add(0, reshape(b.dz(), b.shape(0))); });
}

template <class T>
Tensor<T> transpose(const Tensor<T>& x) {
  const std::size_t rank = x.shape().size();
  check(rank >= 2, "transpose: input is {}, expected two axes or more", x.shape());
  Shape shape = x.shape();
  std::swap(shape[rank - 2], shape[rank - 1]);
  const std::size_t N = shape[rank - 2], M = shape[rank - 1], matrix = M * N;
  Array<T> z = empty_array<T>(shape);
  // Tiles, so that reads and writes both stay within a few cache lines.
  constexpr std::size_t kTile = 16;
  for (std::size_t first = 0; first < x.size(); first += matrix) {
    const T* const from = x.data() + first;
    T* const to = z.data() + first;
    for (std::size_t i0 = 0; i0 < M; i0 += kTile)
      for (std::size_t j0 = 0; j0 < N; j0 += kTile)
        for (std::size_t i = i0; i < std::min(M, i0 + kTile); ++i)
          for (std::size_t j = j0; j < std::min(N, j0 + kTile); ++j) to[j * M + i] = from[i * N + j];
  }
  return record("transpose", std::move(z), {&x}, [](Backward<T>& b) { b.add(0, transpose(b.dz())); });
}

#define XTGRAD_INSTANTIATE(T)                                 \
  template Tensor<T> reshape(const Tensor<T>&, const Shape&); \
  template Tensor<T> transpose(const Tensor<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
