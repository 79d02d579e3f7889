#include "xtgrad/inspect/dot.hpp"

#include "../support.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/rearrange.hpp"

namespace xtgrad {
namespace {

using test::variable;

using Double = Tensor<double>;

TEST(ToDot, DrawsOpsLeavesLabelsAndShapes) {
  Double w = variable(Double{{1, 2}}), x{{3, 4}, {5, 6}};
  w.label("weight");
  const Double y = exp(matmul(x, transpose(w)));
  EXPECT_EQ(to_dot(y), R"dot(digraph {
  rankdir = BT
  n0 [label = "exp\n(2, 1)"]
  n1 -> n0
  n1 [label = "matmul\n(2, 1)"]
  n2 -> n1
  n3 -> n1
  n2 [label = "leaf\n(2, 2)", shape = box]
  n3 [label = "transpose\n(2, 1)"]
  n4 -> n3
  n4 [label = "leaf\nweight\n(1, 2)", shape = box, style = filled]
}
)dot");
}

TEST(ToDot, DrawsASharedNodeOnceAndBothItsEdges) {
  const Double x = variable(Double(2));
  EXPECT_EQ(to_dot(x * x), R"dot(digraph {
  rankdir = BT
  n0 [label = "mul\n()"]
  n1 -> n0
  n1 -> n0
  n1 [label = "leaf\n()", shape = box, style = filled]
}
)dot");
}

TEST(ToDot, EscapesLabels) {
  Double x(1);
  x.label("a \"b\" \\ c");
  EXPECT_NE(to_dot(x).find(R"dot(leaf\na \"b\" \\ c\n())dot"), std::string::npos) << to_dot(x);
}

TEST(ToDot, ThrowsForAnUndefinedTensor) { EXPECT_THROW(to_dot(Double()), std::invalid_argument); }

}  // namespace
}  // namespace xtgrad
