// A fuzz target: reads `content` as a file of its format, and aborts if what it then sees cannot be.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

/// Whether the content was accepted.
bool read_as_file(const std::string& content);

/// The files in seeds/, by name.
std::vector<std::pair<std::string, std::string>> make_seeds();

/// Ends the program if a promise is broken.
inline void promise(bool kept, const char* what) {
  if (kept) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}
