#include "metrics_log.hpp"

#include <cerrno>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace kit {
namespace {

/// Quoted as RFC 4180 asks, where the cell needs it.
std::string field(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == cell.npos) return cell;
  std::string quoted = "\"";
  for (const char c : cell) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

std::string json_of(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

MetricsLog::MetricsLog(std::filesystem::path path, std::vector<std::string> columns)
    : path_(std::move(path)), columns_(std::move(columns)), json_(path_.extension() == ".jsonl") {
  if (!json_ && path_.extension() != ".csv")
    throw std::runtime_error(fmt::format("{}: a file of metrics ends in .csv or .jsonl", path_.string()));
  errno = 0;
  file_.open(path_, std::ios::binary);
  if (!file_) fail();
  std::string header;
  for (const std::string& column : columns_) header += (header.empty() ? "" : ",") + field(column);
  if (!json_) write_line(header);
}

void MetricsLog::write(const std::vector<Cell>& cells) {
  if (cells.size() != columns_.size())
    throw std::invalid_argument(fmt::format("metrics log: {}: a row of {} values, but there are {} columns",
                                            path_.string(), cells.size(), columns_.size()));
  std::string line;
  for (std::size_t c = 0; c < cells.size(); ++c) {
    const auto& [kind, text] = cells[c];
    if (c > 0) line += ',';
    if (!json_)
      line += field(text);
    else
      line += json_of(columns_[c]) + ':' +
              (kind == Cell::Kind::text         ? json_of(text)
               : kind == Cell::Kind::not_finite ? "null"
                                                : text);
  }
  write_line(json_ ? '{' + line + '}' : line);
}

void MetricsLog::write_line(const std::string& line) {
  errno = 0;
  file_ << line << '\n' << std::flush;  // a full disk shows at the flush, not before
  if (!file_) fail();
}

void MetricsLog::fail() const {
  throw std::runtime_error(fmt::format("{}: cannot be written: {}", path_.string(),
                                       errno ? std::generic_category().message(errno) : "write failed"));
}

}  // namespace kit
