#include "xtgrad/inspect/gradcheck.hpp"

#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::error;
using Doubles = std::vector<Tensor<double>>;

Tensor<double> points(const Shape& shape, std::uint64_t seed = 1) {
  return Generator(seed).uniform<double>(shape, 0.5, 1.5).requires_grad(true);
}

// x^2 with a derivative that the factor makes right (2) or wrong.
template <int kFactor> struct Square {
  static constexpr const char* name = "square";
  static constexpr unsigned saves[1] = {formulas::kX};
  template <class V> static V value(const V& x) { return x * x; }
  template <class V> static V vjp(const V& dz, const V&, const V& x) { return V(kFactor) * dz * x; }
};

template <int kFactor> Tensor<double> square(const Doubles& in) { return elementwise<Square<kFactor>>(in[0]); }

TEST(Gradcheck, PassesTheRightDerivativeOfAUsersOp) {
  EXPECT_TRUE(gradcheck("square", square<2>, {points({2, 3})}));
  EXPECT_TRUE(gradgradcheck("square", square<2>, {points({2, 3})}));
}

TEST(Gradcheck, FailsAWrongDerivativeOfAUsersOp) {
  EXPECT_FALSE(gradcheck("square", square<3>, {points({2, 3})}));
  EXPECT_FALSE(gradcheck("square", square<-2>, {points({1})}));
  EXPECT_FALSE(gradcheck("square", square<0>, {points({2, 3})}));
}

TEST(Gradcheck, FailsAnErrorOfOnePartIn1e5) {
  const auto f = [](const Doubles& in) {
    return record("off", Array<double>(in[0].value()), {&in[0]},
                  [](Backward<double>& b) { b.add(0, b.dz() * 1.00001); });
  };
  EXPECT_FALSE(gradcheck("off", f, {points({4})}));
  EXPECT_TRUE(gradcheck("off", f, {points({4})}, {.tolerance = 1e-4}));
}

TEST(Gradcheck, ReportNamesOpInputIndexAndBothDerivatives) {
  // Only the derivative of the second input is wrong, and only at its element 2.
  const auto f = [](const Doubles& in) {
    return record("offset", Array<double>(add(in[0].detach(), in[1].detach()).value()), {&in[0], &in[1]},
                  [](Backward<double>& b) {
                    b.add(0, b.dz());
                    b.add(1, b.dz() + Tensor<double>{0, 0, 7, 0});
                  });
  };
  const GradcheckReport report = gradcheck("my op", f, {points({4}), points({4}, 2)}, {.cotangent = {1, 2, 3, 4}});
  EXPECT_FALSE(report);
  EXPECT_EQ(report.op, "my op");
  EXPECT_EQ(report.input, 1U);
  EXPECT_EQ(report.index, 2U);
  EXPECT_NEAR(report.analytic, 10, 1e-9);
  EXPECT_NEAR(report.numeric, 3, 1e-9);
  EXPECT_NEAR(report.worst, 7.0 / 4, 1e-9);  // of the largest derivative of that input
  test::expect_parts(report.message(), {"my op", "FAILED", "element 2 of input 1", "analytic 10", "numeric 3"});
}

TEST(Gradcheck, SmallestIsTheSmallestOfTheInputsLargestDerivatives) {
  const auto f = [](const Doubles& in) { return in[0] * 3.0 + in[1] * 0.25; };
  const GradcheckReport report = gradcheck("f", f, {points({2}), points({2}, 2)}, {.cotangent = {1, -2}});
  EXPECT_NEAR(report.smallest, 0.5, 1e-9);
}

TEST(Gradcheck, ChecksOnlyInputsThatRequireGrad) {
  const auto f = [](const Doubles& in) {
    return record("left", Array<double>(mul(in[0].detach(), in[1].detach()).value()), {&in[0], &in[1]},
                  [](Backward<double>& b) {
                    b.add(0, b.dz() * b.input(1));
                    b.add(1, b.dz());  // wrong
                  });
  };
  Doubles in{points({3}), points({3}, 2)};
  EXPECT_FALSE(gradcheck("left", f, in));
  in[1].requires_grad(false);
  EXPECT_TRUE(gradcheck("left", f, in));
}

