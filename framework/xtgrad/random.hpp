// Random numbers that are the same everywhere: the standard fixes the engine but not its distributions, so
// these are our own.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// std::mt19937_64 with distributions.
class Generator {
 public:
  explicit Generator(std::uint64_t seed = 0) : engine_(seed) {}

  /// Uniform in [0, 1), 53 random bits.
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  /// Standard normal, by the polar method (Marsaglia and Bray 1964); every second call returns the spare of the one
  /// before.
  double normal();
  /// Uniform in 0 .. n-1, without bias. n must be positive.
  std::size_t below(std::size_t n);
  /// Puts the elements into a random order (Fisher and Yates).
  void shuffle(std::vector<std::size_t>& elements);
  /// A random order of 0 .. n-1.
  std::vector<std::size_t> permutation(std::size_t n);

  /// A leaf of independent draws: uniform in [low, high), rounded to T; normal.
  template <class T> Tensor<T> uniform(const Shape& shape, double low, double high);
  template <class T> Tensor<T> normal(const Shape& shape, double mean = 0, double std = 1);

  /// All that its draws depend on, the spare normal included, as whole numbers.
  Labels state() const;
  /// The generator of such numbers. Throws std::invalid_argument if they are none.
  static Generator from_state(const Labels& state);

  /// Whether they will draw the same.
  friend bool operator==(const Generator&, const Generator&) = default;

 private:
  std::mt19937_64 engine_;
  double spare_ = 0;
  bool has_spare_ = false;
};

/// The generator of this thread that initialisers, dropout, rand and randn use unless they are given one; seeded with
/// 0.
Generator& default_generator();
/// Restarts this thread's default generator.
void manual_seed(std::uint64_t seed);

/// Puts this thread's default generator back, at the end of its life, to where it was at the beginning.
class KeepGenerator {
 public:
  KeepGenerator() : before_(default_generator()) {}
  ~KeepGenerator() { default_generator() = before_; }
  KeepGenerator(const KeepGenerator&) = delete;
  KeepGenerator& operator=(const KeepGenerator&) = delete;

 private:
  Generator before_;
};

}  // namespace xtgrad
