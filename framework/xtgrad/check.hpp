// Errors and warnings. An error is a sentence that names the op or the file, gives the actual values and,
// where it is known, the remedy; it is thrown before any state changes. Thread-safe.
#pragma once

#include <fmt/core.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <utility>

namespace xtgrad {

/// Throws std::invalid_argument with the formatted sentence.
template <class... Args> [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw std::invalid_argument(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws std::invalid_argument with the formatted sentence unless `condition` holds.
template <class... Args> void check(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    fail(format, std::forward<Args>(args)...);
}

/// Receives the text of a warning.
using WarningHandler = std::function<void(const std::string&)>;

/// Replaces the handler of warnings (by default a line on stderr) and returns the one before it.
WarningHandler set_warning_handler(WarningHandler handler);

/// Warns, once in a process for each distinct text.
void warn_once(const std::string& text);

}  // namespace xtgrad
