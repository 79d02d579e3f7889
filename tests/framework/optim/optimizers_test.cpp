#include "xtgrad/optim/optimizers.hpp"

#include <cmath>
#include <limits>

#include "../support.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;
using test::variable;

using Exact = long double;
Exact exact(double x) { return static_cast<Exact>(x); }

constexpr int kSteps = 20;
constexpr std::size_t kSize = 23;  // full registers and a tail

// What rounding may cost in kSteps steps, where parameters are of the order of 1.
template <class T> constexpr Exact kError = 1000 * static_cast<Exact>(std::numeric_limits<T>::epsilon());

/// Gives w the gradient g by differentiating <g, w>.
template <class T> void set_gradient(Tensor<T>& w, const Tensor<T>& g) {
  w.zero_grad();
  w.backward(g);
}

/// Runs an optimizer beside `update(w, g, t)` in long double, which changes w[i] for the gradient g[i] in step t.
template <class T, class Make, class Update> void expect_steps(Make make, Update update) {
  Generator generator(1);
  Tensor<T> w = variable(generator.normal<T>({kSize}));
  std::vector<Exact> expected(w.data(), w.data() + kSize);
  auto optimizer = make(std::vector<Tensor<T>>{w});
  for (int t = 1; t <= kSteps; ++t) {
    const Tensor<T> g = generator.normal<T>({kSize});
    set_gradient(w, g);
    optimizer.step();
    for (std::size_t i = 0; i < kSize; ++i) {
      update(i, expected[i], static_cast<Exact>(g.data()[i]), t);
      ASSERT_LE(std::abs(static_cast<Exact>(w.data()[i]) - expected[i]), kError<T>) << "step " << t;
    }
  }
}

template <class T> class Optimizers : public testing::Test {};
using Precisions = testing::Types<float, double>;
TYPED_TEST_SUITE(Optimizers, Precisions);

TYPED_TEST(Optimizers, SgdFollowsItsFormula) {
  using T = TypeParam;
  for (const SGDOptions o :
       {SGDOptions{.lr = 0.1}, SGDOptions{.lr = 0.05, .weight_decay = 0.3}, SGDOptions{.lr = 0.1, .momentum = 0.9},
        SGDOptions{.lr = 0.02, .momentum = 0.5, .weight_decay = 0.2}}) {
    const Exact lr = exact(o.lr), momentum = exact(o.momentum), decay = exact(o.weight_decay);
    std::vector<Exact> v(kSize, 0);
    expect_steps<T>([&](auto parameters) { return SGD<T>(parameters, o); },
                    [&](std::size_t i, Exact& w, Exact g, int) {
                      v[i] = momentum * v[i] + (g + decay * w);
                      w -= lr * v[i];
                    });
  }
}

TYPED_TEST(Optimizers, AdamFollowsItsFormula) {
  using T = TypeParam;
  for (const AdamOptions o : {AdamOptions{.lr = 0.1}, AdamOptions{.lr = 0.05, .beta1 = 0.5, .beta2 = 0.9, .eps = 0.1},
                              AdamOptions{.lr = 0.05, .weight_decay = 0.3}, AdamOptions{.lr = 0.1, .beta1 = 0}}) {
    const Exact lr = exact(o.lr), beta1 = exact(o.beta1), beta2 = exact(o.beta2), eps = exact(o.eps),
                decay = exact(o.weight_decay);
    std::vector<Exact> m(kSize, 0), v(kSize, 0);
    expect_steps<T>([&](auto parameters) { return Adam<T>(parameters, o); },
                    [&](std::size_t i, Exact& w, Exact g, int t) {
                      g += decay * w;
                      m[i] = beta1 * m[i] + (1 - beta1) * g;
                      v[i] = beta2 * v[i] + (1 - beta2) * g * g;
                      const Exact mhat = m[i] / (1 - std::pow(beta1, t)), vhat = v[i] / (1 - std::pow(beta2, t));
                      w -= lr * mhat / (std::sqrt(vhat) + eps);
                    });
  }
}

