#include "xtgrad/state/state_dict.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

constexpr const char* kKinds[] = {"a tensor", "an integer", "a number"};

// What is wrong with a value for this place; empty if nothing is.
template <class T>
std::string problem(const StateEntry<T>& entry, const typename StateDict<T>::value_type::second_type& value) {
  if (value.index() != entry.place.index())
    return fmt::format("is {}, expected {}", kKinds[value.index()], kKinds[entry.place.index()]);
  if (const auto* count = std::get_if<std::int64_t>(&value))
    return *count >= 0 ? "" : fmt::format("is {}, expected a count", *count);
  if (const auto* number = std::get_if<double>(&value))
    return *number >= 0 || entry.rule == StateRule::any ? "" : fmt::format("is {}, expected 0 or more", *number);
  const Tensor<T>& have = std::get<Tensor<T>>(value);
  const Shape& want = std::get<Tensor<T>*>(entry.place)->shape();
  if (have.shape() != want) return fmt::format("is {}, expected {}", have.shape(), want);
  if (entry.rule == StateRule::any) return "";
  const T* const end = have.data() + have.size();
  const T* const bad = std::find_if_not(have.data(), end, [](T v) { return v >= 0; });
  return bad == end ? "" : fmt::format("holds {}, expected values that are not negative", *bad);
}

}  // namespace

template <class T> StateDict<T> copy_state(const std::vector<StateEntry<T>>& entries) {
  StateDict<T> state;
  for (const StateEntry<T>& entry : entries)
    if (auto* const* tensor = std::get_if<Tensor<T>*>(&entry.place))
      state.emplace_back(entry.name, Tensor<T>(Array<T>((*tensor)->value())));
    else if (auto* const* count = std::get_if<std::int64_t*>(&entry.place))
      state.emplace_back(entry.name, **count);
    else
      state.emplace_back(entry.name, *std::get<double*>(entry.place));
  return state;
}

template <class T>
void load_state(const char* who, const std::vector<StateEntry<T>>& entries, const StateDict<T>& state) {
  std::string problems;
  std::map<std::string, const typename StateDict<T>::value_type::second_type*> found;
  for (const auto& [name, value] : state)
    if (!found.emplace(name, &value).second) problems += fmt::format("; {} is there twice", name);
  auto left = found;
  for (const StateEntry<T>& entry : entries)
    if (left.erase(entry.name) == 0)
      problems += fmt::format("; {} is missing", entry.name);
    else if (const std::string wrong = problem(entry, *found[entry.name]); !wrong.empty())
      problems += fmt::format("; {} {}", entry.name, wrong);
  for (const auto& [name, value] : left) problems += fmt::format("; {} is unexpected", name);
  if (!problems.empty()) fail("{}: {}", who, problems.substr(2));

  for (const StateEntry<T>& entry : entries) {
    const auto& value = *found[entry.name];
    if (auto* const* tensor = std::get_if<Tensor<T>*>(&entry.place))
      (*tensor)->mutable_value().storage() = std::get<Tensor<T>>(value).value().storage();
    else if (auto* const* count = std::get_if<std::int64_t*>(&entry.place))
      **count = std::get<std::int64_t>(value);
    else
      *std::get<double*>(entry.place) = std::get<double>(value);
  }
}

#define XTGRAD_INSTANTIATE(T)                                          \
  template StateDict<T> copy_state(const std::vector<StateEntry<T>>&); \
  template void load_state(const char*, const std::vector<StateEntry<T>>&, const StateDict<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
