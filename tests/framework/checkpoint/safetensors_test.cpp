#include "xtgrad/checkpoint/safetensors.hpp"

#include <cstring>
#include <fstream>
#include <limits>

#include "../support.hpp"
#include "files.hpp"

namespace xtgrad {
namespace {

using test::content_of;
using test::error;
using test::expect_parts;
using test::safetensors;
using test::TemporaryFolder;
using test::values;

// The places of a small model, and their values as they were at first.
struct Model {
  Tensor<> weight{{1, 2, 3}, {4, 5, 6}}, empty = Tensor<>::zeros({0, 4}), scalar = 7;
  std::int64_t count = 8;
  double number = 0.1;
  Generator generator{3};

  std::vector<StateEntry<float>> state() {
    return {{"0.weight", &weight}, {"empty", &empty},   {"scalar", &scalar},
            {"count", &count},     {"number", &number}, {"generator", &generator}};
  }
  StateDict<float> state_dict() { return copy_state(state()); }
};

std::string text_of(Model& model) { return to_safetensors(model.state_dict()); }

// Other values everywhere.
Model other_model() {
  Model model;
  model.weight = Tensor<>::full({2, 3}, -1);
  model.scalar = -1;
  model.count = 0;
  model.number = -1;
  model.generator = Generator(4);
  return model;
}

TEST(Safetensors, WritesTheFormatByteForByte) {
  const StateDict<float> state{{"w", Tensor<>{{1, -2}}}, {"n", std::int64_t{258}}};
  const std::string header = R"({"__metadata__":{"k":"v"},"n":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
                             R"("w":{"dtype":"F32","shape":[1,2],"data_offsets":[8,16]}})";
  ASSERT_EQ(header.size(), 134U);
  const std::string data("\2\1\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\xc0", 16);
  EXPECT_EQ(to_safetensors(state, {{"k", "v"}}), std::string("\x88\0\0\0\0\0\0\0", 8) + header + "  " + data);
}

TEST(Safetensors, GivesBackEveryKindOfValue) {
  Model model, other = other_model();
  load_state(other.state(), Safetensors::parse(text_of(model), "file"));
  EXPECT_EQ(text_of(other), text_of(model));
  EXPECT_EQ(values(other.weight), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(other.scalar.item(), 7);
  EXPECT_EQ(other.count, 8);
  EXPECT_EQ(other.number, 0.1);
  EXPECT_EQ(other.generator, Generator(3));
}

TEST(Safetensors, KeepsEveryBit) {
  const float smallest = std::numeric_limits<float>::denorm_min(), infinity = std::numeric_limits<float>::infinity();
  Tensor<> a{-0.0F, smallest, infinity, std::nanf("5")}, b{0, 0, 0, 0};
  load_state<float>({{"a", &b}}, Safetensors::parse(to_safetensors<float>({{"a", a}}), "file"));
  EXPECT_EQ(std::memcmp(a.data(), b.data(), 16), 0);
}

TEST(Safetensors, OfDoublesAreF64) {
  Tensor<double> a{0.1, 0.2}, b{0, 0};
  const Safetensors file = Safetensors::parse(to_safetensors<double>({{"a", a}}), "file");
  EXPECT_EQ(file.tensors().at(0).dtype, "F64");
  load_state<double>({{"a", &b}}, file);
  EXPECT_EQ(values(b), values(a));
}

TEST(Safetensors, PutsEachTensorAtAMultipleOfItsWidth) {
  const Safetensors file = Safetensors::parse(
      to_safetensors<float>({{"a", Tensor<>{1}}, {"b", std::int64_t{2}}, {"c", Tensor<>{3}}, {"d", 4.0}}), "file");
  ASSERT_EQ(file.tensors().size(), 4U);
  for (const Safetensors::Entry& t : file.tensors()) EXPECT_EQ(t.begin % (t.end - t.begin), 0U) << t.name;
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const auto accepts = [](const std::string& header, std::size_t data = 0) {
    EXPECT_EQ(error<std::runtime_error>([&] { Safetensors::parse(safetensors(header, data), "file"); }), "no error")
        << header;
  };
  accepts("{}");
  accepts("{}     ");
  accepts(R"({"__metadata__":{}})");
  accepts(R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 4);
  accepts(R"({"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}})", 4);
  accepts(R"({"a":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]}})");
  accepts(
      R"({"b":{"dtype":"I8","shape":[2],"data_offsets":[4,6]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
      6);
  accepts(
      R"({"b":{"dtype":"I8","shape":[0],"data_offsets":[4,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
      4);
  accepts(R"({"a":{"dtype":"BF16","shape":[1,1,1,1,1,1,1,2],"data_offsets":[0,4]}})", 4);
  accepts(R"({ "\u00e9" : {"dtype":"U8", "shape": [1],
              "data_offsets": [0, 1]} })",
          1);
}

