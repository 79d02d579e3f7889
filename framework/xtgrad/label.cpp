#include "xtgrad/label.hpp"

#include <mutex>
#include <set>

#include "xtgrad/autograd.hpp"

namespace xtgrad {

const std::string* intern(std::string_view text) {
  static std::mutex mutex;
  static auto* const texts = new std::set<std::string, std::less<>>;  // never destroyed: static tensors may die last
  const std::lock_guard lock(mutex);
  const auto it = texts->find(text);
  return it != texts->end() ? &*it : &*texts->emplace(text).first;
}

Scope::Scope(const std::string* label) noexcept : before_(std::exchange(graph_mode.label, label)) {}
Scope::~Scope() { graph_mode.label = before_; }

}  // namespace xtgrad
