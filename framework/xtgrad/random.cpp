#include "xtgrad/random.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <limits>
#include <locale>
#include <numeric>
#include <sstream>

#include "xtgrad/check.hpp"

namespace xtgrad {

double Generator::normal() {
  if (std::exchange(has_spare_, false)) return spare_;
  double u, v, s;
  do {
    u = 2 * uniform() - 1;
    v = 2 * uniform() - 1;
    s = u * u + v * v;
  } while (s >= 1 || s == 0);
  const double factor = std::sqrt(-2 * std::log(s) / s);
  spare_ = v * factor;
  has_spare_ = true;
  return u * factor;
}

std::size_t Generator::below(std::size_t n) {
  // The smallest draws are rejected, as many as make the rest a multiple of n.
  const std::uint64_t rejected = (0 - static_cast<std::uint64_t>(n)) % n;
  std::uint64_t draw;
  do draw = engine_();
  while (draw < rejected);
  return draw % n;
}

void Generator::shuffle(std::vector<std::size_t>& elements) {
  for (std::size_t i = elements.size(); i > 1; --i) std::swap(elements[i - 1], elements[below(i)]);
}

std::vector<std::size_t> Generator::permutation(std::size_t n) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  shuffle(order);
  return order;
}

template <class T> Tensor<T> Generator::uniform(const Shape& shape, double low, double high) {
  Array<T> x = empty_array<T>(shape);
  for (T& value : x.storage()) value = static_cast<T>(low + (high - low) * uniform());
  return x;
}

template <class T> Tensor<T> Generator::normal(const Shape& shape, double mean, double std) {
  Array<T> x = empty_array<T>(shape);
  for (T& value : x.storage()) value = static_cast<T>(mean + std * normal());
  return x;
}

// The engine gives its state away, and takes it, as numbers in text only. The last two are the spare.
Labels Generator::state() const {
  std::stringstream text;
  text.imbue(std::locale::classic());
  text << engine_;
  std::vector<std::uint64_t> numbers(std::istream_iterator<std::uint64_t>(text), {});
  numbers.push_back(has_spare_ ? 1 : 0);
  numbers.push_back(std::bit_cast<std::uint64_t>(spare_));
  Labels state = empty_array<std::int64_t>({numbers.size()});
  std::ranges::transform(numbers, state.data(), [](std::uint64_t n) { return static_cast<std::int64_t>(n); });
  return state;
}

Generator Generator::from_state(const Labels& state) {
  // The engine would take any position in its state, and read there.
  constexpr std::size_t n = std::mt19937_64::state_size;
  check(state.shape() == Shape{n + 3} && state(n) >= 0 && state(n) <= static_cast<std::int64_t>(n) &&
            (state(n + 1) == 0 || state(n + 1) == 1),
        "Generator: {} numbers do not hold its state", state.size());
  std::stringstream text;
  text.imbue(std::locale::classic());
  for (std::size_t i = 0; i <= n; ++i) text << static_cast<std::uint64_t>(state(i)) << ' ';
  Generator generator;
  text >> generator.engine_;
  generator.has_spare_ = state(n + 1) == 1;
  generator.spare_ = std::bit_cast<double>(state(n + 2));
  return generator;
}

Generator& default_generator() {
  static thread_local Generator generator;
  return generator;
}

void manual_seed(std::uint64_t seed) { default_generator() = Generator(seed); }

template <class T> Tensor<T> Tensor<T>::rand(const Shape& shape) {
  constexpr double scale = std::uint64_t{1} << std::numeric_limits<T>::digits;
  Array<T> x = empty_array<T>(shape);
  // Cut to T's digits: rounding would now and then give 1.
  for (T& value : x.storage()) value = static_cast<T>(std::floor(default_generator().uniform() * scale) / scale);
  return Tensor(std::move(x));
}

template <class T> Tensor<T> Tensor<T>::randn(const Shape& shape) { return default_generator().normal<T>(shape); }

#define XTGRAD_INSTANTIATE(T)                                          \
  template Tensor<T> Generator::uniform(const Shape&, double, double); \
  template Tensor<T> Generator::normal(const Shape&, double, double);  \
  template Tensor<T> Tensor<T>::rand(const Shape&);                    \
  template Tensor<T> Tensor<T>::randn(const Shape&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