TYPED_TEST(Optimizers, SgdWithDampeningOrNesterovFollowsItsFormula) {
  using T = TypeParam;
  for (const SGDOptions o : {SGDOptions{.lr = 0.1, .momentum = 0.9, .dampening = 0.3},
                             SGDOptions{.lr = 0.05, .momentum = 0.8, .weight_decay = 0.2, .nesterov = true}}) {
    const Exact lr = exact(o.lr), momentum = exact(o.momentum), decay = exact(o.weight_decay);
    std::vector<Exact> v(kSize, 0);
    expect_steps<T>([&](auto parameters) { return SGD<T>(parameters, o); },
                    [&](std::size_t i, Exact& w, Exact g, int t) {
                      g += decay * w;
                      // PyTorch's velocity starts as the whole gradient
                      v[i] = t == 1 ? g : momentum * v[i] + (1 - exact(o.dampening)) * g;
                      w -= lr * (o.nesterov ? g + momentum * v[i] : v[i]);
                    });
  }
}

TYPED_TEST(Optimizers, AdamWTakesItsDecayOffTheWeights) {
  using T = TypeParam;
  const AdamWOptions o{.lr = 0.05, .weight_decay = 0.3};
  const Exact lr = exact(o.lr), beta1 = exact(o.beta1), beta2 = exact(o.beta2), eps = exact(o.eps);
  std::vector<Exact> m(kSize, 0), v(kSize, 0);
  expect_steps<T>([&](auto parameters) { return AdamW<T>(parameters, o); },
                  [&](std::size_t i, Exact& w, Exact g, int t) {
                    w -= lr * exact(o.weight_decay) * w;
                    m[i] = beta1 * m[i] + (1 - beta1) * g;
                    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
                    const Exact mhat = m[i] / (1 - std::pow(beta1, t)), vhat = v[i] / (1 - std::pow(beta2, t));
                    w -= lr * mhat / (std::sqrt(vhat) + eps);
                  });
}

TYPED_TEST(Optimizers, RMSpropFollowsItsFormula) {
  using T = TypeParam;
  for (const RMSpropOptions o :
       {RMSpropOptions{.lr = 0.05},
        RMSpropOptions{.lr = 0.02, .alpha = 0.9, .eps = 0.1, .momentum = 0.7, .weight_decay = 0.3}}) {
    std::vector<Exact> square(kSize, 0), v(kSize, 0);
    expect_steps<T>([&](auto parameters) { return RMSprop<T>(parameters, o); },
                    [&](std::size_t i, Exact& w, Exact g, int) {
                      g += exact(o.weight_decay) * w;
                      square[i] = exact(o.alpha) * square[i] + (1 - exact(o.alpha)) * g * g;
                      v[i] = exact(o.momentum) * v[i] + g / (std::sqrt(square[i]) + exact(o.eps));
                      w -= exact(o.lr) * v[i];
                    });
  }
}

TEST(ParameterGroups, HaveTheirOwnOptions) {
  Tensor<double> a = variable(Tensor<double>{1}), b = variable(Tensor<double>{1});
  SGD<double> sgd({{{a}, {.lr = 0.5}}, {{b}, {.lr = 0.25, .weight_decay = 2}}});
  const auto step = [&] {
    set_gradient(a, Tensor<double>{1});
    set_gradient(b, Tensor<double>{1});
    sgd.step();
  };
  step();
  EXPECT_EQ(a.item(), 0.5);
  EXPECT_EQ(b.item(), 0.25);  // 1 - 0.25 * (1 + 2 * 1)
  sgd.set_lr(0, 1);
  step();
  EXPECT_EQ(a.item(), 0);
  EXPECT_EQ(b.item(), 0.25);
  EXPECT_EQ(sgd.lr(0), 0.5);
  EXPECT_THROW(sgd.set_lr(1, 2), std::out_of_range);
}

TEST(ParameterGroups, RefuseAParameterThatIsThereTwice) {
  Tensor<double> a = variable(Tensor<double>{1});
  expect_parts(error([&] { SGD<double>({a, a}, {}); }), {"twice"});
}

TEST(SGD, RefusesNesterovWithoutMomentumOrWithDampening) {
  Tensor<double> a = variable(Tensor<double>{1});
  expect_parts(error([&] { SGD<double>({a}, {.nesterov = true}); }), {"SGD", "nesterov", "momentum"});
  expect_parts(error([&] { SGD<double>({a}, {.momentum = 0.9, .dampening = 0.1, .nesterov = true}); }), {"dampening"});
}

