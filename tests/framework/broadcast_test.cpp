#include "xtgrad/broadcast.hpp"

#include <vector>

#include "support.hpp"

namespace xtgrad {
namespace {

// Where element `index` of `out` comes from in an array of shape `in`, by the definition of broadcasting.
std::size_t source(std::size_t index, const Shape& out, const Shape& in) {
  std::size_t position = 0, stride = 1;
  for (std::size_t i = 1; i <= out.size(); ++i) {
    const std::size_t coordinate = index % out[out.size() - i];
    index /= out[out.size() - i];
    if (i <= in.size()) {
      if (in[in.size() - i] != 1) position += coordinate * stride;
      stride *= in[in.size() - i];
    }
  }
  return position;
}

// Runs through every element and counts the runs.
std::size_t expect_covered(const Shape& out, const Shape& a, const Shape& b) {
  std::size_t next = 0, runs = 0;
  for_each_run(out, {&a, &b}, [&](const Run<2>& run) {
    ++runs;
    ASSERT_EQ(run.position, next) << to_string(out);
    for (std::size_t i = 0; i < run.size; ++i) {
      ASSERT_EQ(run.at[0] + i * static_cast<std::size_t>(run.step[0]), source(next + i, out, a))
          << to_string(out) << " from " << to_string(a) << ", element " << next + i;
      ASSERT_EQ(run.at[1] + i * static_cast<std::size_t>(run.step[1]), source(next + i, out, b))
          << to_string(out) << " from " << to_string(b) << ", element " << next + i;
    }
    next += run.size;
  });
  EXPECT_EQ(next, size_of(out)) << to_string(out) << " from " << to_string(a) << " and " << to_string(b);
  return runs;
}

TEST(ForEachRun, CoversEveryElementOfEveryPairOfShapesOnce) {
  const std::size_t kMost = 4;
  std::vector<Shape> shapes{{}};
  for (std::size_t i = 0; i < shapes.size(); ++i)
    if (shapes[i].size() < kMost)
      for (std::size_t extent : {std::size_t{1}, 5 - shapes[i].size()}) {
        Shape longer{extent};
        for (const std::size_t more : shapes[i]) longer.push_back(more);
        shapes.push_back(longer);
      }
  for (const Shape& a : shapes)
    for (const Shape& b : shapes) expect_covered(broadcast_shape("op", a, b), a, b);
}

TEST(ForEachRun, CoversWhatIsLargerThanAllItsInputs) {
  for (const Shape& a : {Shape{}, Shape{1}, Shape{4}, Shape{3, 1}, Shape{1, 1, 1}}) expect_covered({2, 3, 4}, a, {});
}

TEST(ForEachRun, VisitsNothingOfAnEmptyOutput) {
  EXPECT_EQ(expect_covered({0}, {0}, {1}), 0U);
  EXPECT_EQ(expect_covered({0, 3}, {0, 3}, {3}), 0U);
  EXPECT_EQ(expect_covered({0, 3}, {0, 3}, {0, 3}), 0U);
  EXPECT_EQ(expect_covered({2, 0, 3}, {2, 0, 1}, {3}), 0U);
  EXPECT_EQ(expect_covered({0}, {}, {1}), 0U);
}

TEST(ForEachRun, TakesWhatRunsOnAtOnce) {
  EXPECT_EQ(expect_covered({4, 5}, {4, 5}, {4, 5}), 1U);
  EXPECT_EQ(expect_covered({4, 5}, {4, 5}, {}), 1U);
  EXPECT_EQ(expect_covered({4, 5}, {4, 5}, {1, 1}), 1U);
  EXPECT_EQ(expect_covered({4, 5}, {4, 5}, {5}), 4U);
  EXPECT_EQ(expect_covered({4, 5}, {4, 5}, {4, 1}), 4U);
  EXPECT_EQ(expect_covered({2, 4, 5}, {2, 4, 5}, {4, 5}), 2U);
  EXPECT_EQ(expect_covered({2, 4, 5}, {2, 4, 5}, {2, 1, 1}), 2U);
  EXPECT_EQ(expect_covered({2, 1, 5}, {2, 1, 5}, {2, 5}), 2U);
}

}  // namespace
}  // namespace xtgrad
