// A training step in its steady state asks the system for no memory, and none is lost.
//
// Every operator new of this program is replaced by one that counts while it is told to. Not under
// sanitizers: they bring their own, and switch the pool off.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define XTGRAD_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define XTGRAD_SANITIZED
#endif
#endif

#ifndef XTGRAD_SANITIZED

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <new>

#include "xtgrad/xtgrad.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<std::size_t> calls{0};
std::atomic<std::int64_t> live{0};  // blocks that were not freed yet, whether counting or not

void* counted(std::size_t bytes, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) calls.fetch_add(1, std::memory_order_relaxed);
  // aligned_alloc wants a multiple of the alignment, and not zero bytes.
  const std::size_t rounded = (bytes + alignment) / alignment * alignment;
  void* const block = std::aligned_alloc(alignment, rounded);
  if (block == nullptr) throw std::bad_alloc();
  live.fetch_add(1, std::memory_order_relaxed);
  return block;
}

void give_back(void* block) noexcept {
  if (block != nullptr) live.fetch_sub(1, std::memory_order_relaxed);
  std::free(block);
}

constexpr std::size_t kPlain = alignof(std::max_align_t);

}  // namespace

// The forms for arrays and the ones that do not throw are defined by the library in terms of these. Never
// inlined: g++ would warn that free() is not what belongs to operator new.
[[gnu::noinline]] void* operator new(std::size_t bytes) { return counted(bytes, kPlain); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* block) noexcept { give_back(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t) noexcept { give_back(block); }
[[gnu::noinline]] void operator delete(void* block, std::align_val_t) noexcept { give_back(block); }
[[gnu::noinline]] void operator delete(void* block, std::size_t, std::align_val_t) noexcept { give_back(block); }

namespace xtgrad {
namespace {

// Calls of operator new and of the pool to the system while it lives.
class Counter {
 public:
  Counter() : misses_(memory::misses()) {
    calls = 0;
    counting = true;
  }
  ~Counter() { counting = false; }
  Counter(const Counter&) = delete;
  Counter& operator=(const Counter&) = delete;

  std::size_t allocations() const { return calls; }
  std::uint64_t misses() const { return memory::misses() - misses_; }

 private:
  std::uint64_t misses_;
};

TEST(Allocation, TheCounterSeesEveryFormOfNew) {
  struct alignas(128) Wide {
    char bytes[128];
  };
  const Counter counter;
  std::size_t expected = 0;
  const auto expect_one_more = [&](auto pointer) {
    EXPECT_NE(pointer, nullptr);
    EXPECT_EQ(counter.allocations(), ++expected);
  };
  expect_one_more(std::make_unique<int>());
  expect_one_more(std::make_unique<int[]>(100));
  expect_one_more(std::make_unique<Wide>());
  expect_one_more(std::make_unique<Wide[]>(2));
  expect_one_more(std::unique_ptr<int>(new (std::nothrow) int));
  expect_one_more(std::unique_ptr<Wide>(new (std::nothrow) Wide));
}

TEST(Allocation, TheCounterSeesAMissOfThePool) {
  memory::trim();
  const Counter counter;
  memory::deallocate(memory::allocate(1000), 1000);
  memory::deallocate(memory::allocate(1000), 1000);
  EXPECT_EQ(counter.misses(), 1U);
  EXPECT_EQ(counter.allocations(), 1U);
}

// 2-16-16-2 with BatchNorm1d and ReLU twice, and a batch of 32 to learn.
template <class T> struct Network {
  Sequential<T> net{Linear<T>(2, 16),   BatchNorm1d<T>(16), Relu<T>(),       Linear<T>(16, 16),
                    BatchNorm1d<T>(16), Relu<T>(),          Linear<T>(16, 2)};
  Tensor<T> x = Generator(1).normal<T>({32, 2});
  Labels y = full_array<std::int64_t>({32}, 0);

  Network() {
    for (std::size_t n = 0; n < 32; ++n) y(n) = x.value()(n, 0) * x.value()(n, 1) > 0 ? 1 : 0;
  }
  template <class O> void step(O& optimizer, const Tensor<T>& batch, const Labels& labels) {
    optimizer.zero_grad();
    const Tensor<T> loss = cross_entropy(net(batch), labels);
    loss.backward();
    optimizer.step();
  }
};

// 100 steps after 20 to warm up.
template <class Step> void expect_no_allocation(Step step) {
  for (int i = 0; i < 20; ++i) step();
  const Counter counter;
  for (int i = 0; i < 100; ++i) step();
  EXPECT_EQ(counter.allocations(), 0U);
  EXPECT_EQ(counter.misses(), 0U);
}

template <class T> class TrainingStep : public ::testing::Test {
 protected:
  Network<T> n_;
};
using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(TrainingStep, Precisions);

TYPED_TEST(TrainingStep, WithSgdAllocatesNothing) {
  Network<TypeParam>& n = this->n_;
  SGD<TypeParam> sgd(n.net.parameters(), {.lr = 0.1, .momentum = 0.9});
  expect_no_allocation([&] { n.step(sgd, n.x, n.y); });
}

TYPED_TEST(TrainingStep, WithAdamAllocatesNothing) {
  Network<TypeParam>& n = this->n_;
  Adam<TypeParam> adam(n.net.parameters());
  expect_no_allocation([&] { n.step(adam, n.x, n.y); });
}

TYPED_TEST(TrainingStep, WithAdamWAllocatesNothing) {
  Network<TypeParam>& n = this->n_;
  AdamW<TypeParam> adam(n.net.parameters());
  expect_no_allocation([&] { n.step(adam, n.x, n.y); });
}

TYPED_TEST(TrainingStep, WithRmspropClippingAndAScheduleAllocatesNothing) {
  Network<TypeParam>& n = this->n_;
  const std::vector<Tensor<TypeParam>> parameters = n.net.parameters();
  RMSprop<TypeParam> rmsprop(parameters, {.lr = 1e-3, .momentum = 0.9});
  Scheduler<TypeParam> scheduler(rmsprop, warm_up(10, cosine(1000)));
  expect_no_allocation([&] {
    n.step(rmsprop, n.x, n.y);
    clip_grad_norm(parameters, 1);
    clip_grad_value(parameters, 0.1);
    scheduler.step();
  });
}

TYPED_TEST(TrainingStep, ThroughEveryOtherLayerAllocatesNothing) {
  using T = TypeParam;
  Network<T>& n = this->n_;
  n.net = Sequential<T>{Flatten<T>(), Linear<T>(2, 8), LayerNorm<T>(8), Gelu<T>(),
                        Dropout<T>(), Tanh<T>(),       LeakyRelu<T>(),  Softplus<T>(),
                        Sigmoid<T>(), Identity<T>(),   Softmax<T>(),    Sequential<T>{Linear<T>(8, 2)}};
  SGD<T> sgd(n.net.parameters(), {.lr = 0.1, .momentum = 0.9, .nesterov = true});
  expect_no_allocation([&] { n.step(sgd, n.x, n.y); });
}

TYPED_TEST(TrainingStep, WithALoaderAllocatesNothing) {
  Network<TypeParam>& n = this->n_;
  SGD<TypeParam> sgd(n.net.parameters(), {.lr = 0.1, .momentum = 0.9});
  DataLoader<TypeParam> loader({n.x, n.y}, {.batch_size = 8, .shuffle = true});
  expect_no_allocation([&] {
    for (const auto& [x, y] : loader) n.step(sgd, x, y);
  });
}

TYPED_TEST(TrainingStep, InEvalAllocatesNothing) {
  Network<TypeParam>& n = this->n_;
  n.net.eval();
  expect_no_allocation([&] {
    const NoGrad guard;
    n.net(n.x);
  });
}

TYPED_TEST(TrainingStep, OverThreeAxesAllocatesNothing) {
  BatchNorm1d<TypeParam> bn(3);
  const Tensor<TypeParam> x = Generator(1).normal<TypeParam>({4, 3, 5}), dy = Generator(2).normal<TypeParam>({4, 3, 5});
  expect_no_allocation([&] {
    bn.gamma().zero_grad();
    bn.beta().zero_grad();
    bn(x).backward(dy);
  });
}

TYPED_TEST(TrainingStep, AThousandTimesLeavesNothingAlive) {
  // Nodes, values and the optimizer's state: all is gone with the network, and the pool hands back what it kept.
  const auto live_after = [](int steps) {
    {
      Network<TypeParam> n;
      Adam<TypeParam> adam(n.net.parameters());
      for (int i = 0; i < steps; ++i) n.step(adam, n.x, n.y);
    }
    memory::trim();
    return live.load();
  };
  const std::int64_t before = live_after(1);  // with the labels, which stay
  const std::int64_t after = live_after(1000);
  EXPECT_EQ(after, before);
}

TYPED_TEST(TrainingStep, TenThousandTimesLosesNoMemory) {
  const auto resident = [] {
    std::ifstream statm("/proc/self/statm");
    long pages = 0, in_memory = 0;
    statm >> pages >> in_memory;
    return in_memory * sysconf(_SC_PAGESIZE);
  };
  Network<TypeParam>& n = this->n_;
  Adam<TypeParam> adam(n.net.parameters());
  for (int i = 0; i < 100; ++i) n.step(adam, n.x, n.y);
  const long before = resident();
  ASSERT_GT(before, 0);
  for (int i = 0; i < 10000; ++i) n.step(adam, n.x, n.y);
  EXPECT_LE(resident() - before, 1L << 20);
}

}  // namespace
}  // namespace xtgrad

#endif
