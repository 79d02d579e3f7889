// Named values of a model or an optimizer: what is saved, loaded and compared.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// Names and values in the owner's order: tensors, counts, numbers. The values are copies.
template <class T> using StateDict = std::vector<std::pair<std::string, std::variant<Tensor<T>, std::int64_t, double>>>;

/// What a value may be, checked when it is loaded. A count is never negative.
enum class StateRule { any, not_negative };

/// A named value where it lives.
template <class T> struct StateEntry {
  std::string name;
  std::variant<Tensor<T>*, std::int64_t*, double*> place;
  StateRule rule = StateRule::any;
};

/// Copies of the values of all entries, under their names.
template <class T> StateDict<T> copy_state(const std::vector<StateEntry<T>>& entries);

/// Takes over all values of `state`. Throws std::invalid_argument, with nothing changed, unless names, kinds and shapes
/// are those of the entries, each there once, and the rules are kept; the message begins with `who` and lists all that
/// is missing, unexpected or mismatched.
template <class T>
void load_state(const char* who, const std::vector<StateEntry<T>>& entries, const StateDict<T>& state);

}  // namespace xtgrad
