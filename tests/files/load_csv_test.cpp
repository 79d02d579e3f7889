#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <xtgrad/files/csv.hpp>

#include "../framework/support.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;

using Order = std::vector<std::int64_t>;

class LoadCsv : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& text) {
    const auto* const test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::path(testing::TempDir()) / ("dataset_test_" + std::string(test->name()) + ".csv");
    std::ofstream(path_) << text;
    return path_;
  }
  ~LoadCsv() override {
    if (!path_.empty()) std::filesystem::remove(path_);
  }

 private:
  std::filesystem::path path_;
};

TEST_F(LoadCsv, TakesTheLastColumnAsLabels) {
  const Dataset<> data = load_csv(write("a,b,class\n1.5,2,0\n3,4,7\n"));
  EXPECT_EQ(data.x.shape(), (Shape{2, 2}));
  EXPECT_EQ(values(data.x), (std::vector<float>{1.5, 2, 3, 4}));
  EXPECT_EQ(values(data.y), (Order{0, 7}));
  EXPECT_EQ(values(load_csv<double>(write("0.1,1\n")).x), (std::vector<double>{0.1}));
}

TEST_F(LoadCsv, ThrowsForALabelThatIsNoClassNamingFileRowAndLabel) {
  for (const char* label : {"-1", "0.5", "1e9"}) {
    const auto path = write("1,2,0\n3,4," + std::string(label) + "\n");
    expect_parts(error<std::runtime_error>([&] { load_csv(path); }), {path.c_str(), "row 2", "label"});
  }
}

TEST_F(LoadCsv, ThrowsForOneColumnOnly) {
  const auto path = write("1\n2\n");
  expect_parts(error<std::runtime_error>([&] { load_csv(path); }), {path.c_str(), "one column"});
}

TEST_F(LoadCsv, ThrowsForAFileThatIsNotThere) {
  expect_parts(error<std::runtime_error>([] { load_csv("no/such/file.csv"); }), {"no/such/file.csv"});
}

}  // namespace
}  // namespace xtgrad
