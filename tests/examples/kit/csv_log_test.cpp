#include "kit/csv_log.hpp"

#include <stdexcept>

#include "support.hpp"

namespace {

namespace fs = std::filesystem;
using kit::test::content;
using kit::test::error;

using CsvLog = kit::test::InFolder;

TEST_F(CsvLog, RowsAreInTheFileAtOnce) {
  kit::CsvLog log(folder_ / "m.csv", {"epoch", "loss", "note"});
  EXPECT_EQ(content(folder_ / "m.csv"), "epoch,loss,note\n");
  log.row(1, 0.1, "a");
  log.row(2, 0.1f, std::string("say \"hi\", twice"));
  EXPECT_EQ(content(folder_ / "m.csv"), "epoch,loss,note\n1,0.1,a\n2,0.1,\"say \"\"hi\"\", twice\"\n");
}

TEST_F(CsvLog, ARowOfAnotherLengthIsRefused) {
  kit::CsvLog log(folder_ / "m.csv", {"epoch", "loss"});
  EXPECT_EQ(error<std::invalid_argument>([&] { log.row(1); }),
            "csv log: " + (folder_ / "m.csv").string() + ": a row of 1 values, but there are 2 columns");
}

TEST_F(CsvLog, AMissingFolderIsAnErrorAtOnce) {
  const fs::path path = folder_ / "none" / "m.csv";
  EXPECT_EQ(error<std::runtime_error>([&] { kit::CsvLog(path, {"a"}); }),
            path.string() + ": cannot be written: No such file or directory");
}

TEST_F(CsvLog, AFullDiskIsAnErrorAtOnce) {
  EXPECT_EQ(error<std::runtime_error>([&] { kit::CsvLog("/dev/full", {"a"}); }),
            "/dev/full: cannot be written: No space left on device");
}

}  // namespace
