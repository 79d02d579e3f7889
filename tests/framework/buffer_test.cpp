#include "xtgrad/buffer.hpp"

#include <gtest/gtest.h>

#include <cstdint>

namespace xtgrad::memory {
namespace {

TEST(Buffer, IsAligned) {
  for (std::size_t size : {1U, 3U, 1000U})
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(Buffer<float>(size).data()) % kAlignment, 0U);
}

TEST(Buffer, CopiesItsElements) {
  Buffer<float> a{1, 2, 3};
  const Buffer<float> b = a;
  a[0] = 9;
  EXPECT_EQ(b, (Buffer<float>{1, 2, 3}));
}

TEST(Buffer, SharesWhatItIsAskedToShare) {
  Buffer<float> a{1, 2, 3};
  EXPECT_TRUE(a.unique());
  {
    const Buffer<float> b = a.share();
    a[0] = 9;
    EXPECT_EQ(b[0], 9);
    EXPECT_FALSE(a.unique());
    EXPECT_FALSE(b.unique());
    a.bump_version();
    EXPECT_EQ(b.version(), a.version());
  }
  EXPECT_TRUE(a.unique());
}

TEST(Buffer, CopiesCountTheirOwnVersions) {
  Buffer<float> a{1, 2, 3};
  Buffer<float> b = a;
  const auto before = b.version();
  a.bump_version();
  EXPECT_EQ(b.version(), before);
}

TEST(Buffer, LeavesItsFellowsWhenResized) {
  Buffer<float> a{1, 2, 3};
  const Buffer<float> b = a.share();
  a.resize(5);
  EXPECT_EQ(a.size(), 5U);
  EXPECT_EQ(b, (Buffer<float>{1, 2, 3}));
  EXPECT_TRUE(b.unique());
}

TEST(Buffer, SurvivesAssignmentToItself) {
  Buffer<float> a{1, 2, 3};
  const Buffer<float>& same = a;
  a = same;
  EXPECT_EQ(a, (Buffer<float>{1, 2, 3}));
}

TEST(Buffer, TheEmptyOneIsHarmless) {
  Buffer<float> a;
  EXPECT_TRUE(a.empty());
  EXPECT_TRUE(a.unique());
  a.bump_version();
  EXPECT_EQ(a.version(), 0U);
  Buffer<float> b = a.share();
  b = a;
  EXPECT_TRUE(b.empty());
}

}  // namespace
}  // namespace xtgrad::memory
