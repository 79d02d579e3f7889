#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <xtgrad/datasets/csv.hpp>

#include "../support.hpp"

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

TEST_F(LoadCsv, TakesTheLabelsFromTheColumnOfThatName) {
  const Dataset<> data = load_csv(write("a,class,b\n1.5,7,2\n3,0,4\n"), {.label = "class"});
  EXPECT_EQ(data.x.shape(), (Shape{2, 2}));
  EXPECT_EQ(values(data.x), (std::vector<float>{1.5, 2, 3, 4}));
  EXPECT_EQ(values(data.y), (Order{7, 0}));
}

TEST_F(LoadCsv, TakesTheLabelsFromTheColumnOfThatIndex) {
  const auto path = write("1,2,3\n4,5,6\n");
  const std::vector<float> features[] = {{2, 3, 5, 6}, {1, 3, 4, 6}, {1, 2, 4, 5}};
  const Order labels[] = {{1, 4}, {2, 5}, {3, 6}};
  for (const int index : {0, 1, 2, -3, -2, -1}) {
    const Dataset<> data = load_csv(path, {.label = index});
    EXPECT_EQ(values(data.x), features[(index + 3) % 3]) << index;
    EXPECT_EQ(values(data.y), labels[(index + 3) % 3]) << index;
  }
}

TEST_F(LoadCsv, ANameOfDigitsIsANameAndNoIndex) {
  EXPECT_EQ(values(load_csv(write("a,1,0\n5,6,7\n"), {.label = "1"}).y), (Order{6}));
}

TEST_F(LoadCsv, ThrowsForAColumnIndexThatIsNotThereSayingHowManyThereAre) {
  const auto path = write("1,2,3\n");
  for (const int index : {3, -4, 100}) {
    const std::string start = "no column " + std::to_string(index) + " ";
    expect_parts(error<std::runtime_error>([&] { load_csv(path, {.label = index}); }),
                 {path.c_str(), start.c_str(), "there are 3"});
  }
}

TEST_F(LoadCsv, ThrowsForAColumnNameThatIsNotThereListingTheColumns) {
  const auto path = write("height,width,class\n1,2,0\n");
  expect_parts(error<std::runtime_error>([&] { load_csv(path, {.label = "Class"}); }),
               {path.c_str(), "0 columns are named \"Class\"", "\"height\", \"width\", \"class\""});
}

TEST_F(LoadCsv, ThrowsForALabelNameThatTwoColumnsHave) {
  const auto path = write("a,class,class\n1,2,0\n");
  expect_parts(error<std::runtime_error>([&] { load_csv(path, {.label = "class"}); }),
               {path.c_str(), "2 columns are named \"class\""});
}

TEST_F(LoadCsv, ThrowsForALabelNameWithoutAHeader) {
  const auto path = write("1,2,0\n");
  expect_parts(error<std::runtime_error>([&] { load_csv(path, {.label = "class"}); }),
               {path.c_str(), "no header", "\"class\"", "index"});
}

TEST_F(LoadCsv, NamesTheColumnOfALabelThatIsNoClass) {
  const auto path = write("a,class,b\n0,1,0\n0,2.5,0\n");
  expect_parts(error<std::runtime_error>([&] { load_csv(path, {.label = "class"}); }),
               {path.c_str(), "data row 2", "the label is 2.5", "column 2 (\"class\")"});
}

TEST_F(LoadCsv, FeaturesNeedNotBeClasses) {
  EXPECT_EQ(values(load_csv(write("1,-2.5\n"), {.label = 0}).x), (std::vector<float>{-2.5}));
}

TEST_F(LoadCsv, ThrowsForALabelThatIsNoClassNamingFileRowAndLabel) {
  for (const char* label : {"-1", "0.5", "1e9"}) {
    const auto path = write("1,2,0\n3,4," + std::string(label) + "\n");
    expect_parts(error<std::runtime_error>([&] { load_csv(path); }), {path.c_str(), "row 2", "label"});
  }
}

TEST_F(LoadCsv, ThrowsForAValueBeyondTheLargestFloatNamingRowAndColumn) {
  const auto path = write("a,b,class\n1,2,0\n3,1e39,1\n");
  expect_parts(error<std::runtime_error>([&] { load_csv(path); }), {path.string(), "row 2", "1e+39", "\"b\"", "float"});
  EXPECT_EQ(values(load_csv<double>(path).x), (std::vector<double>{1, 2, 3, 1e39}));
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
