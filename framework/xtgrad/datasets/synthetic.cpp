#include "xtgrad/datasets/synthetic.hpp"

#include <cmath>
#include <numbers>

#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

using std::numbers::pi;

// N rows (D) with noise, in a random order: point(n, row) fills the row without noise and returns its class.
template <class T, class Point>
Dataset<T> generate(const char* op, std::size_t N, std::size_t K, std::size_t D, double std, std::uint64_t seed,
                    Point point) {
  check(K > 0 && N >= K, "{}: {} points for {} classes, expected at least one of each", op, N, K);
  check(std >= 0 && std::isfinite(std), "{}: the standard deviation is {}, expected a number from 0 up", op, std);
  // Not the draws of split() and DataLoader for the same seed: the order of the one would undo that of the other.
  Generator generator(~seed);
  const std::vector<std::size_t> order = generator.permutation(N);
  std::vector<double> row(D);
  Array<T> x = empty_array<T>({N, D});
  Labels y = empty_array<std::int64_t>({N});
  for (std::size_t n = 0; n < N; ++n) {
    y(order[n]) = static_cast<std::int64_t>(point(n, row.data()));
    for (std::size_t d = 0; d < D; ++d) x.data()[order[n] * D + d] = static_cast<T>(row[d] + std * generator.normal());
  }
  return {std::move(x), std::move(y)};
}

}  // namespace

template <class T> Dataset<T> make_moons(std::size_t N, MoonsOptions options) {
  return generate<T>("make_moons", N, 2, 2, options.noise, options.seed, [N](std::size_t n, double* row) {
    const bool inner = n >= N / 2;
    const std::size_t i = inner ? n - N / 2 : n, count = inner ? N - N / 2 : N / 2;
    const double t = count == 1 ? 0 : pi * static_cast<double>(i) / static_cast<double>(count - 1);
    row[0] = inner ? 1 - std::cos(t) : std::cos(t);
    row[1] = inner ? 0.5 - std::sin(t) : std::sin(t);
    return inner;
  });
}

template <class T> Dataset<T> make_spirals(std::size_t N, SpiralsOptions options) {
  const std::size_t K = options.classes;
  check(std::isfinite(options.turns), "make_spirals: turns is {}, expected a finite number", options.turns);
  return generate<T>("make_spirals", N, K, 2, options.noise, options.seed, [&](std::size_t n, double* row) {
    const std::size_t k = n % K, count = (N - k + K - 1) / K;
    const double r = static_cast<double>(n / K + 1) / static_cast<double>(count);
    const double a = 2 * pi * (options.turns * r + static_cast<double>(k) / static_cast<double>(K));
    row[0] = r * std::cos(a);
    row[1] = r * std::sin(a);
    return k;
  });
}

template <class T> Dataset<T> make_blobs(std::size_t N, BlobsOptions options) {
  const Shape& shape = options.centers.shape();
  check(shape.size() == 2, "make_blobs: the centers are {}, expected (classes, D)", shape);
  for (double c : options.centers.value().storage()) check(std::isfinite(c), "make_blobs: a center lies at {}", c);
  const std::size_t K = shape[0], D = shape[1];
  return generate<T>("make_blobs", N, K, D, options.cluster_std, options.seed, [&](std::size_t n, double* row) {
    std::copy_n(options.centers.data() + n % K * D, D, row);
    return n % K;
  });
}

#define XTGRAD_INSTANTIATE(T)                                    \
  template Dataset<T> make_moons(std::size_t, MoonsOptions);     \
  template Dataset<T> make_spirals(std::size_t, SpiralsOptions); \
  template Dataset<T> make_blobs(std::size_t, BlobsOptions);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
