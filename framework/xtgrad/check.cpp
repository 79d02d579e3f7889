#include "xtgrad/check.hpp"

#include <cstdio>
#include <mutex>
#include <set>

namespace xtgrad {
namespace {

struct Warnings {
  std::mutex mutex;
  WarningHandler handler = [](const std::string& text) { std::fprintf(stderr, "warning: %s\n", text.c_str()); };
  std::set<std::string> seen;
};

// Never destroyed: a static object may warn while the process ends.
Warnings& warnings() {
  static auto* const instance = new Warnings;
  return *instance;
}

}  // namespace

WarningHandler set_warning_handler(WarningHandler handler) {
  const std::lock_guard lock(warnings().mutex);
  return std::exchange(warnings().handler, std::move(handler));
}

void warn_once(const std::string& text) {
  WarningHandler handler;
  {
    const std::lock_guard lock(warnings().mutex);
    if (!warnings().seen.insert(text).second) return;
    handler = warnings().handler;
  }
  if (handler) handler(text);
}

}  // namespace xtgrad