TEST(ClipGradNorm, ScalesAllGradientsByOneFactor) {
  Tensor<double> a = variable(Tensor<double>{0, 0}), b = variable(Tensor<double>{0}),
                 none = variable(Tensor<double>{0});
  set_gradient(a, Tensor<double>{3, 0});
  set_gradient(b, Tensor<double>{4});
  EXPECT_EQ(clip_grad_norm<double>({a, b, none}, 2.5), 5);
  EXPECT_EQ(values(a.grad()), (std::vector<double>{1.5, 0}));
  EXPECT_EQ(b.grad().item(), 2);
  EXPECT_EQ(clip_grad_norm<double>({a, b, none}, 100), 2.5);
  EXPECT_EQ(b.grad().item(), 2);
  EXPECT_THROW(clip_grad_norm<double>({a}, 0), std::invalid_argument);
}

TEST(ClipGradNorm, LeavesANormThatIsNotFiniteAlone) {
  Tensor<double> a = variable(Tensor<double>{0, 0});
  set_gradient(a, Tensor<double>{std::numeric_limits<double>::infinity(), 1});
  EXPECT_TRUE(std::isinf(clip_grad_norm<double>({a}, 1)));
  EXPECT_EQ(a.grad().value()(1), 1);
}

TEST(ClipGradValue, LimitsEveryElement) {
  Tensor<double> a = variable(Tensor<double>{0, 0, 0});
  set_gradient(a, Tensor<double>{-3, 0.5, 2});
  clip_grad_value<double>({a}, 1);
  EXPECT_EQ(values(a.grad()), (std::vector<double>{-1, 0.5, 1}));
}

TEST(Adam, FirstStepIsTheLearningRateWhateverTheGradient) {
  for (const double g : {1e-3, 1.0, -5e4}) {
    Tensor<double> w = variable(Tensor<double>{2});
    Adam<double> adam({w}, {.lr = 0.125});
    set_gradient(w, Tensor<double>{g});
    adam.step();
    EXPECT_NEAR(w.item(), 2 - (g > 0 ? 0.125 : -0.125), 1e-5);
  }
}

TEST(Adam, AParameterWithoutAGradientDoesNotAge) {
  Tensor<double> always = variable(Tensor<double>{1}), late = variable(Tensor<double>{1});
  Adam<double> adam({always, late}, {.lr = 0.125});
  for (int i = 0; i < 10; ++i) {
    set_gradient(always, Tensor<double>{1});
    adam.step();
  }
  EXPECT_EQ(late.item(), 1);
  set_gradient(late, Tensor<double>{1});
  adam.step();
  EXPECT_NEAR(late.item(), 1 - 0.125, 1e-8);  // the correction is that of a first step
}

TEST(SGD, PassesOverParametersWithoutAGradient) {
  Tensor<double> with = variable(Tensor<double>{1}), without = variable(Tensor<double>{1});
  SGD<double> sgd({with, without}, {.lr = 0.5, .momentum = 0.9, .weight_decay = 1});
  set_gradient(with, Tensor<double>{1});
  sgd.step();
  EXPECT_EQ(with.item(), 0);
  EXPECT_EQ(without.item(), 1);
}

// Runs 5 steps, carries parameters and state into a new optimizer, and compares 5 more with those of one that never
// stopped.
template <class Make> void expect_to_go_on(Make make) {
  Generator generator(1);
  const std::vector<Tensor<double>> start{generator.normal<double>({3}), generator.normal<double>({2, 2})};
  const auto copies = [](const std::vector<Tensor<double>>& from) {
    std::vector<Tensor<double>> w;
    for (const Tensor<double>& t : from) w.push_back(variable(Tensor<double>(Array<double>(t.value()))));
    return w;
  };
  const auto steps = [](auto& optimizer, std::vector<Tensor<double>>& w, Generator& draws) {
    for (int i = 0; i < 5; ++i) {
      for (Tensor<double>& t : w) set_gradient(t, draws.normal<double>(t.shape()));
      optimizer.step();
    }
  };
  std::vector<Tensor<double>> w = copies(start);
  auto whole = make(w);
  Generator draws(2);
  steps(whole, w, draws);
  whole.set_lr(0.03);

  std::vector<Tensor<double>> v = copies(w);
  auto resumed = make(v);
  resumed.load_state_dict(whole.state_dict());
  EXPECT_EQ(resumed.lr(), 0.03);
  Generator same = draws;
  steps(whole, w, draws);
  steps(resumed, v, same);
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_EQ(values(v[i]), values(w[i]));
}

