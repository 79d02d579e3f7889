// What the tests of BatchNorm1d share.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "oracle.hpp"
#include "xtgrad/layers/batch_norm1d.hpp"

namespace xtgrad::oracle {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  Shape shape;
  bool affine;
  double eps;
  Statistics statistics;
};

/// A shape in the name of a test: 3x4x2.
inline std::string words(const Shape& shape) {
  std::string text;
  for (const std::size_t extent : shape) text += (text.empty() ? "" : "x") + std::to_string(extent);
  return text;
}

template <class T> Array<T> array(const std::vector<double>& values) {
  return tensor<T>({values.size()}, values).value();
}

/// The running statistics and counts of a layer, to be compared later.
template <class T> struct Snapshot {
  Tensor<T> mean, var;
  std::int64_t tracked, skipped;
  explicit Snapshot(const BatchNorm1d<T>& bn)
      : mean(Array<T>(bn.running_mean().value())),
        var(Array<T>(bn.running_var().value())),
        tracked(bn.num_batches_tracked()),
        skipped(bn.skipped_batches()) {}
};

template <class T> void expect_unchanged(const BatchNorm1d<T>& bn, const Snapshot<T>& before) {
  EXPECT_TRUE(same(bn.running_mean(), before.mean));
  EXPECT_TRUE(same(bn.running_var(), before.var));
  EXPECT_EQ(bn.num_batches_tracked(), before.tracked);
  EXPECT_EQ(bn.skipped_batches(), before.skipped);
}

/// A layer that has seen one batch.
template <class T> BatchNorm1d<T> used_layer(std::size_t C, BatchNorm1dOptions options = {}) {
  BatchNorm1d<T> bn(C, options);
  bn(Generator(1).normal<T>({8, C}, 1, 2));
  return bn;
}

}  // namespace xtgrad::oracle
