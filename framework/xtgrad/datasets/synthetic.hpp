// Data sets that are computed rather than read. Each is the same for the same seed, with its rows in a random order;
// the generator of the thread is not touched.
#pragma once

#include "xtgrad/data/dataset.hpp"

namespace xtgrad {

/// Options of make_moons.
struct MoonsOptions {
  double noise = 0;        ///< standard deviation of the noise on each coordinate
  std::uint64_t seed = 0;  ///< of the noise and of the order of the rows
};

/// Two half circles that interleave, N points (N, 2) in all, as in scikit-learn:
///   class 0, N / 2 points: (cos t, sin t)    class 1, the others: (1 - cos t, 0.5 - sin t)
/// t evenly spaced over [0, pi], both ends included, plus Gaussian noise. Throws unless each class gets a point.
template <class T = float> Dataset<T> make_moons(std::size_t N, MoonsOptions options = {});

/// Options of make_spirals.
struct SpiralsOptions {
  std::size_t classes = 3;  ///< arms
  double turns = 1;         ///< of an arm around the origin
  double noise = 0;         ///< standard deviation of the noise on each coordinate
  std::uint64_t seed = 0;   ///< of the noise and of the order of the rows
};

/// Spirals around the origin, one arm for each class, N points (N, 2) in all. With K classes, arm k is
///   (r cos a, r sin a), a = 2 pi (turns * r + k / K), r = 1/n, 2/n, ... 1 for its n points
/// plus Gaussian noise; the first N % K arms have one point more. Throws unless each class gets a point.
template <class T = float> Dataset<T> make_spirals(std::size_t N, SpiralsOptions options = {});

/// Options of make_blobs.
struct BlobsOptions {
  Tensor<double> centers{{-5, -5}, {5, -5}, {0, 5}};  ///< (K, D), a row for each class
  double cluster_std = 1;                             ///< standard deviation around a center, in every direction
  std::uint64_t seed = 0;                             ///< of the points and of the order of the rows
};

/// Isotropic Gaussians around K centers, N points (N, D) in all, as in scikit-learn with given centers: the first
/// N % K classes have one point more. Throws unless each class gets a point.
template <class T = float> Dataset<T> make_blobs(std::size_t N, BlobsOptions options = {});

}  // namespace xtgrad
