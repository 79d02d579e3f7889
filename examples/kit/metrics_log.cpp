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

[[noreturn]] void fail(const std::filesystem::path& path) {
  throw std::runtime_error(fmt::format("{}: cannot be written: {}", path.string(),
                                       errno ? std::generic_category().message(errno) : "write failed"));
}

}  // namespace

bool same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  namespace fs = std::filesystem;
  return fs::weakly_canonical(fs::absolute(a)) == fs::weakly_canonical(fs::absolute(b));
}

void MetricsLog::check(const std::filesystem::path& path) {
  if (path.extension() != ".jsonl" && path.extension() != ".csv")
    throw std::runtime_error(fmt::format("{}: a file of metrics ends in .csv or .jsonl", path.string()));
  const bool is_there = exists(std::filesystem::symlink_status(path));
  errno = 0;
  if (!std::ofstream(path, std::ios::binary | std::ios::app)) fail(path);
  if (!is_there) std::filesystem::remove(path);
}

MetricsLog::MetricsLog(std::filesystem::path path, std::vector<std::string> columns)
    : path_(std::move(path)), columns_(std::move(columns)), json_(path_.extension() == ".jsonl") {
  check(path_);
  errno = 0;
  file_.open(path_, std::ios::binary);
  if (!file_) fail(path_);
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
  if (!file_) fail(path_);
}

}  // namespace kit
