#include <xtgrad/datasets/idx.hpp>

#include <cstdint>
#include <fstream>

#include "../support.hpp"
#include "gzip.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::gzip;
using test::values;

using Labelled = std::vector<std::int64_t>;

/// A file of unsigned bytes with these extents, written as the format's page says.
std::string idx(const std::vector<std::uint32_t>& extents, const std::string& bytes, char type = '\x08') {
  std::string file{'\0', '\0', type, static_cast<char>(extents.size())};
  for (const std::uint32_t extent : extents)
    for (const unsigned shift : {24U, 16U, 8U, 0U}) file += static_cast<char>(extent >> shift & 0xffU);
  return file + bytes;
}

/// The error of a file in memory, which must begin with the file's name.
std::string refusal(const std::string& content) {
  const std::string text = error<std::runtime_error>([&] { parse_idx(content, "t.idx"); });
  EXPECT_EQ(text.substr(0, 7), "t.idx: ");
  return text.substr(std::min<std::size_t>(7, text.size()));
}

// --- The format

TEST(Idx, ExtentsAreBigEndianAndValuesComeAsTheyAre) {
  std::string bytes(2 * 3 * 258, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i * 7);
  const Idx parsed = parse_idx(idx({2, 3, 258}, bytes), "t.idx");
  EXPECT_EQ(parsed.shape, (Shape{2, 3, 258}));
  EXPECT_TRUE(parsed.bytes == bytes);
}

TEST(Idx, EveryByteOfAnExtentCounts) {
  EXPECT_EQ(parse_idx(idx({0x01020304, 0}, ""), "t.idx").shape, (Shape{0x01020304, 0}));
  EXPECT_EQ(parse_idx(idx({0xfffefdfc, 0}, ""), "t.idx").shape, (Shape{0xfffefdfc, 0}));
}

TEST(Idx, OneToFourAxesAreRead) {
  std::vector<std::uint32_t> extents;
  for (std::size_t rank = 1; rank <= 4; ++rank) {
    extents.push_back(2);
    EXPECT_EQ(parse_idx(idx(extents, std::string(std::size_t{1} << rank, 'x')), "t.idx").shape.size(), rank);
  }
}

TEST(Idx, NoAxesAndFiveAxesAreRefused) {
  EXPECT_EQ(refusal(idx({}, "x")), "there are 0 axes, expected 1 to 4");
  EXPECT_EQ(refusal(idx({1, 1, 1, 1, 1}, "x")), "there are 5 axes, expected 1 to 4");
  EXPECT_EQ(refusal(idx(std::vector<std::uint32_t>(255, 1), "x")), "there are 255 axes, expected 1 to 4");
}

TEST(Idx, EveryTruncationIsRefused) {
  const std::string whole = idx({3, 2}, "abcdef");
  ASSERT_EQ(whole.size(), 18U);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string expected =
        size < 4    ? "the header takes 4 bytes, but the file has " + std::to_string(size)
        : size < 12 ? "the header takes 12 bytes, but the file has " + std::to_string(size)
                    : "the shape (3, 2) takes 6 bytes after the header, but there are " + std::to_string(size - 12);
    EXPECT_EQ(refusal(whole.substr(0, size)), expected + "; copy or download it again");
  }
  EXPECT_EQ(parse_idx(whole, "t.idx").bytes, "abcdef");
}

TEST(Idx, AByteTooManyIsRefused) {
  EXPECT_EQ(refusal(idx({3}, "abcd")),
            "the shape (3,) takes 3 bytes after the header, but there are 4; copy or download it again");
}

TEST(Idx, AWrongBeginningIsRefused) {
  std::string first = idx({1}, "x"), second = first;
  first[0] = '\x8b';
  second[1] = 1;
  EXPECT_EQ(refusal(first), "the file begins with 8b 00, an IDX file with 00 00");
  EXPECT_EQ(refusal(second), "the file begins with 00 01, an IDX file with 00 00");
}

