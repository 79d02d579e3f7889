// Tables of numbers from CSV text (RFC 4180, optionally gzipped).
//
// Fields are separated by commas and may be quoted; numbers have a decimal point, whatever the locale. A leading
// '+' and spaces around a number are allowed; a byte order mark and blank lines are skipped; lines end in LF,
// CRLF or CR. The first row is a header if and only if one of its fields is not a number.
//
// A table is read whole or not at all: every value is finite and every row has as many fields as the first.
// Otherwise std::runtime_error names the file, the line, the column and the text that was found there. The
// line is the one on which the row begins, counted from 1 with blank lines and line breaks inside quotes.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>
#include <xtgrad/data/dataset.hpp>

namespace xtgrad {

/// A table of numbers.
struct Csv {
  std::vector<std::string> header;  ///< one name per column; empty if the file has no header
  std::size_t rows = 0;             ///< rows of data, at least 1
  std::size_t columns = 0;
  std::vector<double> values;  ///< (rows, columns), row-major
};

/// The table in a file. Throws as said above.
Csv read_csv(const std::filesystem::path& path);

/// The same for text in memory; `name` stands for the file in errors.
Csv parse_csv(std::string_view text, const std::string& name);

/// Options of load_csv.
struct CsvOptions {
  std::variant<int, std::string> label = -1;  ///< the column of labels: its name, or its index (-1: the last)
};

/// The rows of a CSV file: one column is a class label 0, 1, 2, ..., the others are x in the order of the file.
/// Throws std::runtime_error naming the file, and the row of a label that is not a class.
template <class T = float> Dataset<T> load_csv(const std::filesystem::path& path, const CsvOptions& options = {});

}  // namespace xtgrad
