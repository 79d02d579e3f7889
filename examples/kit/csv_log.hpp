// A CSV file of metrics, one row per epoch or step.
//
//     kit::CsvLog log("metrics.csv", {"epoch", "loss"});
//     log.row(1, 0.31);
//
// The file is created, and its header written, by the constructor: a path that cannot be written is an error
// before the training starts. Each row is flushed before row() returns. Both throw std::runtime_error, naming
// the file, if the writing fails. Numbers are written in the shortest form that reads back as the same bits.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace kit {

class CsvLog {
 public:
  CsvLog(std::filesystem::path path, const std::vector<std::string>& columns);

  /// One value per column (numbers or strings), or std::invalid_argument.
  template <class... Values> void row(const Values&... values) { write({fmt::format("{}", values)...}); }

 private:
  void write(const std::vector<std::string>& cells);
  [[noreturn]] void fail() const;

  std::filesystem::path path_;
  std::size_t columns_;
  std::ofstream file_;
};

}  // namespace kit
