// Networks with BatchNorm1d learn, give the same bits for the same seed, and can live on several threads.
#include <gtest/gtest.h>

#include <optional>
#include <thread>

#include "oracle.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using oracle::same;

// The class of a point is whether its coordinates have the same sign; none is close to an axis.
template <class T> Dataset<T> four_clouds(std::size_t N, std::uint64_t seed) {
  Generator g(seed);
  Array<T> x = empty_array<T>({N, 2});
  Labels y = empty_array<std::int64_t>({N});
  for (std::size_t n = 0; n < N; ++n) {
    const bool right = g.below(2) == 1, above = g.below(2) == 1;
    x(n, 0) = static_cast<T>((right ? 1 : -1) + 0.25 * g.normal());
    x(n, 1) = static_cast<T>((above ? 1 : -1) + 0.25 * g.normal());
    y(n) = right == above ? 1 : 0;
  }
  return {std::move(x), std::move(y)};
}

template <class T> Sequential<T> network() {
  return Sequential<T>{Linear<T>(2, 16, {.bias = false}), BatchNorm1d<T>(16), Relu<T>(), Linear<T>(16, 2)};
}

// A network trained from this seed.
template <class T> Sequential<T> trained_network(std::uint64_t seed, int epochs = 8) {
  manual_seed(seed);
  Sequential<T> net = network<T>();
  Adam<T> adam(net.parameters(), {.lr = 1e-2});
  DataLoader<T> loader(four_clouds<T>(256, seed), {.batch_size = 32, .shuffle = true, .seed = seed});
  for (int epoch = 0; epoch < epochs; ++epoch)
    for (const auto& [x, y] : loader) {
      adam.zero_grad();
      cross_entropy(net(x), y).backward();
      adam.step();
    }
  return net;
}

template <class T> void expect_same_state(Sequential<T>& a, Sequential<T>& b) {
  const auto left = a.state_dict(), right = b.state_dict();
  ASSERT_EQ(left.size(), right.size());
  for (std::size_t i = 0; i < left.size(); ++i)
    if (const auto* tensor = std::get_if<Tensor<T>>(&left[i].second)) {
      EXPECT_TRUE(same(*tensor, std::get<Tensor<T>>(right[i].second))) << left[i].first;
    } else {
      EXPECT_EQ(std::get<std::int64_t>(left[i].second), std::get<std::int64_t>(right[i].second)) << left[i].first;
    }
}

template <class T> class Training : public ::testing::Test {};
using Precisions = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Training, Precisions);

TYPED_TEST(Training, LearnsWhatNoLineSeparates) {
  Sequential<TypeParam> net = trained_network<TypeParam>(1);
  const Dataset<TypeParam> fresh = four_clouds<TypeParam>(500, 99);
  net.eval();
  const NoGrad guard;
  EXPECT_GE(accuracy(net(fresh.x), fresh.y), 0.98);
}

TYPED_TEST(Training, IsTheWorkOfTraining) {
  // Without a step the same network knows nothing, so the test above says something.
  Sequential<TypeParam> net = trained_network<TypeParam>(1, 0);
  const Dataset<TypeParam> fresh = four_clouds<TypeParam>(500, 99);
  net.eval();
  const NoGrad guard;
  EXPECT_LE(accuracy(net(fresh.x), fresh.y), 0.9);
}

TYPED_TEST(Training, EvalAgreesWithTrainingOnceTheStatisticsHaveSettled) {
  Sequential<TypeParam> net = trained_network<TypeParam>(1, 20);
  const Dataset<TypeParam> fresh = four_clouds<TypeParam>(2000, 99);
  const NoGrad guard;
  const double in_training = oracle::wide(cross_entropy(net(fresh.x), fresh.y).item());
  net.eval();
  EXPECT_NEAR(oracle::wide(cross_entropy(net(fresh.x), fresh.y).item()), in_training, 0.05);
}

TYPED_TEST(Training, TheSameSeedGivesTheSameBits) {
  Sequential<TypeParam> a = trained_network<TypeParam>(7), b = trained_network<TypeParam>(7);
  expect_same_state(a, b);
}

TYPED_TEST(Training, AnotherSeedGivesAnotherNetwork) {
  Sequential<TypeParam> a = trained_network<TypeParam>(7, 1), b = trained_network<TypeParam>(8, 1);
  EXPECT_FALSE(same(a.parameters()[0], b.parameters()[0]));
}

TYPED_TEST(Training, OnTwoThreadsGivesTheBitsOfOneAfterTheOther) {
  Sequential<TypeParam> serial[2] = {trained_network<TypeParam>(1), trained_network<TypeParam>(2)};
  std::optional<Sequential<TypeParam>> parallel[2];
  {
    std::vector<std::jthread> threads;
    for (std::uint64_t i = 0; i < 2; ++i)
      threads.emplace_back([&parallel, i] { parallel[i] = trained_network<TypeParam>(i + 1); });
  }
  for (std::size_t i = 0; i < 2; ++i) expect_same_state(serial[i], *parallel[i]);
}

