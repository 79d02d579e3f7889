// Named values of a model or an optimizer: what is saved, loaded and compared.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "xtgrad/random.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// A tensor, a count, a number, or the state of a generator.
template <class T> using StateValue = std::variant<Tensor<T>, std::int64_t, double, Labels>;

/// Names and values in the owner's order. The values are copies.
template <class T> using StateDict = std::vector<std::pair<std::string, StateValue<T>>>;

/// What a value may be, checked when it is loaded: from 0 up; from 0 up and finite; as it is now. A count is always from
/// 0 to 2^53.
enum class StateRule { any, not_negative, rate, fixed };

/// A named value where it lives.
template <class T> struct StateEntry {
  std::string name;
  std::variant<Tensor<T>*, std::int64_t*, double*, Generator*> place;
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
