// Graphs on several threads.
#include <thread>

#include "autograd.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::Double;
using test::scalar;
using test::values;
using test::variable;

TEST(Threads, WithGraphsOfTheirOwnOverSharedLeavesAgreeBitForBitWithOneThread) {
  Generator generator(4);
  const Tensor<float> w = variable(generator.normal<float>({16, 16})), b = variable(generator.normal<float>({16}));
  const Tensor<float> gamma = variable(generator.normal<float>({16})), beta = variable(generator.normal<float>({16}));
  const Array<float> mu = full_array<float>({16}, 0.25F), var = full_array<float>({16}, 2);
  std::vector<Tensor<float>> inputs;
  for (int i = 0; i < 2; ++i) inputs.push_back(generator.normal<float>({9, 16}));
  constexpr int kRounds = 200;
  const auto work = [&](std::size_t i, std::vector<float>& result) {
    for (int round = 0; round < kRounds; ++round) {
      const Tensor<float> y = batch_norm(tanh(linear(inputs[i], w, b)), gamma, beta, 1e-5, mu, var);
      const std::vector<Tensor<float>> grads = grad(sum(y * y), {w, b, gamma, beta});
      result = values(y);
      for (const Tensor<float>& g : grads) result.insert(result.end(), g.data(), g.data() + g.size());
    }
  };
  std::vector<float> serial[2], parallel[2];
  for (std::size_t i = 0; i < 2; ++i) work(i, serial[i]);
  std::thread other([&] { work(1, parallel[1]); });
  work(0, parallel[0]);
  other.join();
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(parallel[i], serial[i]);
}

TEST(Threads, AGraphMayBeContinuedAndFreedOnAnotherThread) {
  const Double x = scalar(3);
  Double y;
  std::thread([&] {
    Double z = x;
    for (int i = 0; i < 1000; ++i) z = z + 1.0;
    y = z * z;
  }).join();
  // Nodes of this thread have smaller numbers than those of the other, which they depend on.
  const Double w = y * x;
  w.backward();
  EXPECT_EQ(x.grad().item(), 2 * 1003.0 * 3 + 1003.0 * 1003);
}

}  // namespace
}  // namespace xtgrad
