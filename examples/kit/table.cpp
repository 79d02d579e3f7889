#include "table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

namespace kit {
namespace {

/// A number, with or without a short unit (97.5%, 1.8x, 12 ms), or the sign for none.
bool is_numeric(std::string_view cell) {
  if (cell.empty() || cell == "-") return true;
  if (cell.front() == '+') cell.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  const std::string_view unit = cell.substr(static_cast<std::size_t>(end - cell.data()));
  constexpr std::size_t longest_unit = 3;
  return error != std::errc::invalid_argument && unit.size() <= longest_unit &&
         unit.find_first_of("0123456789") == unit.npos;
}

}  // namespace

Table::Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}

void Table::add(std::vector<std::string> row) {
  if (row.size() != headers_.size())
    throw std::invalid_argument(
        fmt::format("table: a row of {} cells was added, but there are {} headers", row.size(), headers_.size()));
  rows_.push_back(std::move(row));
}

std::string Table::text() const {
  std::vector<std::string> lines(rows_.size() + 2);
  for (std::size_t c = 0; c < headers_.size(); ++c) {
    std::size_t width = headers_[c].size();
    bool numeric = !rows_.empty();
    for (const auto& row : rows_) {
      width = std::max(width, row[c].size());
      numeric = numeric && is_numeric(row[c]);
    }
    const auto aligned = [&](const std::string& cell) {
      return numeric ? fmt::format("{:>{}}", cell, width) : fmt::format("{:<{}}", cell, width);
    };
    const char* gap = c == 0 ? "" : "  ";
    lines[0] += gap + aligned(headers_[c]);
    lines[1] += gap + std::string(width, '-');
    for (std::size_t r = 0; r < rows_.size(); ++r) lines[r + 2] += gap + aligned(rows_[r][c]);
  }
  std::string text;
  for (const std::string& line : lines) text += line.substr(0, line.find_last_not_of(' ') + 1) + '\n';
  return text;
}

}  // namespace kit
