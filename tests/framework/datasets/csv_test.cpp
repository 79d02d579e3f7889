#include <gtest/gtest.h>

#include <clocale>
#include <filesystem>
#include <fstream>
#include <limits>
#include <locale>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>
#include <xtgrad/datasets/csv.hpp>

namespace {

using namespace std::string_literals;
using xtgrad::Csv;
using xtgrad::parse_csv;
using Names = std::vector<std::string>;
using Values = std::vector<double>;

Csv parse(std::string_view text) { return parse_csv(text, "t.csv"); }

std::string error(std::string_view text) {
  try {
    parse(text);
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Csv, ValuesAreRowMajor) {
  const Csv csv = parse("1,2,3\n4,5,6\n");
  EXPECT_EQ(csv.header, Names{});
  EXPECT_EQ(csv.rows, 2u);
  EXPECT_EQ(csv.columns, 3u);
  EXPECT_EQ(csv.values, (Values{1, 2, 3, 4, 5, 6}));
}

TEST(Csv, AFirstRowWithOneFieldThatIsNoNumberIsAHeader) {
  const Csv csv = parse("1,label\n4,5\n");
  EXPECT_EQ(csv.header, (Names{"1", "label"}));
  EXPECT_EQ(csv.rows, 1u);
  EXPECT_EQ(csv.values, (Values{4, 5}));
}

TEST(Csv, NumbersAreReadExactly) {
  const Csv csv = parse("0.1,-2.5e-3,1E5,.5,3.,-0,5e-324,1.7976931348623157e308\n");
  EXPECT_EQ(csv.values, (Values{0.1, -2.5e-3, 1e5, 0.5, 3, -0.0, std::numeric_limits<double>::denorm_min(),
                                std::numeric_limits<double>::max()}));
}

TEST(Csv, LeadingPlusAndSurroundingSpacesAreTolerated) {
  EXPECT_EQ(parse(" +1 ,\t2\t,  \" +3 \"\n").values, (Values{1, 2, 3}));
}

TEST(Csv, QuotedFieldsMayHoldCommasQuotesAndLineBreaks) {
  const Csv csv = parse("\"a,b\",\"say \"\"hi\"\"\",\"two\nlines\"\n\"1\",\"2\",3\n");
  EXPECT_EQ(csv.header, (Names{"a,b", "say \"hi\"", "two\nlines"}));
  EXPECT_EQ(csv.values, (Values{1, 2, 3}));
}

TEST(Csv, LineEndsMayBeLfCrlfCrOrMissing) {
  for (const char* text : {"a,b\n1,2\n3,4\n", "a,b\r\n1,2\r\n3,4\r\n", "a,b\r1,2\r3,4\r", "a,b\n1,2\n3,4"}) {
    const Csv csv = parse(text);
    EXPECT_EQ(csv.header, (Names{"a", "b"})) << text;
    EXPECT_EQ(csv.values, (Values{1, 2, 3, 4})) << text;
  }
}

TEST(Csv, AByteOrderMarkIsSkipped) {
  EXPECT_EQ(parse("\xef\xbb\xbf"
                  "1,2\n")
                .values,
            (Values{1, 2}));
  EXPECT_EQ(parse("\xef\xbb\xbf"
                  "\"a\"\n1\n")
                .header,
            (Names{"a"}));
}

TEST(Csv, BlankLinesAreSkipped) {
  const Csv csv = parse("\n \t\na,b\n\r\n1,2\n\n\n3,4\n\n");
  EXPECT_EQ(csv.header, (Names{"a", "b"}));
  EXPECT_EQ(csv.values, (Values{1, 2, 3, 4}));
}

TEST(Csv, NumbersDoNotDependOnTheLocale) {
  struct DecimalComma : std::numpunct<char> {
    char do_decimal_point() const override { return ','; }
  };
  const std::string c_locale = std::setlocale(LC_ALL, nullptr);
  const std::locale before = std::locale::global(std::locale(std::locale(), new DecimalComma));
  std::setlocale(LC_ALL, "de_DE.UTF-8");  // where it is installed
  const Csv csv = parse("1.5\n");
  std::locale::global(before);
  std::setlocale(LC_ALL, c_locale.c_str());
  EXPECT_EQ(csv.values, Values{1.5});
}

TEST(Csv, AnEmptyFileIsRefused) {
  EXPECT_EQ(error(""), "t.csv: the file is empty");
  EXPECT_EQ(error("\xef\xbb\xbf"), "t.csv: the file is empty");
  EXPECT_EQ(error("\n  \r\n"), "t.csv: the file has no rows");
}

TEST(Csv, AHeaderWithoutDataIsRefused) {
  EXPECT_EQ(error("a,b\n\n"), "t.csv: there is a header (2 columns) but no row of data below it");
}

TEST(Csv, ARaggedRowIsRefused) {
  EXPECT_EQ(error("a,b,c\n1,2,3\n4,5\n"),
            "t.csv: line 3: 2 fields found, but 3 expected, as in the first row (line 1)");
  EXPECT_EQ(error("1,2,3\n4\n"), "t.csv: line 2: 1 field found, but 3 expected, as in the first row (line 1)");
  EXPECT_EQ(error("\n1,2,3\n4,5,6,7\n"), "t.csv: line 3: 4 fields found, but 3 expected, as in the first row (line 2)");
}

TEST(Csv, ADecimalCommaIsRefusedWithTheRemedy) {
  const std::string remedy =
      "; if the file has decimal commas or ';' as separator, write it with decimal points and ','";
  EXPECT_EQ(error("a,b\n\"1,5\",2\n"), "t.csv: line 2: column 1 (\"a\"): \"1,5\" is not a number" + remedy);
  EXPECT_EQ(error("a;b\n1,5;2,5\n"),
            "t.csv: line 2: 3 fields found, but 1 expected, as in the first row (line 1)" + remedy);
  EXPECT_EQ(error("a;b\n1;2\n"), "t.csv: line 2: column 1 (\"a;b\"): \"1;2\" is not a number" + remedy);
  EXPECT_EQ(error("a,b\n1,5,2,5\n"),
            "t.csv: line 2: 4 fields found, but 2 expected, as in the first row (line 1)" + remedy);
  EXPECT_EQ(error("1,5;2,5\n3,5;4,5\n"), "t.csv: line 2: column 2 (\"5;2\"): \"5;4\" is not a number" + remedy);
}

TEST(Csv, ValuesThatAreNotFiniteAreRefused) {
  for (const std::string text : {"nan", "NaN", "inf", "-inf", "+inf", "Infinity", "nan(1)"})
    EXPECT_EQ(error("a,b\n0,0\n1," + text + "\n"),
              "t.csv: line 3: column 2 (\"b\"): \"" + text + "\" is not finite; remove the row or fill in a value");
}

TEST(Csv, ValuesOutsideTheRangeOfADoubleAreRefused) {
  for (const std::string text : {"1e999", "-1e999", "1e-999"})
    EXPECT_EQ(error("a\n" + text + "\n"),
              "t.csv: line 2: column 1 (\"a\"): \"" + text + "\" is outside the range of a double");
}

TEST(Csv, HexadecimalIsRefused) {
  for (const std::string text : {"0x1f", "-0X1p3", "+0x1"})
    EXPECT_EQ(error("a\n" + text + "\n"),
              "t.csv: line 2: column 1 (\"a\"): \"" + text + "\" is hexadecimal; write it in decimal");
}

TEST(Csv, TextIsRefused) {
  for (const std::string text : {"x", "1x", "1 2", "+-1", "++1", "--1", "+", "-", "e5", "1e", "1_000"})
    EXPECT_EQ(error("a\n" + text + "\n"), "t.csv: line 2: column 1 (\"a\"): \"" + text + "\" is not a number");
}

TEST(Csv, ABadNumberInTheFirstRowIsNotTakenForAHeader) {
  EXPECT_EQ(error("nan,1\n2,3\n"), "t.csv: line 1: column 1: \"nan\" is not finite; remove the row or fill in a value");
  EXPECT_EQ(error("1,1e999\n2,3\n"), "t.csv: line 1: column 2: \"1e999\" is outside the range of a double");
}

TEST(Csv, AnEmptyFieldIsRefused) {
  const std::string empty = "the field is empty; fill in a value, or remove the trailing comma if that is one";
  EXPECT_EQ(error("a,b\n1,2\n,2\n"), "t.csv: line 3: column 1 (\"a\"): " + empty);
  EXPECT_EQ(error("a,b\n1,\"\"\n"), "t.csv: line 2: column 2 (\"b\"): " + empty);
  EXPECT_EQ(error("a,b\n1,\" \"\n"), "t.csv: line 2: column 2 (\"b\"): " + empty);
}

TEST(Csv, ATrailingCommaIsRefused) {
  const std::string empty = "the field is empty; fill in a value, or remove the trailing comma if that is one";
  EXPECT_EQ(error("a,b,\n1,2,\n"), "t.csv: line 1: column 3: " + empty);
  EXPECT_EQ(error("1,2,\n3,4,\n"), "t.csv: line 1: column 3: " + empty);
  EXPECT_EQ(error("1,2,"), "t.csv: line 1: column 3: " + empty);
  EXPECT_EQ(error("a,b\n1,2,\n"), "t.csv: line 2: 3 fields found, but 2 expected, as in the first row (line 1)");
}

TEST(Csv, LineNumbersCountBlankLinesAndLineBreaksInQuotes) {
  const std::string bad = ": column 1 (\"a b\"): \"x\" is not a number";
  EXPECT_EQ(error("\n\"a\nb\"\n\n1\nx\n"), "t.csv: line 6" + bad);
  EXPECT_EQ(error("\r\n\"a\r\nb\"\r\n\r\n1\r\nx\r\n"), "t.csv: line 6: column 1 (\"a  b\"): \"x\" is not a number");
  EXPECT_EQ(error("\r\"a\rb\"\r\r1\rx\r"), "t.csv: line 6" + bad);
  EXPECT_EQ(error("\"a\n\n\nb\"\n1\nx"), "t.csv: line 6: column 1 (\"a   b\"): \"x\" is not a number");
}

TEST(Csv, ARowIsReportedAtTheLineWhereItBegins) {
  EXPECT_EQ(error("a,b\n1,2\n3,\"x\n\ny\"\n5,6\n"), "t.csv: line 3: column 2 (\"b\"): \"x  y\" is not a number");
}

TEST(Csv, StrayQuotesAreRefused) {
  const std::string stray = "a quote inside a field; quote the whole field, and double the quotes inside it";
  EXPECT_EQ(error("a\n1\n2\"3\n"), "t.csv: line 3: " + stray);
  EXPECT_EQ(error("a\n\"1\"2\n"), "t.csv: line 2: " + stray);
}

TEST(Csv, AQuoteThatIsNeverClosedIsRefusedWhereItsRowBegins) {
  EXPECT_EQ(error("a\n1\n\"2\n3\n4\n"), "t.csv: line 3: a field opens with a quote that is never closed");
}

TEST(Csv, ANulByteIsRefused) {
  const std::string nul = "a NUL byte; the file is not text, or is UTF-16: write it as UTF-8";
  EXPECT_EQ(error("1\n2\0\n"s), "t.csv: line 2: " + nul);
  EXPECT_EQ(error("\xff\xfe\x31\0\n\0"s), "t.csv: line 1: " + nul);
}

TEST(Csv, ALineOfTenMegabytesIsRead) {
  std::string line = "1";
  while (line.size() < 10'000'000) line += ",1";
  const Csv csv = parse(line + "\n" + line + "\n");
  EXPECT_EQ(csv.rows, 2u);
  EXPECT_EQ(csv.values.size(), line.size() + 1);
}

TEST(Csv, AFieldOfTenMegabytesIsRefusedInAShortMessage) {
  EXPECT_EQ(error("a\n" + std::string(10'000'000, 'x')),
            "t.csv: line 2: column 1 (\"a\"): \"" + std::string(40, 'x') + "\"... is not a number");
}

TEST(Csv, AFileIsReadAndNamed) {
  const std::string path = testing::TempDir() + "xtgrad_csv_test.csv";
  std::ofstream(path) << "a,b\n1,2\n";
  EXPECT_EQ(xtgrad::read_csv(path).values, (Values{1, 2}));
  std::ofstream(path) << "a,b\n1\n";
  try {
    xtgrad::read_csv(path);
    ADD_FAILURE() << "a ragged row was accepted";
  } catch (const std::runtime_error& e) {
    EXPECT_EQ(e.what(), path + ": line 2: 1 field found, but 2 expected, as in the first row (line 1)");
  }
  std::filesystem::remove(path);
}

}  // namespace
