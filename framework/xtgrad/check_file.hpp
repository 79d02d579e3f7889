// check() and fail() for what a file says: not part of the interface.
#pragma once

#include <fmt/core.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace xtgrad {

/// Throws std::runtime_error with the file's name and the formatted sentence.
template <class... Args>
[[noreturn]] void fail_file(const std::string& file, fmt::format_string<Args...> format, Args&&... args) {
  throw std::runtime_error(file + ": " + fmt::format(format, std::forward<Args>(args)...));
}

/// The same unless `condition` holds.
template <class... Args>
void check_file(bool condition, const std::string& file, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail_file(file, format, std::forward<Args>(args)...);
}

}  // namespace xtgrad
