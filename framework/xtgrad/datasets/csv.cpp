#include <csv.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <exception>
#include <new>
#include <system_error>
#include <utility>
#include <xtgrad/check_file.hpp>
#include <xtgrad/datasets/csv.hpp>
#include <xtgrad/datasets/file.hpp>

namespace xtgrad {
namespace {

enum class Kind { number, not_finite, out_of_range, hexadecimal, empty, text };

struct Parsed {
  Kind kind;
  double value = 0;
};

Parsed parse_number(std::string_view text) {
  constexpr std::string_view blanks = " \t";
  text.remove_prefix(std::min(text.find_first_not_of(blanks), text.size()));
  text = text.substr(0, text.find_last_not_of(blanks) + 1);
  if (text.empty()) return {Kind::empty};
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);

  Parsed parsed{Kind::number};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed.value);
  if (end != text.data() + text.size()) {
    const std::string_view digits = text.substr(text[0] == '-' ? 1 : 0);
    return {digits.starts_with("0x") || digits.starts_with("0X") ? Kind::hexadecimal : Kind::text};
  }
  if (error == std::errc::result_out_of_range) return {Kind::out_of_range};
  if (!std::isfinite(parsed.value)) return {Kind::not_finite};
  return parsed;
}

/// A field as an error shows it: one line, of bounded length.
std::string shown(std::string_view text) {
  constexpr std::size_t most = 40;
  std::string line(text.substr(0, most));
  std::replace_if(
      line.begin(), line.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }, ' ');
  return fmt::format("\"{}\"{}", line, text.size() > most ? "..." : "");
}

std::string column_name(const std::vector<std::string>& header, std::size_t c) {
  return fmt::format("column {}{}", c + 1, header.empty() ? "" : fmt::format(" ({})", shown(header[c])));
}

constexpr const char* decimal_comma_remedy =
    "; if the file has decimal commas or ';' as separator, write it with decimal points and ','";

std::string complaint(std::string_view text, Kind kind) {
  switch (kind) {
    case Kind::number:
      break;
    case Kind::not_finite:
      return shown(text) + " is not finite; remove the row or fill in a value";
    case Kind::out_of_range:
      return shown(text) + " is outside the range of a double";
    case Kind::hexadecimal:
      return shown(text) + " is hexadecimal; write it in decimal";
    case Kind::empty:
      return "the field is empty; fill in a value, or remove the trailing comma if that is one";
    case Kind::text:
      break;
  }
  const bool decimal_comma = text.find_first_of(",;") != text.npos;
  return shown(text) + " is not a number" + (decimal_comma ? decimal_comma_remedy : "");
}

/// Cuts the first line, with its end (LF, CRLF or CR), off the text.
std::string_view take_line(std::string_view& text) {
  std::size_t end = text.find_first_of("\r\n");
  end = end == text.npos ? text.size() : end + (text.substr(end).starts_with("\r\n") ? 2 : 1);
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end);
  return line;
}

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r\n") == line.npos; }

/// Feeds libcsv line by line, because it does not report where a row begins.
class Reader {
 public:
  explicit Reader(const std::string& name) : name_(name) {
    csv_init(&parser_, CSV_STRICT | CSV_STRICT_FINI);
    csv_set_blk_size(&parser_, 1 << 16);  // its buffer grows by this: a field of megabytes stays cheap
  }
  ~Reader() { csv_free(&parser_); }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  Csv read(std::string_view text) {
    for (std::size_t line_number = 1; !text.empty(); ++line_number) {
      const std::string_view line = take_line(text);
      if (!in_row_) {
        if (is_blank(line)) continue;
        in_row_ = true;
        row_line_ = line_number;
      }
      const std::size_t parsed = csv_parse(&parser_, line.data(), line.size(), on_field, on_row, this);
      check(parsed == line.size(), "a quote inside a field; quote the whole field, and double the quotes inside it");
    }
    check(csv_fini(&parser_, on_field, on_row, this) == 0, "a field opens with a quote that is never closed");

    check_file(csv_.columns > 0, name_, "the file has no rows");
    check_file(csv_.rows > 0, name_, "there is a header ({} columns) but no row of data below it", csv_.columns);
    return std::move(csv_);
  }

