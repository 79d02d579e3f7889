#include "xtgrad/label.hpp"

#include <thread>

#include "support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/elementwise.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::variable;

using Double = Tensor<double>;

TEST(Intern, GivesOnePointerForOneText) {
  const std::string text = "some label";
  EXPECT_EQ(intern(text), intern("some label"));
  EXPECT_NE(intern(text), intern("another"));
  EXPECT_EQ(*intern(text), text);
}

TEST(Intern, IsThreadSafe) {
  const std::string* seen[2] = {};
  std::thread threads[2];
  for (int i = 0; i < 2; ++i)
    threads[i] = std::thread([&seen, i] {
      for (int k = 0; k < 1000; ++k) seen[i] = intern(std::to_string(k));
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(seen[0], seen[1]);
}

TEST(Label, OfATensorIsEmptyUntilItIsSet) {
  Double x{1};
  EXPECT_EQ(x.label(), "");
  x.label("input");
  EXPECT_EQ(x.label(), "input");
}

TEST(Scope, LabelsTheOpsThatAreMadeWhileItLives) {
  const Double x = variable(Double{1});
  Double inside, outside;
  {
    const Scope scope("block");
    inside = x * 2;
  }
  outside = x * 2;
  EXPECT_EQ(inside.label(), "block");
  EXPECT_EQ(outside.label(), "");
  EXPECT_EQ(x.label(), "");
}

TEST(Scope, GivesWayToAnInnerOneAndComesBack) {
  const Double x = variable(Double{1});
  const Scope outer("outer");
  {
    const Scope inner("inner");
    EXPECT_EQ((x * 2).label(), "inner");
  }
  EXPECT_EQ((x * 2).label(), "outer");
}

TEST(Label, IsShownByErrors) {
  const Double x = variable(Double{1});
  Double y = exp(x);
  y.label("activation");
  y.mutable_value().fill(0);
  expect_parts(error([&] { y.backward(); }), {"exp in activation", "changed after the forward pass"});
  expect_parts(error([&] { y.requires_grad(false); }), {"exp in activation"});
}

}  // namespace
}  // namespace xtgrad