TEST(Gradcheck, FailsADerivativeThatIsNaN) {
  const auto f = [](const Doubles& in) {
    return record("nan", Array<double>(in[0].value()), {&in[0]},
                  [](Backward<double>& b) { b.add(0, b.dz() * std::nan("")); });
  };
  EXPECT_FALSE(gradcheck("nan", f, {points({3})}));
}

TEST(Gradcheck, FailsADerivativeThatIsMissing) {
  const auto f = [](const Doubles& in) { return in[0].detach() * 2.0; };
  EXPECT_FALSE(gradcheck("detached", f, {points({3})}));
}

TEST(Gradcheck, FailsADerivativeWhereThereIsNone) {
  const auto f = [](const Doubles& in) {
    return record("constant", Array<double>(Tensor<double>::ones({3}).value()), {&in[0]},
                  [](Backward<double>& b) { b.add(0, b.dz()); });
  };
  EXPECT_FALSE(gradcheck("constant", f, {points({3})}));
}

TEST(Gradgradcheck, FailsWhereOnlyTheSecondDerivativeIsWrong) {
  // The gradient has the right values but is cut off from the graph.
  const auto f = [](const Doubles& in) {
    return record("cut", Array<double>((in[0].detach() * in[0].detach()).value()), {&in[0]},
                  [](Backward<double>& b) { b.add(0, b.dz() * (2.0 * b.input(0).detach())); });
  };
  EXPECT_TRUE(gradcheck("cut", f, {points({3})}));
  EXPECT_FALSE(gradgradcheck("cut", f, {points({3})}));
}

TEST(Gradcheck, LeavesTheInputsAsTheyWere) {
  const Tensor<double> x = points({2, 2});
  const std::vector<double> before = test::values(x);
  gradcheck("square", square<2>, {x});
  gradgradcheck("square", square<2>, {x});
  EXPECT_EQ(test::values(x), before);
  EXPECT_FALSE(x.grad().defined());
}

TEST(Gradcheck, WorksWhileRecordingIsOff) {
  const NoGrad guard;
  EXPECT_FALSE(gradcheck("square", square<3>, {points({2})}));
  EXPECT_TRUE(gradcheck("square", square<2>, {points({2})}));
  EXPECT_FALSE(grad_enabled());
}

TEST(Gradcheck, ThrowsIfNoInputRequiresGrad) {
  test::expect_parts(error([] {
                       gradcheck("square", square<2>, {Tensor<double>{1, 2}});
                     }),
                     {"square", "no input requires grad"});
}

TEST(Gradcheck, ThrowsIfTheFunctionIsNotDeterministic) {
  Generator generator;
  const auto f = [&](const Doubles& in) { return in[0] * generator.normal<double>({2}); };
  test::expect_parts(error([&] { gradcheck("dropout", f, {points({2})}); }), {"dropout", "another result"});
}

// --- Batch normalisation with wrong backwards

struct Faults {
  bool drop_mean_term = false;      // - mean(dy)
  bool drop_variance_term = false;  // - xhat * mean(dy * xhat)
  bool forget_eps = false;          // inv_std from the variance alone
  bool unbiased = false;            // inv_std from m / (m - 1) times the variance
};

constexpr double kEps = 0.1;

DifferentiableFunction batch_norm_with(Faults faults) {
  return [faults](const Doubles& in) {
    const Tensor<double> y = batch_norm<double>(in[0].detach(), {}, {}, kEps).y;
    return record("batch_norm", Array<double>(y.value()), {&in[0]}, [faults](Backward<double>& b) {
      const Tensor<double> x = b.input(0), dy = b.dz(), centred = x - mean(x, {0});
      Tensor<double> var = mean(centred * centred, {0});
      const double m = static_cast<double>(x.shape()[0]);
      if (faults.unbiased) var = var * (m / (m - 1));
      const Tensor<double> inv_std = 1 / sqrt(var + (faults.forget_eps ? 0 : kEps));
      const Tensor<double> xhat = centred * inv_std;
      Tensor<double> d = dy;
      if (!faults.drop_mean_term) d = d - mean(dy, {0});
      if (!faults.drop_variance_term) d = d - xhat * mean(dy * xhat, {0});
      b.add(0, d * inv_std);
    });
  };
}

