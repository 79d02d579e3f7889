#include "xtgrad/batchnorm/conventions.hpp"

#include "../../framework/support.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;

// Running statistics after t batches of m rows.
BatchNorm1d<double> after(BatchNorm1dOptions options, std::size_t m, int t) {
  BatchNorm1d<double> bn(3, options);
  Generator generator(4);
  for (int i = 0; i < t; ++i) bn(generator.normal<double>({m, 3}, 2, 1 + 0.1 * i));
  return bn;
}

TEST(Conventions, AreThoseOfTheLibraries) {
  EXPECT_EQ(conventions::pytorch().eps, 1e-5);
  EXPECT_EQ(conventions::pytorch().momentum, 0.1);
  EXPECT_TRUE(conventions::pytorch().unbiased_running_var);
  EXPECT_EQ(conventions::keras().eps, 1e-3);
  EXPECT_NEAR(*conventions::keras().momentum, 1 - 0.99, 1e-15);
  EXPECT_FALSE(conventions::keras().unbiased_running_var);
  EXPECT_EQ(conventions::flax().eps, 1e-5);
  EXPECT_NEAR(*conventions::flax().momentum, 1 - 0.99, 1e-15);
  EXPECT_FALSE(conventions::flax().unbiased_running_var);
  EXPECT_EQ(conventions::paper().momentum, std::nullopt);
  EXPECT_TRUE(conventions::paper().unbiased_running_var);
}

TEST(Conventions, TheBiasedRunningVarianceTakesInTheBiasedOne) {
  BatchNorm1d<double> bn(1, {.momentum = 1, .unbiased_running_var = false});
  bn(Tensor<double>{{1}, {3}, {5}});
  EXPECT_NEAR(bn.running_var().item(), 8.0 / 3, 1e-15);
}

TEST(Conventions, RunningVariancesConvertExactlyBothWays) {
  for (const std::size_t m : {2U, 5U, 32U})
    for (const int t : {1, 7}) {
      const double a = 0.25, r = conventions::residue(a, t);
      const auto unbiased = after({.eps = 0.1, .momentum = a}, m, t);
      const auto biased = after({.eps = 0.1, .momentum = a, .unbiased_running_var = false}, m, t);
      const Array<double> up = conventions::unbiased_running_var(biased.running_var().value(), m, r);
      const Array<double> down = conventions::biased_running_var(unbiased.running_var().value(), m, r);
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_NEAR(up(c), unbiased.running_var().value()(c), 1e-14);
        EXPECT_NEAR(down(c), biased.running_var().value()(c), 1e-14);
      }
    }
}

TEST(Conventions, ConvertWithoutResidueForAMeanOverAllBatches) {
  const auto unbiased = after(conventions::paper(), 4, 6);
  BatchNorm1dOptions options = conventions::paper();
  options.unbiased_running_var = false;
  const auto biased = after(options, 4, 6);
  const Array<double> up = conventions::unbiased_running_var(biased.running_var().value(), 4, 0);
  for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(up(c), unbiased.running_var().value()(c), 1e-14);
}

TEST(Conventions, ThrowForWhatIsNoBatchAndNoWeight) {
  const Array<double> v = full_array<double>({2}, 1);
  expect_parts(error([&] { conventions::unbiased_running_var(v, 1, 0); }), {"unbiased_running_var", "m is 1"});
  expect_parts(error([&] { conventions::biased_running_var(v, 4, 1.5); }), {"biased_running_var", "1.5"});
}

// Adam's correction: the debiased average is the plain one without its initial values, divided by what it then lacks.
TEST(DebiasedStatistics, AreTheRunningOnesWithoutTheirInitialValues) {
  for (const int t : {1, 2, 9}) {
    const double a = 0.1, r = conventions::residue(a, t);
    const auto plain = after({.momentum = a}, 8, t), debiased = after({.momentum = a, .debias = true}, 8, t);
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_NEAR(debiased.running_mean().value()(c), plain.running_mean().value()(c) / (1 - r), 1e-14);
      EXPECT_NEAR(debiased.running_var().value()(c), (plain.running_var().value()(c) - r) / (1 - r), 1e-13);
    }
  }
}

TEST(DebiasedStatistics, WithMomentumZeroOrNoneAreAsWithoutIt) {
  EXPECT_EQ(values(after({.momentum = 0, .debias = true}, 8, 3).running_mean()), (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(values(after({.momentum = std::nullopt, .debias = true}, 8, 3).running_var()),
            values(after({.momentum = std::nullopt}, 8, 3).running_var()));
}

}  // namespace
}  // namespace xtgrad
