#include "kit/study.hpp"

#include <cmath>
#include <stdexcept>

#include "support.hpp"

namespace {

using kit::Mean;
using kit::test::content;
using kit::test::error;

using Study = kit::test::InFolder;

TEST_F(Study, TheVerdictDependsOnToleranceAndStandardError) {
  kit::StudyOptions options;
  options.json = (folder_ / "claims.jsonl").string();
  kit::Study study("study", options);
  study.near("inside", 1, 1.05, 0.1);
  study.near("outside", 1, 1.2, 0.1);
  study.near("inside, with an error as large as the distance to the bound", 1, Mean{1.05, 0.06}, 0.1);
  study.near("outside by less than two errors", 1, Mean{1.15, 0.03}, 0.1);
  study.near("outside by more than two errors", 1, Mean{1.15, 0.02}, 0.1);
  study.at_least("above", 0, {0.5, 0.1});
  study.at_least("below", 0, {-0.5, 0.1});
  study.at_most("at the bound", 2, {2});
  study.at_most("not a number", 2, {std::nan("")});
  testing::internal::CaptureStdout();
  study.finish();
  const std::string table = testing::internal::GetCapturedStdout();
  EXPECT_NE(table.find("does not reproduce"), std::string::npos) << table;
  std::vector<std::string> verdicts;
  const std::string lines = content(options.json), key = R"("verdict":")";
  for (std::size_t at = lines.find(key); at != lines.npos; at = lines.find(key, at + 1))
    verdicts.push_back(lines.substr(at + key.size(), lines.find('"', at + key.size()) - at - key.size()));
  EXPECT_EQ(verdicts, (std::vector<std::string>{"reproduces", "does not reproduce", "inconclusive", "inconclusive",
                                                "does not reproduce", "reproduces", "does not reproduce", "reproduces",
                                                "inconclusive"}));
  EXPECT_EQ(lines.substr(0, lines.find('\n')),
            R"({"study":"study","claim":"inside","relation":"=","expected":1,"measured":1.05,"standard_error":0,)"
            R"("tolerance":0.1,"verdict":"reproduces"})");
}

TEST_F(Study, AFileThatCannotBeWrittenIsAnErrorAtOnce) {
  kit::StudyOptions options;
  options.json = (folder_ / "none" / "claims.jsonl").string();
  EXPECT_NE(error<std::runtime_error>([&] { kit::Study("study", options); }).find("cannot be written"),
            std::string::npos);
}

TEST(MeanOf, HasTheStandardErrorOfAMean) {
  const Mean mean = kit::mean_of({1, 2, 3, 6});  // variance 14 / 3
  EXPECT_DOUBLE_EQ(mean.value, 3);
  EXPECT_DOUBLE_EQ(mean.standard_error, std::sqrt(14.0 / 3 / 4));
  EXPECT_EQ(kit::mean_of({5}).standard_error, 0);
  EXPECT_THROW(kit::mean_of({}), std::invalid_argument);
}

}  // namespace
