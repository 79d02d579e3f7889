#include "xtgrad/optim/schedulers.hpp"

#include <cmath>
#include <limits>

#include "../support.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::variable;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

SGD<double> two_groups() {
  return SGD<double>({{{variable(Tensor<double>{1})}, {.lr = 0.5}}, {{variable(Tensor<double>{1})}, {.lr = 0.25}}});
}

TEST(StepDecay, MultipliesByTheFactorEveryFewSteps) {
  const Schedule s = step_decay(3, 0.5);
  const std::vector<double> expected{1, 1, 1, 0.5, 0.5, 0.5, 0.25};
  for (std::size_t t = 0; t < expected.size(); ++t) EXPECT_EQ(s(static_cast<std::int64_t>(t)), expected[t]) << t;
}

TEST(Cosine, FollowsEquation5OfSgdr) {
  const Schedule s = cosine(6, 0.1);
  // cos(pi t / 6) at t = 0 ... 6
  const std::vector<double> cosines{1, std::sqrt(3.0) / 2, 0.5, 0, -0.5, -std::sqrt(3.0) / 2, -1};
  for (std::size_t t = 0; t < cosines.size(); ++t)
    EXPECT_NEAR(s(static_cast<std::int64_t>(t)), 0.1 + 0.5 * (1 - 0.1) * (1 + cosines[t]), 1e-15) << t;
  EXPECT_NEAR(s(7), 0.1, 1e-15);
  EXPECT_NEAR(s(1000), 0.1, 1e-15);
}

TEST(WarmUp, RisesInEqualStepsAndHandsOver) {
  const Schedule s = warm_up(4);
  for (std::int64_t t = 0; t < 4; ++t) EXPECT_EQ(s(t), 0.25 * static_cast<double>(t + 1));
  EXPECT_EQ(s(4), 1);
  const Schedule then = warm_up(2, step_decay(1, 0.5));
  const std::vector<double> expected{0.5, 1, 1, 0.5, 0.25};
  for (std::size_t t = 0; t < expected.size(); ++t) EXPECT_EQ(then(static_cast<std::int64_t>(t)), expected[t]) << t;
}

TEST(Schedules, ThrowForWhatIsOutOfRange) {
  expect_parts(error([] { step_decay(0); }), {"step_decay", "0"});
  expect_parts(error([] { step_decay(1, kNaN); }), {"step_decay", "nan"});
  expect_parts(error([] { cosine(-1); }), {"cosine", "-1"});
  expect_parts(error([] { cosine(1, 1.5); }), {"cosine", "1.5"});
  expect_parts(error([] { warm_up(0); }), {"warm_up", "0"});
}

TEST(Scheduler, ScalesTheRateOfEachGroup) {
  SGD<double> sgd = two_groups();
  Scheduler<double> scheduler(sgd, warm_up(2));
  EXPECT_EQ(sgd.lr(0), 0.25);
  EXPECT_EQ(sgd.lr(1), 0.125);
  scheduler.step();
  EXPECT_EQ(sgd.lr(0), 0.5);
  EXPECT_EQ(sgd.lr(1), 0.25);
  EXPECT_EQ(scheduler.t(), 1);
}

TEST(Scheduler, TakesAnyFunction) {
  SGD<double> sgd = two_groups();
  Scheduler<double> scheduler(sgd, [](std::int64_t t) { return 1.0 / static_cast<double>(1 + t); });
  for (int i = 0; i < 3; ++i) scheduler.step();
  EXPECT_EQ(sgd.lr(), 0.125);
  expect_parts(error([&] { Scheduler<double>(sgd, nullptr); }), {"Scheduler", "empty"});
}

TEST(Scheduler, GoesOnFromItsState) {
  SGD<double> sgd = two_groups(), other = two_groups();
  Scheduler<double> scheduler(sgd, cosine(10));
  for (int i = 0; i < 3; ++i) scheduler.step();
  other.set_lr(7);
  Scheduler<double> restored(other, cosine(10));
  restored.load_state_dict(scheduler.state_dict());
  EXPECT_EQ(other.lr(0), sgd.lr(0));
  EXPECT_EQ(other.lr(1), sgd.lr(1));
  scheduler.step();
  restored.step();
  EXPECT_EQ(other.lr(1), sgd.lr(1));
  expect_parts(error([&] { restored.load_state_dict({}); }), {"t is missing", "group.1.base_lr is missing"});
  EXPECT_EQ(restored.t(), 4);
}

