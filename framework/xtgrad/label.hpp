// Labels: the names of layers and values, for errors, anomaly mode and drawings.
#pragma once

#include <string>
#include <string_view>

namespace xtgrad {

/// The one copy of a text. It is kept until the process ends, so a label costs a node one pointer. Thread-safe.
const std::string* intern(std::string_view text);

/// Labels every op that this thread makes while it lives; the innermost Scope counts.
class Scope {
 public:
  explicit Scope(std::string_view label) : Scope(intern(label)) {}
  explicit Scope(const std::string* label) noexcept;
  ~Scope();
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  const std::string* before_;
};

}  // namespace xtgrad
