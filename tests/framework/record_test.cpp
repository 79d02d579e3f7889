#include "xtgrad/record.hpp"

#include "support.hpp"
#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::variable;
using Double = Tensor<double>;

Array<double> copy(const Double& x) { return Array<double>(x.value()); }

// x * 3 as the header shows an op.
Double triple(const Double& x) {
  return record("triple", Array<double>(x.value() * 3.0), {&x}, [](Backward<double>& b) { b.add(0, b.dz() * 3.0); });
}

TEST(Record, MakesALeafIfNoInputRequiresGrad) {
  EXPECT_TRUE(triple(Double(2)).is_leaf());
  EXPECT_FALSE(triple(Double(2)).requires_grad());
}

TEST(Record, MakesALeafWhileRecordingIsOff) {
  const Double x = variable(Double(2));
  const NoGrad guard;
  EXPECT_TRUE(triple(x).is_leaf());
}

TEST(Record, MakesAnOpOfAnythingElse) {
  const Double x = variable(Double(2)), y = triple(x);
  EXPECT_FALSE(y.is_leaf());
  EXPECT_TRUE(y.requires_grad());
  y.backward();
  EXPECT_EQ(x.grad().item(), 3);
}

TEST(Record, TakesADerivativeThatHasAName) {
  const Double x = variable(Double(2));
  const auto derivative = [](Backward<double>& b) { b.add(0, b.dz()); };
  record("copy", copy(x), {&x}, derivative).backward(Double(3));
  EXPECT_EQ(x.grad().item(), 3);
}

TEST(Record, DerivativesInPlainOpsDifferentiateAgain) {
  const Double x = variable(Double(2));
  const Double g = grad(triple(x) * x, {x}, {.create_graph = true})[0];
  EXPECT_EQ(g.item(), 12);
  EXPECT_EQ(grad(g, {x})[0].item(), 6);
}

TEST(Record, TakesInputsThatAreNotDefined) {
  const Double x = variable(Double(2)), none;
  const Double y = record("maybe", copy(x), {&x, &none}, [](Backward<double>& b) {
    EXPECT_TRUE(b.needs(0));
    EXPECT_FALSE(b.needs(1));
    EXPECT_FALSE(b.input(1).defined());
    b.add(0, b.dz());
  });
  y.backward();
  EXPECT_EQ(x.grad().item(), 1);
}

TEST(Record, GradientsThatAreNotWantedAreDropped) {
  const Double x = variable(Double(2)), constant(3);
  const Double y = record("both", copy(x), {&x, &constant}, [](Backward<double>& b) {
    EXPECT_FALSE(b.needs(1));
    b.add(0, b.dz());
    b.add(1, b.dz());
  });
  y.backward();
  EXPECT_FALSE(constant.grad().defined());
}

TEST(Record, AnInputWithoutAGradientGetsNone) {
  const Double x = variable(Double(2)), y = variable(Double(3));
  record("half", copy(x), {&x, &y}, [](Backward<double>& b) { b.add(0, b.dz()); }).backward();
  EXPECT_EQ(x.grad().item(), 1);
  EXPECT_FALSE(y.grad().defined());
}

TEST(Record, AddsTwoGradientsOfOneInput) {
  const Double x = variable(Double(2));
  record("twice", copy(x), {&x}, [](Backward<double>& b) {
    b.add(0, b.dz());
    b.add(0, b.dz() * 10.0);
  }).backward();
  EXPECT_EQ(x.grad().item(), 11);
}

TEST(Record, AGradientOfAnotherShapeThrowsNamingTheOp) {
  const Double x = variable(Double{1, 2});
  const Double y = record("wrong", copy(x), {&x}, [](Backward<double>& b) { b.add(0, Double(1)); });
  expect_parts(error([&] { y.backward(Double{1, 1}); }), {"wrong", "()", "(2,)"});
  EXPECT_FALSE(x.grad().defined());
}

TEST(Record, BackwardSeesShapesInputsAndResult) {
  const Double x = variable(Double{1, 2});
  const Double y = record("see", Array<double>(x.value() * 5.0), {&x}, [](Backward<double>& b) {
    EXPECT_EQ(b.shape(0), (Shape{2}));
    EXPECT_EQ(test::values(b.input(0)), (std::vector<double>{1, 2}));
    EXPECT_EQ(test::values(b.output()), (std::vector<double>{5, 10}));
    EXPECT_EQ(test::values(b.dz()), (std::vector<double>{3, 4}));
    EXPECT_FALSE(grad_enabled());
    b.add(0, b.dz());
  });
  y.backward(Double{3, 4});
}

TEST(Record, WhatTheDerivativeCapturesIsFreedAfterBackward) {
  const Double x = variable(Double(2));
  const auto token = std::make_shared<int>(1);
  const Double y = record("holds", copy(x), {&x}, [token](Backward<double>& b) { b.add(0, b.dz()); });
  EXPECT_EQ(token.use_count(), 2);
  y.backward({.retain_graph = true});
  EXPECT_EQ(token.use_count(), 2);
  y.backward();
  EXPECT_EQ(token.use_count(), 1);
}

TEST(Record, WhatTheDerivativeCapturesIsFreedWithTheResult) {
  const Double x = variable(Double(2));
  const auto token = std::make_shared<int>(1);
  {
    const Double y = triple(record("holds", copy(x), {&x}, [token](Backward<double>& b) { b.add(0, b.dz()); }));
    EXPECT_EQ(token.use_count(), 2);
  }
  EXPECT_EQ(token.use_count(), 1);
}

TEST(Record, WhatWasCapturedByAFailedBackwardIsFreedInTheEnd) {
  const auto token = std::make_shared<int>(1);
  {
    const Double x = variable(Double(2));
    const Double y = record("fails", copy(x), {&x}, [token](Backward<double>&) { throw std::runtime_error("no"); });
    EXPECT_THROW(y.backward(), std::runtime_error);
  }
  EXPECT_EQ(token.use_count(), 1);
}

}  // namespace
}  // namespace xtgrad