TEST(OptimizerState, LetsEveryOptimizerGoOnExactly) {
  using Parameters = std::vector<Tensor<double>>;
  expect_to_go_on([](const Parameters& w) { return SGD<double>(w, {.lr = 0.1, .momentum = 0.9, .dampening = 0.2}); });
  expect_to_go_on([](const Parameters& w) { return Adam<double>(w, {.lr = 0.1}); });
  expect_to_go_on([](const Parameters& w) { return AdamW<double>(w, {.lr = 0.1}); });
  expect_to_go_on([](const Parameters& w) { return RMSprop<double>(w, {.lr = 0.1, .momentum = 0.5}); });
}

TEST(OptimizerState, HasPyTorchsNames) {
  const Tensor<double> w = variable(Tensor<double>{1});
  const auto names = [](auto optimizer) {
    std::string all;
    for (const auto& [name, value] : optimizer.state_dict()) all += name + " ";
    return all;
  };
  EXPECT_EQ(names(SGD<double>({w})), "0.step 0.momentum_buffer group.0.lr ");
  EXPECT_EQ(names(Adam<double>({w})), "0.step 0.exp_avg 0.exp_avg_sq group.0.lr ");
  EXPECT_EQ(names(AdamW<double>({w})), "0.step 0.exp_avg 0.exp_avg_sq group.0.lr ");
  EXPECT_EQ(names(RMSprop<double>({w})), "0.step 0.square_avg 0.momentum_buffer group.0.lr ");
}

TEST(OptimizerState, ThatDoesNotFitChangesNothing) {
  Tensor<double> w = variable(Tensor<double>{1, 2});
  Adam<double> adam({w}, {.lr = 0.1});
  StateDict<double> state = adam.state_dict();
  state[1].second = Tensor<double>{1};
  state[3].second = -1.0;
  state.erase(state.begin() + 2);
  expect_parts(error([&] { adam.load_state_dict(state); }),
               {"0.exp_avg is (1,), expected (2,)", "0.exp_avg_sq is missing", "group.0.lr is -1"});
  EXPECT_EQ(adam.lr(), 0.1);
}

TEST(GradientAccumulation, OverPartsIsTheGradientOfTheWhole) {
  Generator generator(3);
  const Tensor<double> x = generator.normal<double>({8, 3}), t = generator.normal<double>({8, 1});
  Tensor<double> w = variable(generator.normal<double>({3, 1}));
  const auto loss = [&](const Tensor<double>& rows, const Tensor<double>& targets) {
    return mse(matmul(rows, w), targets, Reduction::sum) / 8;
  };
  loss(x, t).backward();
  const std::vector<double> whole = values(w.grad());
  w.zero_grad();
  for (const auto& [begin, end] : {std::pair<std::size_t, std::size_t>{0, 5}, {5, 8}})
    loss(slice(x, 0, begin, end), slice(t, 0, begin, end)).backward();
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(values(w.grad())[i], whole[i], 1e-15);
}

TEST(Optimizer, ZeroGradDropsAllGradients) {
  Tensor<double> a = variable(Tensor<double>{1}), b = variable(Tensor<double>{1});
  SGD<double> sgd({a, b});
  sum(a * b).backward();
  sgd.zero_grad();
  EXPECT_FALSE(a.grad().defined());
  EXPECT_FALSE(b.grad().defined());
}

TEST(Optimizer, StepLeavesTheGradientsAsTheyAre) {
  Tensor<double> w = variable(Tensor<double>{1});
  for (const bool use_adam : {false, true}) {
    SGD<double> sgd({w}, {.lr = 0.1, .momentum = 0.9, .weight_decay = 0.1});
    Adam<double> adam({w}, {.lr = 0.1, .weight_decay = 0.1});
    set_gradient(w, Tensor<double>{3});
    use_adam ? adam.step() : sgd.step();
    EXPECT_EQ(w.grad().item(), 3);
  }
}

