#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <xtgrad/datasets/file.hpp>

#include "gzip.hpp"

namespace {

using xtgrad::read_file;
using xtgrad::test::gzip;

/// A file that is written for one test and removed after it.
class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    path_ = testing::TempDir() + "xtgrad_file_" + test->name() + ".bin";
  }
  void TearDown() override { std::filesystem::remove(path_); }

  void write(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }

  std::string error() {
    try {
      read_file(path_);
    } catch (const std::runtime_error& e) {
      return e.what();
    }
    return "no error";
  }

  std::string path_;
};

/// Bytes of every value, several of the reader's chunks long.
std::string long_text() {
  std::string text;
  for (unsigned i = 0, state = 1; i < 1000000; ++i) {
    state = state * 1664525u + 1013904223u;
    text += static_cast<char>(state >> 24);
  }
  return text;
}

TEST_F(FileTest, PlainBytesComeBackUnchanged) {
  const std::string bytes("a\0\r\n\xff", 5);
  write(bytes);
  EXPECT_EQ(read_file(path_), bytes);
}

TEST_F(FileTest, LongFilesComeBackUnchanged) {
  const std::string text = long_text();
  write(text);
  EXPECT_TRUE(read_file(path_) == text);
}

TEST_F(FileTest, AnEmptyFileIsAnEmptyString) {
  write("");
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(FileTest, GzipIsToldByContentNotByName) {
  write(gzip("hello"));
  EXPECT_EQ(read_file(path_), "hello");
}

TEST_F(FileTest, LongGzipIsReadWhole) {
  const std::string text = long_text();
  write(gzip(text));
  EXPECT_TRUE(read_file(path_) == text);
}

TEST_F(FileTest, HighlyPackedGzipIsReadWhole) {
  const std::string zeros(5000000, '\0');
  write(gzip(zeros));
  EXPECT_TRUE(read_file(path_) == zeros);
}

TEST_F(FileTest, NoByteIsLostWhereTheReadersChunksMeet) {
  const std::string text = long_text();
  for (std::size_t chunk : {1U << 16, 1U << 18, 1U << 19})
    for (std::size_t size : {chunk - 1, chunk, chunk + 1}) {
      const std::string part = text.substr(0, size);
      write(part);
      EXPECT_TRUE(read_file(path_) == part) << size;
      write(gzip(part));
      EXPECT_TRUE(read_file(path_) == part) << size << " bytes, gzipped";
    }
}

TEST_F(FileTest, ALongMemberBeforeAShortOneIsReadWhole) {
  const std::string text = long_text();
  write(gzip(text) + gzip("end"));
  EXPECT_TRUE(read_file(path_) == text + "end");
}

TEST_F(FileTest, AGzipOfNothingIsAnEmptyString) {
  write(gzip(""));
  EXPECT_EQ(read_file(path_), "");
}

TEST_F(FileTest, AllMembersOfAGzipAreRead) {
  write(gzip("one ") + gzip("") + gzip("two"));
  EXPECT_EQ(read_file(path_), "one two");
}

TEST_F(FileTest, AMissingFileIsNamed) { EXPECT_EQ(error(), path_ + ": cannot be read: No such file or directory"); }

TEST_F(FileTest, ADirectoryIsRefused) {
  path_ = testing::TempDir() + "xtgrad_file_directory";
  std::filesystem::create_directory(path_);
  EXPECT_EQ(error(), path_ + ": cannot be read: Is a directory");
}

TEST_F(FileTest, EveryTruncationOfAGzipIsRefused) {
  const std::string packed = gzip("some text that is long enough");
  for (std::size_t size = 2; size < packed.size(); ++size) {
    write(packed.substr(0, size));
    EXPECT_EQ(error(), path_ + ": the gzip stream is truncated; copy or download the file again") << size;
  }
}

TEST_F(FileTest, ATruncatedSecondMemberIsRefused) {
  write(gzip("one") + gzip("two").substr(0, 12));
  EXPECT_EQ(error(), path_ + ": the gzip stream is truncated; copy or download the file again");
}

TEST_F(FileTest, AWrongChecksumIsRefused) {
  std::string packed = gzip("some text");
  packed[packed.size() - 8] = static_cast<char>(packed[packed.size() - 8] ^ 1);
  write(packed);
  EXPECT_EQ(error(), path_ + ": the gzip stream is corrupt (incorrect data check); copy or download the file again");
}

TEST_F(FileTest, AWrongLengthIsRefused) {
  std::string packed = gzip("some text");
  packed.back() = 1;
  write(packed);
  EXPECT_EQ(error(), path_ + ": the gzip stream is corrupt (incorrect length check); copy or download the file again");
}

TEST_F(FileTest, ALengthBeyondAllMemoryIsRefusedAsWrong) {
  std::string packed = gzip(long_text());
  packed.replace(packed.size() - 4, 4, 4, '\xff');
  write(packed);
  EXPECT_EQ(error(), path_ + ": the gzip stream is corrupt (incorrect length check); copy or download the file again");
}

TEST_F(FileTest, JunkAfterAGzipIsRefused) {
  write(gzip("some text") + "junk");
  EXPECT_EQ(error(), path_ + ": 4 bytes that are not gzip follow the gzip stream; cut them off");
}

}  // namespace