Tensor<double> batch() { return Generator(5).normal<double>({6, 3}).requires_grad(true); }

TEST(Gradcheck, PassesTheRightBackwardOfBatchNorm) {
  EXPECT_TRUE(gradcheck("batch_norm", batch_norm_with({}), {batch()}));
  EXPECT_TRUE(gradgradcheck("batch_norm", batch_norm_with({}), {batch()}));
}

TEST(Gradcheck, FailsABatchNormWithoutTheMeanTerm) {
  EXPECT_FALSE(gradcheck("batch_norm", batch_norm_with({.drop_mean_term = true}), {batch()}));
}

TEST(Gradcheck, FailsABatchNormWithoutTheVarianceTerm) {
  EXPECT_FALSE(gradcheck("batch_norm", batch_norm_with({.drop_variance_term = true}), {batch()}));
}

TEST(Gradcheck, FailsABatchNormThatForgetsEps) {
  EXPECT_FALSE(gradcheck("batch_norm", batch_norm_with({.forget_eps = true}), {batch()}));
}

TEST(Gradcheck, FailsABatchNormWithTheUnbiasedVariance) {
  EXPECT_FALSE(gradcheck("batch_norm", batch_norm_with({.unbiased = true}), {batch()}));
}

TEST(Gradcheck, WarnsOfACotangentInTheNullSpace) {
  const auto f = [](const Doubles& in) { return batch_norm<double>(in[0], {}, {}, 1e-5).y; };
  const GradcheckReport ones = gradcheck("batch_norm", f, {batch()}, {.cotangent = Tensor<double>::ones({6, 3})});
  ASSERT_EQ(ones.warnings.size(), 1U);
  test::expect_parts(ones.warnings[0], {"batch_norm", "input 0", "null space", "random cotangent"});
  test::expect_parts(ones.message(), {"null space"});
}

TEST(Gradcheck, WarnsWhereTheInputItselfIsTheCotangent) {
  // The other half of batch_norm's null space: dy = x has no part that is not mean or xhat.
  const auto f = [](const Doubles& in) { return batch_norm<double>(in[0], {}, {}, 1e-9).y; };
  EXPECT_FALSE(gradcheck("batch_norm", f, {batch()}, {.cotangent = batch()}).warnings.empty());
}

TEST(Gradcheck, DoesNotWarnOfARandomCotangent) {
  const auto f = [](const Doubles& in) { return batch_norm<double>(in[0], {}, {}, 1e-5).y; };
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    EXPECT_TRUE(gradcheck("batch_norm", f, {batch()}, {.seed = seed}).warnings.empty());
    const Tensor<double> given = Generator(100 + seed).normal<double>({6, 3});
    EXPECT_TRUE(gradcheck("batch_norm", f, {batch()}, {.cotangent = given}).warnings.empty());
  }
}

TEST(Gradcheck, ACotangentOfOnesLetsAWrongBatchNormPassButWarns) {
  const GradcheckReport report = gradcheck("batch_norm", batch_norm_with({.drop_variance_term = true}), {batch()},
                                           {.cotangent = Tensor<double>::ones({6, 3})});
  EXPECT_TRUE(report.passed);
  EXPECT_FALSE(report.warnings.empty());
}

TEST(Gradcheck, ARandomCotangentFailsEveryWrongBatchNormWhateverTheSeed) {
  for (const Faults faults : {Faults{.drop_mean_term = true}, Faults{.drop_variance_term = true},
                              Faults{.forget_eps = true}, Faults{.unbiased = true}})
    for (std::uint64_t seed = 0; seed < 10; ++seed)
      EXPECT_FALSE(gradcheck("batch_norm", batch_norm_with(faults), {batch()}, {.seed = seed, .jacobian = 0}));
}

}  // namespace
}  // namespace xtgrad
