// A file of metrics, one line per epoch or step: CSV or JSON lines, as the name of the file says.
//
//     kit::MetricsLog log("metrics.csv", {"epoch", "loss"});      epoch,loss
//     log.row(1, 0.31);                                           1,0.31
//
//     kit::MetricsLog log("metrics.jsonl", {"epoch", "loss"});
//     log.row(1, 0.31);                                           {"epoch":1,"loss":0.31}
//
// The file is created by the constructor: a path that cannot be written is an error before the training starts. Each
// line is flushed before row() returns. Both throw std::runtime_error, naming the file, if the writing fails. Numbers are
// written in the shortest form that reads back as the same bits; JSON has no nan and inf, which are null there.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <type_traits>
#include <vector>

namespace kit {

/// Whether two paths lead to one file, also if it is not there yet.
bool same_file(const std::filesystem::path& a, const std::filesystem::path& b);

class MetricsLog {
 public:
  /// Throws if there could be no such file: what the constructor throws. A file that is there stays as it is.
  static void check(const std::filesystem::path& path);
  /// Throws std::runtime_error also if the name ends neither in .csv nor in .jsonl.
  MetricsLog(std::filesystem::path path, std::vector<std::string> columns);

  /// One value per column (numbers or strings), or std::invalid_argument.
  template <class... Values> void row(const Values&... values) { write({Cell(values)...}); }

 private:
  struct Cell {
    template <class V> explicit Cell(const V& value) : text(fmt::format("{}", value)) {
      if constexpr (std::is_floating_point_v<V>)
        kind = std::isfinite(value) ? Kind::number : Kind::not_finite;
      else
        kind = std::is_arithmetic_v<V> ? Kind::number : Kind::text;
    }
    enum class Kind { number, not_finite, text } kind;
    std::string text;
  };

  void write(const std::vector<Cell>& cells);
  void write_line(const std::string& line);

  std::filesystem::path path_;
  std::vector<std::string> columns_;
  bool json_;
  std::ofstream file_;
};

}  // namespace kit
