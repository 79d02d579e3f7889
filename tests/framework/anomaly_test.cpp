// Anomaly mode: the first op that is not finite, by name, label, row and column.
#include <cmath>
#include <limits>
#include <thread>

#include "support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::variable;

using Double = Tensor<double>;
constexpr double kInf = std::numeric_limits<double>::infinity();

std::string anomaly(const std::function<void()>& f) {
  const Anomaly guard;
  return error<std::runtime_error>(f);
}

TEST(Anomaly, NamesTheOpTheRowAndTheColumn) {
  const Double x{{1, 2, 3}, {4, -5, 6}};
  EXPECT_EQ(anomaly([&] { log(x); }), "anomaly: log gave nan in row 1, column 1 of (2, 3)");
}

TEST(Anomaly, TellsInfFromNan) {
  EXPECT_EQ(anomaly([] { exp(Double{0, 1000}); }), "anomaly: exp gave inf in column 1 of (2,)");
  EXPECT_EQ(anomaly([] { log(Double(0.0)); }), "anomaly: log gave inf of ()");
}

TEST(Anomaly, CountsAllAxes) {
  EXPECT_EQ(anomaly([] {
              log(Double{{{1, 1}, {1, 1}, {1, -1}}});
            }),
            "anomaly: log gave nan in row 0, column 2, position 1 of (1, 3, 2)");
}

TEST(Anomaly, StopsAtTheFirstOp) {
  const Double x{-1, 1};
  EXPECT_EQ(anomaly([&] { exp(log(x) + 1) * 2; }), "anomaly: log gave nan in column 0 of (2,)");
}

TEST(Anomaly, NamesTheScopeThatTheOpWasIn) {
  EXPECT_EQ(anomaly([] {
              const Scope outer("encoder"), inner("2 Log");
              log(Double(-1));
            }),
            "anomaly: log in 2 Log gave nan of ()");
}

TEST(Anomaly, SaysWhetherTheInputWasBadAlready) {
  EXPECT_EQ(anomaly([] {
              mul(Double{1, 2}, Double{1, kInf});
            }),
            "anomaly: mul gave inf in column 1 of (2,); its input 1 was inf in column 1 of (2,) already");
}

TEST(Anomaly, FindsTheFirstGradientThatIsNotFinite) {
  const Double x = variable(Double{{1, 0}, {4, 9}});
  const Double y = [&] {
    const Scope scope("root");
    return sqrt(x);
  }();
  const Double z = sum(y * 2);  // the derivative of sqrt at 0 is infinite
  EXPECT_EQ(anomaly([&] { z.backward(); }),
            "anomaly: sqrt in root: its backward gave its input 0 the gradient inf in row 0, column 1 of (2, 2)");
  EXPECT_FALSE(x.grad().defined());
}

TEST(Anomaly, InTheSumOfGradientsLeavesThoseOfAllLeavesAsTheyWere) {
  const float most = std::numeric_limits<float>::max();
  const Tensor<> a = Tensor<>{1}.requires_grad(true), b = Tensor<>{2}.requires_grad(true);
  b.backward(Tensor<>{most});
  const Tensor<> held = b.grad();  // so that the sum is a tensor of its own
  const Anomaly anomaly;
  expect_parts(error<std::runtime_error>([&] { (a + b).backward(Tensor<>{most}); }), {"anomaly", "add", "inf"});
  EXPECT_FALSE(a.grad().defined());
  EXPECT_EQ(b.grad().item(), most);
}

TEST(Anomaly, WorksWithoutAGraph) {
  const NoGrad guard;
  EXPECT_NE(anomaly([] { log(Double(-1)); }), "no error");
}

TEST(Anomaly, EndsWithItsGuardAndConcernsItsOwnThread) {
  {
    const Anomaly guard;
    std::thread([] { EXPECT_NO_THROW(log(Double(-1))); }).join();
  }
  EXPECT_NO_THROW(log(Double(-1)));
}

TEST(Anomaly, ChangesNoValue) {
  const Double x = variable(Double{0.5, 2});
  const auto gradient = [&] { return test::values(grad(sum(log(x) * x), {x})[0]); };
  const auto expected = gradient();
  const Anomaly guard;
  EXPECT_EQ(gradient(), expected);
}

}  // namespace
}  // namespace xtgrad