// --- What is refused: the header, the bytes of data behind it, and what the message says.

struct Refused {
  const char* name;
  std::string header;
  std::size_t data;
  std::vector<std::string> parts;
};

class SafetensorsRefuses : public testing::TestWithParam<Refused> {};

TEST_P(SafetensorsRefuses, WithFileTensorAndRule) {
  const auto& [name, header, data, parts] = GetParam();
  const std::string message =
      error<std::runtime_error>([&] { Safetensors::parse(safetensors(header, data), "some.safetensors"); });
  EXPECT_TRUE(message.starts_with("some.safetensors: ")) << message;
  expect_parts(message, parts);

  // The same through a file, which is read in pieces; and no model changes.
  const TemporaryFolder folder;
  const std::string path = folder.write("file", safetensors(header, data));
  Model model;
  const std::string before = text_of(model);
  EXPECT_NE(error<std::runtime_error>([&] { load_safetensors(path, model); }), "no error");
  EXPECT_EQ(text_of(model), before);
}

std::string tensor(const std::string& fields) { return R"({"a":{)" + fields + "}}"; }

INSTANTIATE_TEST_SUITE_P(
    , SafetensorsRefuses,
    testing::Values(
        Refused{"NoObject", "[]", 0, {"header", "does not begin with {"}},
        Refused{"LeadingSpace", " {}", 0, {"header", "does not begin with {"}},
        Refused{"NoJson", "{]", 0, {"not JSON", "byte 2"}}, Refused{"Truncated", R"({"a":)", 0, {"not JSON"}},
        Refused{"BadUtf8", "{\"\xff\":{}}", 0, {"not JSON", "UTF-8"}},
        Refused{"LoneSurrogate", R"({"\ud800":{}})", 0, {"not JSON"}},
        Refused{"JunkAfterTheObject", "{}x", 0, {"not JSON"}},
        Refused{"NulAfterTheObject", std::string("{}\0", 3), 0, {"not JSON"}},
        Refused{"SecondObject", "{}{}", 0, {"not JSON"}},
        Refused{"Nesting", tensor(R"("dtype":{"a":1})"), 0, {"tensor 'a'", "object"}},
        Refused{"NestingInAnArray", tensor(R"("shape":[{}])"), 0, {"tensor 'a'", "object"}},
        Refused{"NestedArray", tensor(R"("shape":[[1]])"), 0, {"tensor 'a'", "array"}},
        Refused{"ATensorThatIsAText", R"({"a":"b"})", 0, {"tensor 'a'", "string"}},
        Refused{"ATensorThatIsANumber", R"({"a":1})", 0, {"tensor 'a'", "number"}},
        Refused{"ATensorThatIsNull", R"({"a":null})", 0, {"tensor 'a'", "null"}},
        Refused{"ATensorThatIsAnArray", R"({"a":[1]})", 0, {"tensor 'a'", "array"}},
        Refused{
            "TheSameNameTwice",
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
            2,
            {"tensor 'a'", "twice"}},
        Refused{"TheSameFieldTwice",
                tensor(R"("dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "'dtype'", "twice"}},
        Refused{"MetadataTwice", R"({"__metadata__":{},"__metadata__":{}})", 0, {"__metadata__", "twice"}},
        Refused{"TheSameKeyTwice", R"({"__metadata__":{"k":"1","k":"2"}})", 0, {"__metadata__", "'k'", "twice"}},
        Refused{"MetadataOfNumbers", R"({"__metadata__":{"k":1}})", 0, {"__metadata__", "number"}},
        Refused{"MetadataOfObjects", R"({"__metadata__":{"k":{}}})", 0, {"__metadata__", "object"}},
        Refused{"MetadataOfArrays", R"({"__metadata__":{"k":[]}})", 0, {"__metadata__", "array"}},
        Refused{"MetadataThatIsAText", R"({"__metadata__":"k"})", 0, {"__metadata__", "string"}},
        Refused{"NoDtype", tensor(R"("shape":[1],"data_offsets":[0,1])"), 1, {"tensor 'a'", "no dtype"}},
        Refused{"NoShape", tensor(R"("dtype":"U8","data_offsets":[0,1])"), 1, {"tensor 'a'", "no shape"}},
        Refused{"NoOffsets", tensor(R"("dtype":"U8","shape":[1])"), 1, {"tensor 'a'", "no data_offsets"}},
        Refused{
            "AnotherField", tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1)"), 1, {"tensor 'a'", "'x'"}},
        Refused{
            "UnknownDtype", tensor(R"("dtype":"F31","shape":[1],"data_offsets":[0,1])"), 1, {"tensor 'a'", "'F31'"}},
        Refused{
            "DtypeInAnArray", tensor(R"("dtype":["U8"],"shape":[1],"data_offsets":[0,1])"), 1, {"tensor 'a'", "array"}},
        Refused{"NegativeExtent",
                tensor(R"("dtype":"U8","shape":[-1],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "-1", "shape"}},
        Refused{"FractionalExtent",
                tensor(R"("dtype":"U8","shape":[1.0],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "1.0", "shape"}},
        Refused{"ExtentBeyond64Bits",
                tensor(R"("dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "18446744073709551617"}},
        Refused{"BooleanExtent",
                tensor(R"("dtype":"U8","shape":[true],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "boolean"}},
        Refused{
            "TextAsExtent", tensor(R"("dtype":"U8","shape":["1"],"data_offsets":[0,1])"), 1, {"tensor 'a'", "string"}},
        Refused{"NineAxes",
                tensor(R"("dtype":"U8","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "more than 8"}},
        Refused{"AProductThatOverflows",
                tensor(R"("dtype":"U8","shape":[4294967296,4294967296,2],"data_offsets":[0,1])"),
                1,
                {"tensor 'a'", "more than can be counted"}},
        Refused{"AProductThatWrapsToZero",
                tensor(R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])"),
                0,
                {"tensor 'a'", "more than can be counted"}},
        Refused{"AnOverflowBesideAnEmptyAxis",
                tensor(R"("dtype":"U8","shape":[0,9223372036854775808,4],"data_offsets":[0,0])"),
                0,
                {"tensor 'a'", "more than can be counted"}},
        Refused{"AnOverflowByTheWidth",
                tensor(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])"),
                0,
                {"tensor 'a'", "more than can be counted"}},
        Refused{
            "OneOffset", tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0])"), 1, {"tensor 'a'", "1 data_offsets"}},
        Refused{"ThreeOffsets",
                tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1,2])"),
                1,
                {"tensor 'a'", "3 data_offsets"}},
        Refused{"NegativeOffset", tensor(R"("dtype":"U8","shape":[1],"data_offsets":[-1,0])"), 1, {"tensor 'a'", "-1"}},
        Refused{"EndBeforeBegin",
                tensor(R"("dtype":"U8","shape":[1],"data_offsets":[1,0])"),
                1,
                {"tensor 'a'", "begins at 1", "ends at 0"}},
        Refused{"PastTheEnd",
                tensor(R"("dtype":"U8","shape":[2],"data_offsets":[0,2])"),
                1,
                {"tensor 'a'", "byte 2", "ends at 1", "truncated"}},
        Refused{"ASizeOfAnotherShape",
                tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"),
                4,
                {"tensor 'a'", "4 bytes", "takes 8"}},
        Refused{"AnotherSizeOfAScalar",
                tensor(R"("dtype":"F32","shape":[],"data_offsets":[0,8])"),
                8,
                {"tensor 'a'", "takes 4"}},
        Refused{
            "Overlap",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
            3,
            {"tensor 'b'", "overlaps"}},
        Refused{
            "TheSameBytesTwice",
            R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
            2,
            {"tensor 'b'", "overlaps"}},
        Refused{
            "AHole",
            R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
            3,
            {"tensor 'b'", "1 bytes before"}},
        Refused{"TheFirstNotAtZero",
                tensor(R"("dtype":"U8","shape":[1],"data_offsets":[1,2])"),
                2,
                {"tensor 'a'", "1 bytes before"}},
        Refused{"TheLastNotAtTheEnd",
                tensor(R"("dtype":"U8","shape":[1],"data_offsets":[0,1])"),
                2,
                {"1 bytes at the end"}},
        Refused{"DataWithoutTensors", "{}", 1, {"1 bytes at the end"}},
        Refused{"AnEmptyName", R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, {"name", "0 bytes"}},
        Refused{"AHugeName",
                R"({")" + std::string(5000, 'n') + R"(":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
                1,
                {"name", "5000 bytes"}},
        Refused{"AWrongChecksum", R"({"__metadata__":{"xtgrad.crc32":"00000000"}})", 0, {"checksum", "damaged"}},
        Refused{
            "AChecksumInOtherWords", R"({"__metadata__":{"xtgrad.crc32": "00000000"}})", 0, {"checksum", "damaged"}},
        Refused{"AChecksumThatIsTooShort", R"({"__metadata__":{"xtgrad.crc32":"0"}})", 0, {"checksum", "damaged"}}),
    [](const auto& refused) { return refused.param.name; });

TEST(Safetensors, RefusesALengthOfTheHeaderThatDoesNotFit) {
  const auto is_refused = [](std::string content, const std::vector<std::string>& parts) {
    expect_parts(error<std::runtime_error>([&] { Safetensors::parse(content, "file"); }), parts);
    const TemporaryFolder folder;
    const std::string path = folder.write("file", content);
    expect_parts(error<std::runtime_error>([&] { Safetensors::read(path); }), parts);
  };
  const auto with_length = [](std::uint64_t length, const std::string& rest) {
    std::string content(8, '\0');
    std::memcpy(content.data(), &length, 8);
    return content + rest;
  };
  is_refused("", {"0 bytes", "takes 8"});
  is_refused("1234567", {"7 bytes", "takes 8"});
  is_refused(with_length(0, "{}"), {"header is empty"});
  is_refused(with_length(3, "{}"), {"3 bytes", "only 2 follow", "truncated"});
  is_refused(with_length(100'000'001, "{}"), {"100000001 bytes", "limit"});
  is_refused(with_length(~std::uint64_t{0}, "{}"), {"18446744073709551615 bytes", "limit"});
  is_refused("col1,col2\n1,2\n", {"limit", "is this a safetensors file?"});
}

TEST(Safetensors, RefusesEveryTruncation) {
  const TemporaryFolder folder;
  Model model;
  const std::string content = text_of(model);
  for (std::size_t size = 0; size < content.size(); ++size) {
    EXPECT_NE(error<std::runtime_error>([&] { Safetensors::parse(content.substr(0, size), "file"); }), "no error")
        << size;
    const std::string path = folder.write("file", content.substr(0, size));
    EXPECT_NE(error<std::runtime_error>([&] { load_safetensors(path, model); }), "no error") << size;
  }
  EXPECT_EQ(text_of(model), content);

  Tensor<> large = Tensor<>::zeros({300, 100});
  const std::string whole = to_safetensors<float>({{"large", large}});
  Generator random(1);
  for (int i = 0; i < 1000; ++i) {
    const std::size_t size = random.below(whole.size());
    EXPECT_NE(error<std::runtime_error>([&] { Safetensors::parse(whole.substr(0, size), "file"); }), "no error")
        << size;
  }
}

// A flip gives an error and leaves the model, or what it gives is a valid file that fits.
TEST(Safetensors, NoFlippedByteChangesAModelWithoutBeingAValidFile) {
  Model whole;
  const std::string content = text_of(whole);
  std::size_t refused = 0, loaded = 0;
  for (std::size_t i = 0; i < content.size(); ++i)
    for (const int flip : {1, 32, 255}) {
      std::string damaged = content;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      Model model = other_model();
      const std::string before = text_of(model);
      try {
        load_state(model.state(), Safetensors::parse(damaged, "file"));
        ++loaded;
        // What was loaded is what the file says, in this library's words.
        Model again = other_model();
        load_state(again.state(), Safetensors::parse(text_of(model), "file"));
        EXPECT_EQ(text_of(again), text_of(model));
      } catch (const std::runtime_error&) {
        ++refused;
        EXPECT_EQ(text_of(model), before) << i;
      }
    }
  // Only the data itself can be flipped unseen.
  EXPECT_GT(refused, 1000U);
  EXPECT_GT(loaded, 24U * 3U);
}

// --- Names, kinds and shapes

TEST(Safetensors, ListsAllThatDoesNotFit) {
  Model model;
  const std::string before = text_of(model);
  StateDict<float> state = model.state_dict();
  state.emplace_back("more", Tensor<>{1});
  std::get<Tensor<>>(state[0].second) = Tensor<>{1, 2};
  state.erase(state.begin() + 3);
  expect_parts(error<std::runtime_error>(
                   [&] { load_state(model.state(), Safetensors::parse(to_safetensors(state), "weights")); }),
               {"weights: ", "count is missing", "0.weight is (2,), expected (2, 3)", "more is unexpected"});
  EXPECT_EQ(text_of(model), before);
}

TEST(Safetensors, OfAnotherPrecisionAreRefused) {
  Tensor<> a{1};
  const std::string doubles = to_safetensors<double>({{"a", Tensor<double>{1}}});
  EXPECT_EQ(error<std::runtime_error>([&] {
              load_state<float>({{"a", &a}}, Safetensors::parse(doubles, "file"));
            }),
            "file: 'a' is F64 of shape (1,), expected F32");
  std::int64_t count = 0;
  EXPECT_EQ(error<std::runtime_error>([&] {
              load_state<float>({{"a", &count}}, Safetensors::parse(doubles, "file"));
            }),
            "file: 'a' is F64 of shape (1,), expected I64 of shape ()");
}

TEST(Safetensors, RefusesNamesThatCannotBeWritten) {
  const auto refused = [](StateDict<float> state) { return error([&] { to_safetensors(state); }); };
  expect_parts(refused({{"a", 1.0}, {"a", 2.0}}), {"'a'", "twice"});
  expect_parts(refused({{"__metadata__", 1.0}}), {"'__metadata__'", "twice"});
  expect_parts(refused({{"", 1.0}}), {"0 bytes"});
  expect_parts(refused({{"\xff", 1.0}}), {"UTF-8"});
}

TEST(Safetensors, OfAFileThatCannotBeReadSayWhy) {
  Model model;
  expect_parts(error<std::runtime_error>([&] { load_safetensors("/nowhere/file", model); }),
               {"/nowhere/file", "No such file"});
  expect_parts(error<std::runtime_error>([&] { load_safetensors("/dev/null", model); }), {"/dev/null", "not a file"});
  const TemporaryFolder folder;
  expect_parts(error<std::runtime_error>([&] { load_safetensors(folder.path("."), model); }), {"not a file"});
}

TEST(Safetensors, GoThroughAFile) {
  const TemporaryFolder folder;
  const std::string path = folder.path("model.safetensors");
  Model model, other = other_model();
  save_safetensors(path, model);
  EXPECT_EQ(content_of(path), text_of(model));
  load_safetensors(path, other);
  EXPECT_EQ(text_of(other), text_of(model));
}

}  // namespace
}  // namespace xtgrad
