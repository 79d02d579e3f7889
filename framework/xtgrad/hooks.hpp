// Hooks: functions of the user's that are called on the way, in the order in which they were added.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "xtgrad/check.hpp"

namespace xtgrad {

/// Hooks with the numbers under which they are removed.
template <class Hook> class HookList {
 public:
  /// Returns what remove() wants. Throws if the hook is empty.
  std::size_t add(Hook hook) {
    check(static_cast<bool>(hook), "add_hook: the hook is empty");
    hooks_.emplace_back(next_, std::move(hook));
    return next_++;
  }
  /// Throws if there is no such hook.
  void remove(std::size_t id) {
    const auto count = std::erase_if(hooks_, [id](const auto& entry) { return entry.first == id; });
    check(count > 0, "remove_hook: there is no hook {}", id);
  }
  /// Calls f with each hook; a hook may add or remove hooks meanwhile, which counts from the next time on.
  template <class F> void for_each(F f) const {
    if (hooks_.empty()) return;
    const auto hooks = hooks_;
    for (const auto& [id, hook] : hooks) f(hook);
  }

 private:
  std::vector<std::pair<std::size_t, Hook>> hooks_;
  std::size_t next_ = 0;
};

}  // namespace xtgrad