TEST(Plateau, LowersTheRateAfterMoreThanPatienceStepsWithoutProgress) {
  SGD<double> sgd = two_groups();
  Plateau<double> plateau(sgd, {.factor = 0.5, .patience = 2});
  plateau.step(1);
  for (int i = 0; i < 2; ++i) plateau.step(1);
  EXPECT_EQ(sgd.lr(), 0.5);
  plateau.step(1);
  EXPECT_EQ(sgd.lr(0), 0.25);
  EXPECT_EQ(sgd.lr(1), 0.125);
  for (int i = 0; i < 2; ++i) plateau.step(1);  // the count starts anew
  EXPECT_EQ(sgd.lr(), 0.25);
}

TEST(Plateau, TakesOnlyAFallBelowTheThresholdAsProgress) {
  SGD<double> sgd = two_groups();
  Plateau<double> plateau(sgd, {.factor = 0.5, .patience = 0, .threshold = 0.1});
  plateau.step(1);
  plateau.step(0.89);
  EXPECT_EQ(sgd.lr(), 0.5);
  plateau.step(0.802);  // more than 0.9 * 0.89
  EXPECT_EQ(sgd.lr(), 0.25);
  plateau.step(kNaN);
  EXPECT_EQ(sgd.lr(), 0.125);
}

TEST(Plateau, StopsAtItsSmallestRateAndNeverRaisesOne) {
  SGD<double> sgd = two_groups();
  Plateau<double> plateau(sgd, {.factor = 0.1, .patience = 0, .min_lr = 0.3});
  for (int i = 0; i < 3; ++i) plateau.step(1);
  EXPECT_EQ(sgd.lr(0), 0.3);
  EXPECT_EQ(sgd.lr(1), 0.25);
}

TEST(Plateau, GoesOnFromItsState) {
  SGD<double> sgd = two_groups(), other = two_groups();
  Plateau<double> plateau(sgd, {.patience = 1}), restored(other, {.patience = 1});
  plateau.step(1);
  plateau.step(2);
  restored.load_state_dict(plateau.state_dict());
  restored.step(1.5);
  EXPECT_DOUBLE_EQ(other.lr(), 0.05);
}

TEST(Plateau, ThrowsForOptionsOutOfRange) {
  SGD<double> sgd = two_groups();
  expect_parts(error([&] { Plateau<double>(sgd, {.factor = 2}); }), {"Plateau", "2"});
  expect_parts(error([&] { Plateau<double>(sgd, {.patience = -1}); }), {"Plateau", "-1"});
  expect_parts(error([&] { Plateau<double>(sgd, {.threshold = kNaN}); }), {"Plateau", "nan"});
}

TEST(Scheduler, AStepToARateThatIsRefusedChangesNothing) {
  SGD<double> sgd = two_groups();
  Scheduler<double> scheduler(sgd, [](std::int64_t t) { return t == 1 ? -1.0 : 0.5; });
  EXPECT_THROW(scheduler.step(), std::invalid_argument);
  EXPECT_EQ(scheduler.t(), 0);
  EXPECT_EQ(sgd.lr(0), 0.25);
  EXPECT_EQ(sgd.lr(1), 0.125);
}

TEST(Scheduler, RefusesARateThatIsNotFiniteAndChangesNothing) {
  SGD<> sgd({Tensor<>{1}.requires_grad(true)}, {.lr = 0.5});
  Scheduler<> schedule(sgd, cosine(10));
  StateDict<float> state = schedule.state_dict();
  state[0].second = std::int64_t{3};
  state[1].second = std::numeric_limits<double>::infinity();
  expect_parts(error([&] { schedule.load_state_dict(state); }), {"base_lr is inf", "finite"});
  EXPECT_EQ(schedule.t(), 0);
  EXPECT_EQ(sgd.lr(), 0.5);
}

}  // namespace
}  // namespace xtgrad
