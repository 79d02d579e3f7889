#include "xtgrad/ops/rearrange.hpp"

#include <algorithm>

#include "xtgrad/record.hpp"

namespace xtgrad {

template <class T> Tensor<T> reshape(const Tensor<T>& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  check(size_of(shape) == x.size(), "reshape: {} elements of shape {} do not fill the shape {}", x.size(), x.shape(),
        shape);
  return record("reshape", shared_array(x.value(), shape), {&x},
                [](Backward<T>& b) { b.add(0, reshape(b.dz(), b.shape(0))); });
}

template <class T> Tensor<T> transpose(const Tensor<T>& x) {
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

namespace {

// Copies `count` blocks of `size` elements; the starts of successive blocks lie so far apart.
template <class T>
void copy_blocks(std::size_t count, std::size_t size, const T* from, std::size_t from_pitch, T* to,
                 std::size_t to_pitch) {
  for (std::size_t i = 0; i < count; ++i) std::copy_n(from + i * from_pitch, size, to + i * to_pitch);
}

// The elements before and after an axis: x is (outer, shape[axis], inner).
struct Around {
  std::size_t outer = 1, inner = 1;

  Around(const Shape& shape, std::size_t axis) {
    for (std::size_t a = 0; a < shape.size(); ++a)
      if (a != axis) (a < axis ? outer : inner) *= shape[a];
  }
};

// The adjoint of slice: x at begin along the axis, zeros up to `extent`.
template <class T> Tensor<T> pad(const Tensor<T>& x, std::size_t axis, std::size_t begin, std::size_t extent) {
  const Around around(x.shape(), axis);
  Shape shape = x.shape();
  const std::size_t end = begin + shape[axis], inner = around.inner;
  shape[axis] = extent;
  Array<T> z = full_array<T>(shape, T(0));
  copy_blocks(around.outer, (end - begin) * inner, x.data(), (end - begin) * inner, z.data() + begin * inner,
              extent * inner);
  return record("pad", std::move(z), {&x}, [axis, begin, end](Backward<T>& b) {
    b.add(0, slice(b.dz(), static_cast<std::ptrdiff_t>(axis), begin, end));
  });
}

void check_indices(const char* op, const Labels& indices, std::size_t N) {
  for (const std::int64_t index : indices.storage())
    check(index >= 0 && index < static_cast<std::int64_t>(N), "{}: {} is not one of 0 to {}", op, index,
          static_cast<std::int64_t>(N) - 1);
}

}  // namespace

template <class T> Tensor<T> slice(const Tensor<T>& x, std::ptrdiff_t axis_, std::size_t begin, std::size_t end) {
  const std::size_t axis = normalise_axis("slice", axis_, x.shape().size()), extent = x.shape()[axis];
  check(begin <= end && end <= extent, "slice: {} to {} of an axis with {} elements", begin, end, extent);
  const Around around(x.shape(), axis);
  Shape shape = x.shape();
  shape[axis] = end - begin;
  Array<T> z = empty_array<T>(shape);
  copy_blocks(around.outer, (end - begin) * around.inner, x.data() + begin * around.inner, extent * around.inner,
              z.data(), (end - begin) * around.inner);
  return record("slice", std::move(z), {&x},
                [axis, begin, extent](Backward<T>& b) { b.add(0, pad(b.dz(), axis, begin, extent)); });
}

template <class T> Tensor<T> concat(std::span<const Tensor<T>> tensors, std::ptrdiff_t axis_) {
  check(!tensors.empty(), "concat: no tensors");
  const Shape& first = tensors[0].shape();
  const std::size_t axis = normalise_axis("concat", axis_, first.size());
  Shape shape = first;
  shape[axis] = 0;
  for (const Tensor<T>& t : tensors) {
    Shape like_first = t.shape();
    if (like_first.size() == first.size()) like_first[axis] = first[axis];
    check(like_first == first, "concat: shapes {} and {} differ in more than axis {}", first, t.shape(), axis);
    shape[axis] += t.shape()[axis];
  }
  const Around around(shape, axis);
  const std::size_t pitch = shape[axis] * around.inner;
  Array<T> z = empty_array<T>(shape);
  std::size_t begin = 0;
  for (const Tensor<T>& t : tensors) {
    const std::size_t width = t.shape()[axis] * around.inner;
    copy_blocks(around.outer, width, t.data(), width, z.data() + begin, pitch);
    begin += width;
  }
  return record("concat", std::move(z), tensors, [axis, count = tensors.size()](Backward<T>& b) {
    std::size_t start = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t end = start + b.shape(i)[axis];
      if (b.needs(i)) b.add(i, slice(b.dz(), static_cast<std::ptrdiff_t>(axis), start, end));
      start = end;
    }
  });
}

template <class T> Tensor<T> gather(const Tensor<T>& x, const Labels& indices) {
  check(!x.shape().empty() && indices.dimension() == 1, "gather: input is {}, indices {}, expected (N, ...) and (M,)",
        x.shape(), indices.shape());
  const std::size_t N = x.shape()[0], M = indices.size();
  check_indices("gather", indices, N);
  const std::size_t width = Around(x.shape(), 0).inner;
  Shape shape = x.shape();
  shape[0] = M;
  Array<T> z = empty_array<T>(shape);
  for (std::size_t i = 0; i < M; ++i)
    std::copy_n(x.data() + static_cast<std::size_t>(indices(i)) * width, width, z.data() + i * width);
  return record("gather", std::move(z), {&x},
                [indices, N](Backward<T>& b) { b.add(0, scatter_add(b.dz(), indices, N)); });
}

template <class T> Tensor<T> scatter_add(const Tensor<T>& x, const Labels& indices, std::size_t N) {
  check(!x.shape().empty() && indices.shape() == Shape{x.shape()[0]},
        "scatter_add: input is {}, indices {}, expected (M, ...) and (M,)", x.shape(), indices.shape());
  check_indices("scatter_add", indices, N);
  const std::size_t width = Around(x.shape(), 0).inner;
  Shape shape = x.shape();
  shape[0] = N;
  Array<T> z = full_array<T>(shape, T(0));
  for (std::size_t i = 0; i < indices.size(); ++i)
    for (std::size_t k = 0; k < width; ++k)
      z.data()[static_cast<std::size_t>(indices(i)) * width + k] += x.data()[i * width + k];
  return record("scatter_add", std::move(z), {&x}, [indices](Backward<T>& b) { b.add(0, gather(b.dz(), indices)); });
}

template <class T> Tensor<T> one_hot(const Labels& labels, std::size_t C) {
  check_indices("one_hot", labels, C);
  Shape shape = labels.shape();
  shape.push_back(C);
  Array<T> z = full_array<T>(shape, T(0));
  for (std::size_t n = 0; n < labels.size(); ++n) z.data()[n * C + static_cast<std::size_t>(labels.data()[n])] = 1;
  return z;
}

#define XTGRAD_INSTANTIATE(T)                                                           \
  template Tensor<T> slice(const Tensor<T>&, std::ptrdiff_t, std::size_t, std::size_t); \
  template Tensor<T> concat(std::span<const Tensor<T>>, std::ptrdiff_t);                \
  template Tensor<T> gather(const Tensor<T>&, const Labels&);                           \
  template Tensor<T> scatter_add(const Tensor<T>&, const Labels&, std::size_t);         \
  template Tensor<T> one_hot<T>(const Labels&, std::size_t);                            \
  template Tensor<T> reshape(const Tensor<T>&, const Shape&);                           \
  template Tensor<T> transpose(const Tensor<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
