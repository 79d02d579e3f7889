// Graphs that are long or wide, on a small stack; and many small ones, from a pool.
#include <pthread.h>

#include <functional>

#include "autograd.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/memory.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::Double;
using test::scalar;
using test::variable;

void on_small_stack(std::function<void()> f) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, std::size_t{256} << 10), 0);
  pthread_t thread;
  const auto run = [](void* body) -> void* {
    (*static_cast<std::function<void()>*>(body))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, &f), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

TEST(LargeGraphs, AChainIsBuiltDifferentiatedAndFreedOnASmallStack) {
  constexpr long kLength = test::kSanitized ? 1'000'000 : 10'000'000;
  on_small_stack([] {
    const Tensor<float> x = variable(Tensor<float>(1.0F));
    Tensor<float> y = x;
    for (long i = 0; i < kLength; ++i) y = -y;
    y.backward();
    EXPECT_EQ(x.grad().item(), 1);
    memory::trim();
  });
}

TEST(LargeGraphs, AChainThatNobodyDifferentiatesIsFreedOnASmallStack) {
  on_small_stack([] {
    const Tensor<float> x = variable(Tensor<float>(1.0F));
    Tensor<float> y = x;
    for (long i = 0; i < 1'000'000; ++i) y = -y;
    y = {};
    memory::trim();
  });
}

TEST(LargeGraphs, AChainIsDifferentiatedTwiceOnASmallStack) {
  on_small_stack([] {
    const Double x = scalar(1);
    Double y = x * x;
    for (int i = 0; i < 100'000; ++i) y = y + 1.0;
    const Double g = grad(y, {x}, {.create_graph = true})[0];
    EXPECT_EQ(g.item(), 2);
    EXPECT_EQ(grad(g, {x})[0].item(), 2);
  });
}

// In both precisions and with each operand transposed, on both sides of every bound above which parts are copied.
template <class T> void expect_products_of_all_ones() {
  for (const std::size_t m : {1U, 7U, 40U, 300U})
    for (const std::size_t n : {1U, 7U, 40U, 600U}) {
      const Tensor<T> x = variable(Tensor<T>::ones({m, n})), w = variable(Tensor<T>::ones({n, m}));
      sum(matmul(x, w)).backward();
      EXPECT_EQ(x.grad().value()(0, 0), static_cast<T>(m));
      EXPECT_EQ(w.grad().value()(0, 0), static_cast<T>(m));
    }
}

TEST(LargeGraphs, MatricesAreMultipliedOnASmallStack) {
  on_small_stack(expect_products_of_all_ones<float>);
  on_small_stack(expect_products_of_all_ones<double>);
}

// A graph of two inputs to a node, against the adjoints by a loop over plain numbers.
void expect_right_adjoints_of_a_random_graph() {
  constexpr std::size_t kNodes = 100'000, kLeaves = 10;
  Generator generator(1);
  struct Op {
    std::size_t a, b;
    double wa, wb;
  };
  std::vector<Op> ops;
  std::vector<Double> nodes;
  for (std::size_t i = 0; i < kLeaves; ++i) nodes.push_back(scalar(generator.uniform()));
  for (std::size_t i = kLeaves; i < kNodes; ++i) {
    // Mostly recent inputs, some old ones; weights that keep the gradients in range.
    const auto pick = [&] {
      return generator.below(4) == 0 ? generator.below(i) : i - 1 - generator.below(std::min<std::size_t>(i, 50));
    };
    ops.push_back({pick(), pick(), generator.uniform() - 0.5, generator.uniform() - 0.5});
    const Op& op = ops.back();
    nodes.push_back(nodes[op.a] * op.wa + nodes[op.b] * op.wb);
  }
  std::vector<double> adjoint(kNodes, 0);
  adjoint.back() = 1;
  for (std::size_t i = kNodes; i-- > kLeaves;) {
    const Op& op = ops[i - kLeaves];
    adjoint[op.a] += op.wa * adjoint[i];
    adjoint[op.b] += op.wb * adjoint[i];
  }
  const std::vector<Double> leaves(nodes.begin(), nodes.begin() + kLeaves);
  nodes.back().backward();
  double largest = 0;
  for (std::size_t i = 0; i < kLeaves; ++i) largest = std::max(largest, std::abs(adjoint[i]));
  ASSERT_GT(largest, 0);
  for (std::size_t i = 0; i < kLeaves; ++i) {
    const Double& g = leaves[i].grad();
    EXPECT_NEAR(g.defined() ? g.item() : 0, adjoint[i], 1e-9 * largest) << i;
  }
}

TEST(LargeGraphs, ARandomGraphAgreesWithAPlainLoopOnASmallStack) {
  on_small_stack(expect_right_adjoints_of_a_random_graph);
}

TEST(LargeGraphs, AFanOutAddsUpExactlyOnASmallStack) {
  on_small_stack([] {
    constexpr int kFan = 100'000;
    const Double x = scalar(2);
    Double total(0);
    for (int i = 0; i < kFan; ++i) total = total + x * 1.0;
    total.backward();
    EXPECT_EQ(x.grad().item(), kFan);
  });
}

TEST(LargeGraphs, AFanInOfOneResultAddsUpExactly) {
  constexpr int kFan = 100'000;
  const Double x = scalar(2), y = x * 1.0;
  Double total(0);
  for (int i = 0; i < kFan; ++i) total = total + y;
  EXPECT_EQ(grad(total, {y})[0].item(), kFan);
}

TEST(LargeGraphs, TrainingStepsAskTheSystemForNothing) {
  if (test::kSanitized) GTEST_SKIP() << "the pool is off in sanitizer builds";
  Generator generator(2);
  const Tensor<float> x = generator.normal<float>({32, 20});
  const Tensor<float> w1 = variable(generator.normal<float>({30, 20})), b1 = variable(Tensor<float>::zeros({30}));
  const Tensor<float> gamma = variable(Tensor<float>::ones({30})), beta = variable(Tensor<float>::zeros({30}));
  const Tensor<float> w2 = variable(generator.normal<float>({4, 30}));
  Labels labels = full_array<std::int64_t>({32}, 1);
  const auto step = [&] {
    const Tensor<float> h = relu(batch_norm(linear(x, w1, b1), gamma, beta, 1e-5).y);
    const Tensor<float> loss = cross_entropy(linear(h, w2, {}), labels) + mean(w1 * w1, {0, 1});
    for (Tensor<float> p : {w1, b1, gamma, beta, w2}) p.zero_grad();
    loss.backward();
  };
  for (int i = 0; i < 3; ++i) step();
  const std::uint64_t before = memory::misses();
  for (int i = 0; i < 1000; ++i) step();
  EXPECT_EQ(memory::misses(), before);
}

TEST(LargeGraphs, SecondOrderStepsAskTheSystemForNothing) {
  if (test::kSanitized) GTEST_SKIP() << "the pool is off in sanitizer builds";
  const Double x = variable(Generator(3).normal<double>({8, 3}));
  const auto step = [&] {
    const Double y = sum(tanh(batch_norm<double>(x, {}, {}, 1e-5).y));
    const Double g = grad(y, {x}, {.create_graph = true})[0];
    grad(sum(g * g), {x});
  };
  for (int i = 0; i < 3; ++i) step();
  const std::uint64_t before = memory::misses();
  for (int i = 0; i < 1000; ++i) step();
  EXPECT_EQ(memory::misses(), before);
}

}  // namespace
}  // namespace xtgrad
