#include "xtgrad/batchnorm/fold.hpp"

#include "../../framework/support.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;

// A network whose running statistics, gammas and betas have moved.
template <class T> Sequential<T> trained() {
  manual_seed(1);
  Sequential<T> net{Linear<T>(3, 8, {.bias = false}),
                    BatchNorm1d<T>(8),
                    Relu<T>(),
                    Sequential<T>{Linear<T>(8, 6), BatchNorm1d<T>(6, {.affine = false}), Tanh<T>()},
                    Dropout<T>(0.5),
                    Linear<T>(6, 2)};
  Generator generator(2);
  for (Tensor<T>& p : net.parameters())
    if (p.shape().size() == 1) init::uniform(p, 1, generator);
  for (int i = 0; i < 20; ++i) net(generator.normal<T>({16, 3}, 1, 2));
  return net;
}

template <class T> void expect_same_outputs(double tolerance) {
  Sequential<T> net = trained<T>();
  Sequential<T> folded = fold(net);
  net.eval();
  const Tensor<T> x = Generator(3).normal<T>({50, 3}, 1, 2), y = net(x), z = folded(x);
  for (std::size_t i = 0; i < y.size(); ++i)
    EXPECT_NEAR(static_cast<double>(z.data()[i]), static_cast<double>(y.data()[i]), tolerance);
}

TEST(Fold, GivesTheOutputsOfEvalMode) {
  expect_same_outputs<float>(1e-6);
  expect_same_outputs<double>(1e-14);
}

TEST(Fold, LeavesNoBatchNormAndTheOriginalAsItWas) {
  Sequential<> net = trained<float>();
  const std::string before = summary(net, {3});
  Sequential<> folded = fold(net);
  EXPECT_EQ(summary(net, {3}), before);
  EXPECT_EQ(summary(folded, {3}),
            "layer               output  parameters\n"
            "Sequential          (N, 2)         100\n"
            "  0 Linear(3, 8)    (N, 8)          32\n"
            "  1 ReLU            (N, 8)           0\n"
            "  2 Sequential      (N, 6)          54\n"
            "    0 Linear(8, 6)  (N, 6)          54\n"
            "    1 Tanh          (N, 6)           0\n"
            "  3 Dropout(0.5)    (N, 6)           0\n"
            "  4 Linear(6, 2)    (N, 2)          14\n");
  EXPECT_FALSE(folded.training());
  EXPECT_TRUE(net.training());
}

TEST(Fold, SaysWhyItCannot) {
  Sequential<> after_relu{Linear(2, 2), Relu(), BatchNorm1d(2)};
  expect_parts(error([&] { fold(after_relu); }), {"fold: 2 BatchNorm1d(2) does not follow a Linear"});
  Sequential<> first{Sequential<>{BatchNorm1d(2)}, Relu()};
  expect_parts(error([&] { fold(first); }), {"fold: 0.0 BatchNorm1d(2)"});
  Sequential<> untracked{Linear(2, 2), BatchNorm1d(2, {.track_running_stats = false})};
  expect_parts(error([&] { fold(untracked); }),
               {"1 BatchNorm1d(2, no running statistics)", "another map for every batch"});
  Sequential<> unfit{Linear(3, 7), BatchNorm1d(2)};
  expect_parts(error([&] { fold(unfit); }), {"1 BatchNorm1d(2)", "Linear(3, 7)"});
}

}  // namespace
}  // namespace xtgrad