TEST(Optimizer, StepIsSeenByAGraphThatNeedsTheOldValues) {
  Tensor<double> w = variable(Tensor<double>{1});
  SGD<double> sgd({w}, {.lr = 0.1});
  const Tensor<double> y = sum(w * w);
  set_gradient(w, Tensor<double>{3});
  sgd.step();
  EXPECT_THROW(y.backward(), std::invalid_argument);
}

TEST(Optimizer, LearningRateCanBeChanged) {
  Tensor<double> w = variable(Tensor<double>{1});
  SGD<double> sgd({w}, {.lr = 0.1});
  EXPECT_EQ(sgd.lr(), 0.1);
  sgd.set_lr(0.5);
  EXPECT_EQ(sgd.lr(), 0.5);
  set_gradient(w, Tensor<double>{1});
  sgd.step();
  EXPECT_EQ(w.item(), 0.5);
}

TEST(Optimizer, ALearningRateOfZeroChangesNothing) {
  Tensor<double> w = variable(Tensor<double>{1});
  Adam<double> adam({w}, {.lr = 0});
  set_gradient(w, Tensor<double>{1});
  adam.step();
  EXPECT_EQ(w.item(), 1);
}

TEST(Optimizer, ThrowsWithoutParametersOrForOneThatDoesNotRequireGrad) {
  expect_parts(error([] { SGD<double>(std::vector<Tensor<double>>{}); }), {"SGD", "parameters", "empty"});
  expect_parts(error([] { Adam<double>({Tensor<double>{1, 2}}); }), {"Adam", "(2,)", "require"});
}

TEST(Optimizer, ThrowsForTheResultOfAnOp) {
  const Tensor<double> w = variable(Tensor<double>{1, 2}) * 0.1;
  expect_parts(error([&] { SGD<double>({w}); }), {"SGD", "(2,)", "leaf"});
}

TEST(Optimizer, ThrowsForAParameterOfAnotherShapeThanBeforeAndMovesNone) {
  Tensor<double> first = variable(Tensor<double>{1}), changed = variable(Tensor<double>{1, 2});
  SGD<double> sgd({first, changed}, {.lr = 0.5});
  set_gradient(first, Tensor<double>{1});
  set_gradient(changed, Tensor<double>{1, 1});
  const auto expect_refusal = [&](const std::vector<std::string>& parts) {
    expect_parts(error([&] { sgd.step(); }), parts);
    EXPECT_EQ(first.item(), 1);
  };
  changed.mutable_value() = Tensor<double>{1, 2, 3}.value();
  expect_refusal({"SGD", "(3,)", "(2,)"});
  set_gradient(changed, Tensor<double>{1, 1, 1});
  expect_refusal({"SGD", "(3,)", "(2,)"});
  changed.zero_grad();
  sgd.step();
  EXPECT_EQ(first.item(), 0.5);
}

TEST(Optimizer, ThrowsForOptionsOutOfRange) {
  const std::vector<Tensor<double>> w{variable(Tensor<double>{1})};
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
  for (const double bad : {-0.1, kNaN, kInf}) {
    EXPECT_THROW(SGD<double>(w, {.lr = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(SGD<double>(w, {.momentum = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(SGD<double>(w, {.weight_decay = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(Adam<double>(w, {.lr = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(Adam<double>(w, {.beta1 = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(Adam<double>(w, {.beta2 = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(Adam<double>(w, {.eps = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(Adam<double>(w, {.weight_decay = bad}), std::invalid_argument) << bad;
    EXPECT_THROW(SGD<double>(w).set_lr(bad), std::invalid_argument) << bad;
  }
  EXPECT_THROW(Adam<double>(w, {.beta1 = 1}), std::invalid_argument);
  EXPECT_THROW(Adam<double>(w, {.beta2 = 1}), std::invalid_argument);
  expect_parts(error([&] { Adam<double>(w, {.beta2 = 1.5}); }), {"Adam", "beta2", "1.5"});
}

}  // namespace
}  // namespace xtgrad
