#include "csv_log.hpp"

#include <cerrno>
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

}  // namespace

CsvLog::CsvLog(std::filesystem::path path, const std::vector<std::string>& columns)
    : path_(std::move(path)), columns_(columns.size()) {
  errno = 0;
  file_.open(path_, std::ios::binary);
  if (!file_) fail();
  write(columns);
}

void CsvLog::write(const std::vector<std::string>& cells) {
  if (cells.size() != columns_)
    throw std::invalid_argument(fmt::format("csv log: {}: a row of {} values, but there are {} columns", path_.string(),
                                            cells.size(), columns_));
  std::string line;
  for (std::size_t c = 0; c < cells.size(); ++c) line += (c == 0 ? "" : ",") + field(cells[c]);
  errno = 0;
  file_ << line << '\n' << std::flush;  // a full disk shows at the flush, not before
  if (!file_) fail();
}

void CsvLog::fail() const {
  throw std::runtime_error(fmt::format("{}: cannot be written: {}", path_.string(),
                                       errno ? std::generic_category().message(errno) : "write failed"));
}

}  // namespace kit