TEST(Idx, OtherTypesAreRefusedByName) {
  const auto type = [](char code) { return refusal(idx({1}, "x", code)); };
  EXPECT_EQ(type('\x09'), "the values are signed bytes (type 09); convert them to unsigned bytes (08)");
  EXPECT_EQ(type('\x0b'), "the values are 16-bit integers (type 0b); convert them to unsigned bytes (08)");
  EXPECT_EQ(type('\x0c'), "the values are 32-bit integers (type 0c); convert them to unsigned bytes (08)");
  EXPECT_EQ(type('\x0d'), "the values are floats (type 0d); convert them to unsigned bytes (08)");
  EXPECT_EQ(type('\x0e'), "the values are doubles (type 0e); convert them to unsigned bytes (08)");
  for (const char code : {'\x00', '\x07', '\x0a', '\x0f', '\x88'})
    EXPECT_NE(type(code).find("the values are of an unknown type (type "), std::string::npos) << type(code);
}

TEST(Idx, ExtentsWhoseProductWrapsAroundAreRefused) {
  // Modulo 2^64 the products are 0, 0 and 4: as many bytes as follow.
  for (const auto& [extents, bytes] : std::vector<std::pair<std::vector<std::uint32_t>, std::size_t>>{
           {{1U << 31, 1U << 31, 4}, 0},
           {{1U << 31, 1U << 31, 1U << 31, 1U << 31}, 0},
           {{3871601467, 1363349909, 1621364964, 471666847}, 4}}) {
    const std::string text = refusal(idx(extents, std::string(bytes, 'x')));
    EXPECT_NE(text.find("bytes after the header, but there are " + std::to_string(bytes)), std::string::npos) << text;
  }
}

TEST(Idx, AnEmptyShapeWhoseOtherExtentsCannotBeCountedIsRefused) {
  for (const std::vector<std::uint32_t>& extents :
       {std::vector<std::uint32_t>{0, 1U << 31, 1U << 31, 2}, {1U << 31, 1U << 31, 2, 0}})
    EXPECT_NE(refusal(idx(extents, "")).find("has more elements than can be counted"), std::string::npos);
  EXPECT_EQ(parse_idx(idx({0, 1U << 31, 1U << 31}, ""), "file").bytes, "");
}

// --- Data sets

/// A pair of files that are written for one test and removed after it.
class LoadIdx : public testing::Test {
 protected:
  LoadIdx() {
    const std::string stem =
        testing::TempDir() + "xtgrad_idx_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    images_ = stem + ".images";
    labels_ = stem + ".labels";
  }
  ~LoadIdx() override {
    std::filesystem::remove(images_);
    std::filesystem::remove(labels_);
  }
  void write(const std::string& images, const std::string& labels) {
    std::ofstream(images_, std::ios::binary) << images;
    std::ofstream(labels_, std::ios::binary) << labels;
  }
  std::string refusal(IdxOptions options = {}) {
    return error<std::runtime_error>([&] { load_idx(images_, labels_, options); });
  }

  std::string images_, labels_;
};

TEST_F(LoadIdx, FlattensEachImageAndKeepsItsLabel) {
  write(idx({2, 2, 3}, std::string("\x00\x33\x66\x99\xcc\xff\xff\x00\x00\x00\x00\x33", 12)), idx({2}, "\x09\x03"));
  const Dataset<double> data = load_idx<double>(images_, labels_);
  EXPECT_EQ(data.x.shape(), (Shape{2, 6}));
  EXPECT_EQ(values(data.x), (std::vector<double>{0, 0.2, 0.4, 0.6, 0.8, 1, 1, 0, 0, 0, 0, 0.2}));
  EXPECT_EQ(values(data.y), (Labelled{9, 3}));
}

TEST_F(LoadIdx, APixelIsTheNumberNearestToItsShareOf255) {
  std::string bytes(256, '\0');
  for (std::size_t i = 0; i < 256; ++i) bytes[i] = static_cast<char>(i);
  write(idx({1, 256}, bytes), idx({1}, "\xff"));
  const Dataset<> data = load_idx(images_, labels_);
  for (std::size_t i = 0; i < 256; ++i)
    EXPECT_EQ(data.x.data()[i], static_cast<float>(static_cast<long double>(i) / 255)) << i;
  EXPECT_EQ(values(data.y), (Labelled{255}));
}

