#include "kit/metrics_log.hpp"

#include <cmath>
#include <stdexcept>

#include "support.hpp"

namespace {

namespace fs = std::filesystem;
using kit::test::content;
using kit::test::error;

using MetricsLog = kit::test::InFolder;

TEST_F(MetricsLog, RowsOfACsvFileAreThereAtOnce) {
  kit::MetricsLog log(folder_ / "m.csv", {"epoch", "loss", "note"});
  EXPECT_EQ(content(folder_ / "m.csv"), "epoch,loss,note\n");
  log.row(1, 0.1, "a");
  log.row(2, 0.1f, std::string("say \"hi\", twice"));
  EXPECT_EQ(content(folder_ / "m.csv"), "epoch,loss,note\n1,0.1,a\n2,0.1,\"say \"\"hi\"\", twice\"\n");
}

TEST_F(MetricsLog, RowsOfAJsonlFileAreThereAtOnce) {
  kit::MetricsLog log(folder_ / "m.jsonl", {"epoch", "the \"loss\"", "note"});
  EXPECT_EQ(content(folder_ / "m.jsonl"), "");
  log.row(1, 0.1, "a\n");
  EXPECT_EQ(content(folder_ / "m.jsonl"), R"({"epoch":1,"the \"loss\"":0.1,"note":"a\n"})"
                                          "\n");
  log.row(2, std::nan(""), "inf");
  EXPECT_TRUE(content(folder_ / "m.jsonl")
                  .ends_with(R"({"epoch":2,"the \"loss\"":null,"note":"inf"})"
                             "\n"));
}

TEST_F(MetricsLog, NumbersThatAreNotFiniteAreWordsInCsv) {
  kit::MetricsLog log(folder_ / "m.csv", {"loss"});
  log.row(INFINITY);
  EXPECT_EQ(content(folder_ / "m.csv"), "loss\ninf\n");
}

TEST_F(MetricsLog, ANameThatSaysNoFormatIsRefused) {
  const fs::path path = folder_ / "m.txt";
  EXPECT_EQ(error<std::runtime_error>([&] { kit::MetricsLog(path, {"a"}); }),
            path.string() + ": a file of metrics ends in .csv or .jsonl");
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(MetricsLog, ACheckLeavesAFileAsItIsAndMakesNone) {
  const fs::path path = folder_ / "m.csv";
  kit::MetricsLog::check(path);
  EXPECT_FALSE(fs::exists(path));
  kit::MetricsLog(path, {"a"}).row(1);
  kit::MetricsLog::check(path);
  EXPECT_EQ(content(path), "a\n1\n");
  EXPECT_EQ(error<std::runtime_error>([&] { kit::MetricsLog::check(folder_ / "none" / "m.csv"); }),
            (folder_ / "none" / "m.csv").string() + ": cannot be written: No such file or directory");
}

TEST_F(MetricsLog, TwoSpellingsOfAPathAreOneFileAlsoBeforeItIsThere) {
  EXPECT_TRUE(kit::same_file("run.csv", "./run.csv"));
  EXPECT_TRUE(kit::same_file(folder_ / "m.csv", folder_ / "none" / ".." / "m.csv"));
  EXPECT_FALSE(kit::same_file("run.csv", "run.plain.csv"));
}

TEST_F(MetricsLog, ARowOfAnotherLengthIsRefused) {
  kit::MetricsLog log(folder_ / "m.csv", {"epoch", "loss"});
  EXPECT_EQ(error<std::invalid_argument>([&] { log.row(1); }),
            "metrics log: " + (folder_ / "m.csv").string() + ": a row of 1 values, but there are 2 columns");
}

TEST_F(MetricsLog, AMissingFolderIsAnErrorAtOnce) {
  const fs::path path = folder_ / "none" / "m.csv";
  EXPECT_EQ(error<std::runtime_error>([&] { kit::MetricsLog(path, {"a"}); }),
            path.string() + ": cannot be written: No such file or directory");
}

TEST_F(MetricsLog, AFullDiskIsAnErrorAtOnce) {
  const fs::path path = folder_ / "full.csv";
  fs::create_symlink("/dev/full", path);
  EXPECT_EQ(error<std::runtime_error>([&] { kit::MetricsLog(path, {"a"}); }),
            path.string() + ": cannot be written: No space left on device");
}

}  // namespace
