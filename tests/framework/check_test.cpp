#include "xtgrad/check.hpp"

#include <thread>
#include <vector>

#include "support.hpp"

namespace xtgrad {
namespace {

TEST(Check, ThrowsTheSentenceUnlessTheConditionHolds) {
  EXPECT_NO_THROW(check(true, "{}", 1));
  EXPECT_EQ(test::error([] { check(false, "linear: {} of {}", 5, "rows"); }), "linear: 5 of rows");
  EXPECT_EQ(test::error([] { fail("{}!", 1.5); }), "1.5!");
}

class Warnings : public testing::Test {
 protected:
  Warnings() {
    before_ = set_warning_handler([this](const std::string& text) { seen.push_back(text); });
  }
  ~Warnings() override { set_warning_handler(before_); }

  std::vector<std::string> seen;

 private:
  WarningHandler before_;
};

TEST_F(Warnings, ComeOnceForEachText) {
  warn_once("one");
  warn_once("two");
  warn_once("one");
  EXPECT_EQ(seen, (std::vector<std::string>{"one", "two"}));
}

TEST_F(Warnings, GoToTheLastHandler) {
  std::vector<std::string> later;
  WarningHandler first = set_warning_handler([&](const std::string& text) { later.push_back(text); });
  warn_once("for the second");
  set_warning_handler(first);
  warn_once("for the first");
  EXPECT_EQ(later, std::vector<std::string>{"for the second"});
  EXPECT_EQ(seen, std::vector<std::string>{"for the first"});
}

TEST_F(Warnings, CanBeSwitchedOff) {
  WarningHandler first = set_warning_handler(nullptr);
  EXPECT_NO_THROW(warn_once("into the void"));
  set_warning_handler(first);
  EXPECT_TRUE(seen.empty());
}

TEST_F(Warnings, MayWarnAgainFromTheHandler) {
  std::vector<std::string> all;
  WarningHandler first = set_warning_handler([&](const std::string& text) {
    all.push_back(text);
    if (text == "outer") warn_once("inner");
  });
  warn_once("outer");
  set_warning_handler(first);
  EXPECT_EQ(all, (std::vector<std::string>{"outer", "inner"}));
}

TEST_F(Warnings, ComeOnceFromManyThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([] { warn_once("from a thread"); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), 1U);
}

TEST(WarningsByDefault, AreALineOnStderr) {
  testing::internal::CaptureStderr();
  warn_once("look out");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: look out\n");
}

}  // namespace
}  // namespace xtgrad
