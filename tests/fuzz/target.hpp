// A fuzz target: reads `content` as a file of its format, and aborts if what it then sees cannot be.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <string>

/// Whether the content was accepted.
bool read_as_file(const std::string& content);

/// Ends the program if a promise is broken.
inline void promise(bool kept, const char* what) {
  if (kept) return;
  std::fprintf(stderr, "broken: %s\n", what);
  std::abort();
}
