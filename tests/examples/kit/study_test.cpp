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
  study.near("inside, of one seed", 1, kit::mean_of({1.05}), 0.1);
  study.exact("a law", 0, 1e-15, 1e-12);
  study.exact("a broken law", 0, 1e-11, 1e-12);
  study.near("outside", 1, 1.2, 0.1);
  study.near("inside by less than two errors", 1, Mean{1.05, 0.03}, 0.1);
  study.near("inside by more than two errors", 1, Mean{1.05, 0.02}, 0.1);
  study.near("outside by less than two errors", 1, Mean{1.15, 0.03}, 0.1);
  study.near("outside by more than two errors", 1, Mean{1.15, 0.02}, 0.1);
  study.at_least("above", 0, {0.5, 0.1});
  study.at_least("below", 0, {-0.5, 0.1});
  study.at_most("at the bound", 2, {2});
  study.at_most("not a number", 2, {std::nan("")});
  testing::internal::CaptureStdout();
  study.finish({});
  const std::string table = testing::internal::GetCapturedStdout();
  EXPECT_NE(table.find("does not reproduce"), std::string::npos) << table;
  std::vector<std::string> verdicts;
  const std::string lines = content(options.json), key = R"("verdict":")";
  for (std::size_t at = lines.find(key); at != lines.npos; at = lines.find(key, at + 1))
    verdicts.push_back(lines.substr(at + key.size(), lines.find('"', at + key.size()) - at - key.size()));
  EXPECT_EQ(verdicts, (std::vector<std::string>{"reproduces", "inconclusive", "reproduces", "does not reproduce",
                                                "does not reproduce", "inconclusive", "reproduces", "inconclusive",
                                                "does not reproduce", "reproduces", "does not reproduce", "reproduces",
                                                "inconclusive"}));
  EXPECT_EQ(
      lines.substr(0, lines.find('\n')),
      R"({"study":"study","claim":"inside","exact":false,"relation":"=","expected":1,"measured":1.05,"standard_error":0,)"
      R"("tolerance":0.1,"verdict":"reproduces"})");
}

TEST_F(Study, ThePointsOfTheCurvesGoToTheCsvFile) {
  kit::StudyOptions options;
  options.csv = (folder_ / "curves.csv").string();
  kit::Plot plot{.x_label = "step", .y_label = "loss"};
  plot.add("line", {1, 2}, {0.5, 0.25});
  plot.add_band("band", {1}, {2}, {3}, {4});
  testing::internal::CaptureStdout();
  kit::Study("study", options).finish(plot);
  testing::internal::GetCapturedStdout();
  EXPECT_EQ(content(options.csv),
            "series,step,loss,low,high\nline,1,0.5,0.5,0.5\nline,2,0.25,0.25,0.25\nband,1,3,2,4\n");
}

TEST_F(Study, QuickChangesTheNumberOfSeedsUnlessItIsGiven) {
  const auto seeds = [](const std::string& command_line) {
    CLI::App app;
    kit::StudyOptions options;
    options.add_to(app, 10, 3);
    app.parse(command_line);
    return options.seeds;
  };
  EXPECT_EQ(seeds(""), 10U);
  EXPECT_EQ(seeds("--quick"), 3U);
  EXPECT_EQ(seeds("--quick --seeds 10"), 10U);
  EXPECT_EQ(seeds("--seeds 7"), 7U);
}

TEST_F(Study, ClaimsAndCurvesNeedFilesOfTheirOwn) {
  kit::StudyOptions options;
  options.json = options.csv = (folder_ / "both.csv").string();
  EXPECT_NE(error<std::runtime_error>([&] { kit::Study("study", options); }).find("both"), std::string::npos);
  EXPECT_EQ(files(), 0U);
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
  EXPECT_EQ(kit::mean_of({5}).value, 5);
  EXPECT_TRUE(std::isnan(kit::mean_of({5}).standard_error));
  EXPECT_THROW(kit::mean_of({}), std::invalid_argument);
}

TEST(MeanOf, DifferencesArePaired) {
  const Mean mean = kit::mean_difference({10, 20, 30}, {9, 19, 29});
  EXPECT_EQ(mean.value, 1);
  EXPECT_EQ(mean.standard_error, 0) << "the spread over seeds is not that of the differences";
}

TEST(Worse, IsNaNWhereOneIs) {
  EXPECT_EQ(kit::worse(1, 2), 2);
  EXPECT_EQ(kit::worse(2, 1), 2);
  EXPECT_TRUE(std::isnan(kit::worse(std::nan(""), 1)));
  EXPECT_TRUE(std::isnan(kit::worse(1, std::nan(""))));
}

TEST(Percent, ShowsTheStandardErrorWhereItIsKnown) {
  EXPECT_EQ(kit::percent({0.9725, 0.0014}), "97.25 +- 0.14 %");
  EXPECT_EQ(kit::percent(kit::mean_of({0.5})), "50.00 %");
}

}  // namespace