TYPED_TEST(Training, AnyNumberOfThreadsGivesTheSameLossesAndWeights) {
  // Wide enough that threads share the products, BatchNorm and the optimizer's step.
  using T = TypeParam;
  struct OneThread {
    ~OneThread() { set_num_threads(1); }
  } const afterwards;
  constexpr std::size_t kRows = 1400, kWidth = 400, kClasses = 100;  // as many inputs as classes
  Generator g(3);
  const Tensor<T> x = g.normal<T>({kRows, kClasses});
  Labels y = empty_array<std::int64_t>({kRows});
  for (std::int64_t& label : y) label = static_cast<std::int64_t>(g.below(kClasses));
  std::vector<T> serial_losses;
  std::optional<Sequential<T>> serial;
  for (const int threads : {1, 2, 4}) {
    set_num_threads(threads);
    manual_seed(3);
    Sequential<T> net{Linear<T>(kClasses, kWidth, {.bias = false}), BatchNorm1d<T>(kWidth), Relu<T>(), Dropout<T>(0.2),
                      Linear<T>(kWidth, kClasses)};
    Adam<T> adam(net.parameters(), {.lr = 1e-2});
    DataLoader<T> loader({x, y}, {.batch_size = 700, .shuffle = true});
    std::vector<T> losses;
    for (int epoch = 0; epoch < 3; ++epoch)
      for (const auto& [rows, labels] : loader) {
        adam.zero_grad();
        const Tensor<T> loss = cross_entropy(net(rows), labels);
        loss.backward();
        adam.step();
        losses.push_back(loss.item());
      }
    if (!serial) {
      serial_losses = losses;
      serial.emplace(std::move(net));
      continue;
    }
    EXPECT_EQ(losses, serial_losses) << threads;
    expect_same_state(net, *serial);
  }
}

TYPED_TEST(Training, OneNetworkEvaluatesOnTwoThreadsToTheSameBits) {
  Sequential<TypeParam> net = trained_network<TypeParam>(1, 1);
  net.eval();
  std::vector<Tensor<TypeParam>> inputs, serial;
  for (std::uint64_t i = 0; i < 50; ++i) {
    inputs.push_back(four_clouds<TypeParam>(33, i).x);
    serial.push_back(net(inputs.back()));
  }
  std::vector<Tensor<TypeParam>> outputs[2];
  {
    std::vector<std::jthread> threads;
    for (auto& mine : outputs)
      threads.emplace_back([&net, &inputs, &mine] {
        for (const Tensor<TypeParam>& x : inputs) mine.push_back(net(x));
      });
  }
  for (const auto& mine : outputs)
    for (std::size_t i = 0; i < inputs.size(); ++i) EXPECT_TRUE(same(mine[i], serial[i])) << i;
}

TYPED_TEST(Training, GradientsOfOneEvalNetworkOnTwoThreadsAreThoseOfOneThread) {
  // grad() leaves the parameters' own gradients alone, so the network is only read.
  Sequential<TypeParam> net = trained_network<TypeParam>(1, 1);
  net.eval();
  const Dataset<TypeParam> data = four_clouds<TypeParam>(33, 5);
  const auto gradients = [&net, &data] { return grad(cross_entropy(net(data.x), data.y), net.parameters()); };
  const std::vector<Tensor<TypeParam>> serial = gradients();
  std::vector<Tensor<TypeParam>> results[2];
  {
    std::vector<std::jthread> threads;
    for (auto& mine : results)
      threads.emplace_back([&mine, &gradients] {
        for (int i = 0; i < 20; ++i) mine = gradients();
      });
  }
  for (const auto& mine : results)
    for (std::size_t i = 0; i < serial.size(); ++i) EXPECT_TRUE(same(mine[i], serial[i])) << i;
}

TYPED_TEST(Training, AFrozenLayerKeepsItsStatisticsWhileTheRestLearns) {
  manual_seed(1);
  Sequential<TypeParam> net = network<TypeParam>();
  auto& bn = net.template get<BatchNorm1d<TypeParam>>(1);
  const Dataset<TypeParam> data = four_clouds<TypeParam>(64, 1);
  net(data.x);
  bn.freeze();
  const Tensor<TypeParam> mean(Array<TypeParam>(bn.running_mean().value())),
      gamma(Array<TypeParam>(bn.gamma().value()));
  SGD<TypeParam> sgd(net.parameters(), {.lr = 0.1});
  net.train();
  cross_entropy(net(data.x), data.y).backward();
  sgd.step();
  EXPECT_TRUE(same(bn.running_mean(), mean));
  EXPECT_FALSE(same(bn.gamma(), gamma));
}

}  // namespace
}  // namespace xtgrad