TEST_F(LoadIdx, ReadsGzipAndRawAlike) {
  const std::string images = idx({2, 1, 2}, "abcd"), labels = idx({2}, "\x01\x02");
  write(images, labels);
  const Dataset<> raw = load_idx(images_, labels_);
  write(gzip(images), gzip(labels));
  const Dataset<> unpacked = load_idx(images_, labels_);
  EXPECT_EQ(values(raw.x), values(unpacked.x));
  EXPECT_EQ(values(raw.y), values(unpacked.y));
}

TEST_F(LoadIdx, ImagesMayHaveTwoToFourAxes) {
  for (const std::vector<std::uint32_t>& extents : {std::vector<std::uint32_t>{3, 4}, {3, 4, 1}, {3, 1, 2, 2}}) {
    write(idx(extents, std::string(12, 'x')), idx({3}, "abc"));
    EXPECT_EQ(load_idx(images_, labels_).x.shape(), (Shape{3, 4}));
  }
}

TEST_F(LoadIdx, RefusesAnotherNumberOfLabelsThanOfImages) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{3}}) {
    write(idx({2, 3}, "abcdef"), idx({static_cast<std::uint32_t>(count)}, std::string(count, 'x')));
    EXPECT_EQ(refusal(), labels_ + ": there are " + std::to_string(count) + " labels, but 2 images in " + images_);
  }
}

TEST_F(LoadIdx, RefusesFilesWhoseAxesAreNotThoseOfImagesAndLabels) {
  write(idx({2}, "ab"), idx({2}, "ab"));
  EXPECT_EQ(refusal(), images_ + ": the shape is (2,), expected images (N, ...) of at least one pixel");
  write(idx({2, 1}, "ab"), idx({2, 1}, "ab"));
  EXPECT_EQ(refusal(), labels_ + ": the shape is (2, 1), expected labels (N)");
}

TEST_F(LoadIdx, RefusesImagesOfNothing) {
  write(idx({0, 28, 28}, ""), idx({0}, ""));
  EXPECT_EQ(refusal(), images_ + ": the shape is (0, 28, 28), expected images (N, ...) of at least one pixel");
  write(idx({2, 0}, ""), idx({2}, "ab"));
  EXPECT_EQ(refusal(), images_ + ": the shape is (2, 0), expected images (N, ...) of at least one pixel");
}

TEST_F(LoadIdx, RefusesALabelFromTheNumberOfClassesUp) {
  write(idx({3, 1}, "abc"), idx({3}, std::string("\x00\x02\x03", 3)));
  EXPECT_EQ(values(load_idx(images_, labels_, {.classes = 4}).y), (Labelled{0, 2, 3}));
  EXPECT_EQ(refusal({.classes = 3}), labels_ + ": row 3: the label is 3, expected a class below 3");
  EXPECT_EQ(refusal({.classes = 2}), labels_ + ": row 2: the label is 2, expected a class below 2");
}

TEST_F(LoadIdx, TakesAnyLabelWithoutANumberOfClasses) {
  write(idx({2, 1}, "ab"), idx({2}, "\x80\xff"));
  EXPECT_EQ(values(load_idx(images_, labels_).y), (Labelled{128, 255}));
}

TEST_F(LoadIdx, RefusesATruncatedGzip) {
  const std::string labels = idx({1}, "a"), packed = gzip(idx({1, 6}, "abcdef"));
  write(packed.substr(0, packed.size() - 9), labels);
  EXPECT_EQ(refusal(), images_ + ": the gzip stream is truncated; copy or download the file again");
}

TEST_F(LoadIdx, NamesTheFileThatIsMissing) {
  EXPECT_EQ(refusal(), images_ + ": cannot be read: No such file or directory");
  std::ofstream(images_, std::ios::binary) << idx({1, 1}, "a");
  EXPECT_EQ(refusal(), labels_ + ": cannot be read: No such file or directory");
}

TEST_F(LoadIdx, NamesTheFileThatIsNotIdx) {
  write(idx({1, 1}, "a"), "1,2,3\n");
  EXPECT_EQ(refusal(), labels_ + ": the file begins with 31 2c, an IDX file with 00 00");
}

}  // namespace
}  // namespace xtgrad