 private:
  // Exceptions must not cross the frames of a C library: they are parked and rethrown by check().
  template <class Action> void guarded(Action action) {
    if (failure_) return;
    try {
      action();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  static void on_field(void* text, std::size_t size, void* self) {
    Reader& reader = *static_cast<Reader*>(self);
    reader.guarded([&] { reader.row_.emplace_back(static_cast<const char*>(text), size); });
  }

  static void on_row(int, void* self) {
    Reader& reader = *static_cast<Reader*>(self);
    reader.guarded([&] { reader.finish_row(); });
  }

  void check(bool parsed, std::string_view syntax_error) {
    if (failure_) std::rethrow_exception(failure_);
    if (!parsed && csv_error(&parser_) != CSV_EPARSE) throw std::bad_alloc();
    check_file(parsed, name_, "line {}: {}", row_line_, syntax_error);
  }

  void finish_row() {
    if (csv_.columns == 0) {
      csv_.columns = row_.size();
      first_line_ = row_line_;
      if (is_header()) {
        take_header();
      } else {
        take_values();
      }
    } else {
      check_field_count();
      take_values();
    }
    row_.clear();
    in_row_ = false;
  }

  // nan, inf and the like are bad numbers rather than names: as a header they would hide a row of data.
  bool is_header() const {
    return std::any_of(row_.begin(), row_.end(), [](const std::string& field) {
      const Kind kind = parse_number(field).kind;
      return kind == Kind::text || kind == Kind::empty;
    });
  }

  void take_header() {
    for (std::size_t c = 0; c < row_.size(); ++c)
      if (is_blank(row_[c])) fail_in_field(c, Kind::empty);
    csv_.header = std::move(row_);
  }

  void take_values() {
    for (std::size_t c = 0; c < row_.size(); ++c) {
      const Parsed parsed = parse_number(row_[c]);
      if (parsed.kind != Kind::number) fail_in_field(c, parsed.kind);
      csv_.values.push_back(parsed.value);
    }
    ++csv_.rows;
  }

  void check_field_count() const {
    if (row_.size() == csv_.columns) return;
    const bool decimal_comma =
        row_.size() == 2 * csv_.columns ||
        std::any_of(row_.begin(), row_.end(), [](const std::string& field) { return field.find(';') != field.npos; });
    fail_file(name_, "line {}: {} field{} found, but {} expected, as in the first row (line {}){}", row_line_,
              row_.size(), row_.size() == 1 ? "" : "s", csv_.columns, first_line_,
              decimal_comma ? decimal_comma_remedy : "");
  }

  [[noreturn]] void fail_in_field(std::size_t c, Kind kind) const {
    fail_file(name_, "line {}: {}: {}", row_line_, column_name(csv_.header, c), complaint(row_[c], kind));
  }

  const std::string& name_;
  csv_parser parser_{};
  std::exception_ptr failure_;
  Csv csv_;
  std::vector<std::string> row_;  // the fields of the row being read
  bool in_row_ = false;
  std::size_t row_line_ = 0;
  std::size_t first_line_ = 0;
};

}  // namespace

Csv parse_csv(std::string_view text, const std::string& name) {
  constexpr std::string_view byte_order_mark = "\xef\xbb\xbf";
  if (text.starts_with(byte_order_mark)) text.remove_prefix(byte_order_mark.size());
  check_file(!text.empty(), name, "the file is empty");
  if (const std::size_t nul = text.find('\0'); nul != text.npos) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(nul), '\n');
    fail_file(name, "line {}: a NUL byte; the file is not text, or is UTF-16: write it as UTF-8", line);
  }
  return Reader(name).read(text);
}

Csv read_csv(const std::filesystem::path& path) { return parse_csv(read_file(path), path.string()); }

namespace {

std::size_t label_column(const Csv& csv, const CsvOptions& options, const std::string& file) {
  check_file(csv.columns >= 2, file, "one column only; expected features and a column of labels");
  if (const auto* const name = std::get_if<std::string>(&options.label)) {
    check_file(!csv.header.empty(), file, "no header names the label column {}; give its index", shown(*name));
    std::string names;
    for (const std::string& column : csv.header) names += (names.empty() ? "" : ", ") + shown(column);
    const auto found = std::find(csv.header.begin(), csv.header.end(), *name);
    const auto matches = std::count(found, csv.header.end(), *name);
    check_file(matches == 1, file, "{} columns are named {}, expected one, with the labels; the columns are {}",
               matches, shown(*name), names);
    return static_cast<std::size_t>(found - csv.header.begin());
  }
  const std::ptrdiff_t index = std::get<int>(options.label), columns = static_cast<std::ptrdiff_t>(csv.columns);
  check_file(-columns <= index && index < columns, file,
             "no column {} for the labels: there are {}, counted from 0, or from -1 at the end", index, columns);
  return static_cast<std::size_t>(index < 0 ? index + columns : index);
}

}  // namespace

template <class T> Dataset<T> load_csv(const std::filesystem::path& path, const CsvOptions& options) {
  const Csv csv = read_csv(path);
  const std::string file = path.string();
  const std::size_t label = label_column(csv, options, file);
  const std::string label_name = column_name(csv.header, label);
  Array<T> x = empty_array<T>({csv.rows, csv.columns - 1});
  Labels y = empty_array<std::int64_t>({csv.rows});
  T* next = x.data();
  for (std::size_t n = 0; n < csv.rows; ++n)
    for (std::size_t c = 0; c < csv.columns; ++c) {
      const double value = csv.values[n * csv.columns + c];
      if (c != label) {
        check_file(std::isfinite(static_cast<T>(value)), file, "data row {}: {} in {} is beyond the largest float",
                   n + 1, value, column_name(csv.header, c));
        *next++ = static_cast<T>(value);
        continue;
      }
      check_file(value >= 0 && value <= 1e6 && value == std::floor(value), file,
                 "data row {}: the label is {}, expected a class 0, 1, 2, ... in {}", n + 1, value, label_name);
      y(n) = static_cast<std::int64_t>(value);
    }
  return {std::move(x), std::move(y)};
}

template Dataset<float> load_csv(const std::filesystem::path&, const CsvOptions&);
template Dataset<double> load_csv(const std::filesystem::path&, const CsvOptions&);

}  // namespace xtgrad
