#include "xtgrad/state/state_dict.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

constexpr const char* kKinds[] = {"a tensor", "an integer", "a number", "a generator"};

// No run gets so far; what claims to have could overflow when it goes on.
constexpr std::int64_t kLargestCount = std::int64_t{1} << 53;

// What is wrong with a value for this place; empty if nothing is.
template <class T> std::string problem(const StateEntry<T>& entry, const StateValue<T>& value) {
  if (value.index() != entry.place.index())
    return fmt::format("is {}, expected {}", kKinds[value.index()], kKinds[entry.place.index()]);
  if (const auto* count = std::get_if<std::int64_t>(&value)) {
    const std::int64_t now = *std::get<std::int64_t*>(entry.place);
    if (entry.rule == StateRule::fixed && *count != now) return fmt::format("is {}, expected {}", *count, now);
    return *count >= 0 && *count <= kLargestCount ? "" : fmt::format("is {}, expected a count", *count);
  }
  if (const auto* number = std::get_if<double>(&value))
    return entry.rule == StateRule::any || (*number >= 0 && (entry.rule != StateRule::rate || std::isfinite(*number)))
               ? ""
               : fmt::format("is {}, expected 0 or more{}", *number,
                             entry.rule == StateRule::rate ? ", and finite" : "");
  if (const auto* state = std::get_if<Labels>(&value)) try {
      Generator::from_state(*state);
      return "";
    } catch (const std::invalid_argument& error) {
      return fmt::format("is refused: {}", error.what());
    }
  const Tensor<T>& have = std::get<Tensor<T>>(value);
  const Shape& want = std::get<Tensor<T>*>(entry.place)->shape();
  if (have.shape() != want) return fmt::format("is {}, expected {}", have.shape(), want);
  if (entry.rule == StateRule::any) return "";
  const T* const end = have.data() + have.size();
  const T* const bad = std::find_if_not(have.data(), end, [](T v) { return v >= 0; });
  return bad == end ? "" : fmt::format("holds {}, expected values that are not negative", *bad);
}

template <class T> Tensor<T> read(const Tensor<T>* place) { return Array<T>(place->value()); }
std::int64_t read(const std::int64_t* place) { return *place; }
double read(const double* place) { return *place; }
Labels read(const Generator* place) { return place->state(); }

template <class T> void write(Tensor<T>* place, const Tensor<T>& value) {
  place->mutable_value().storage() = value.value().storage();
}
void write(std::int64_t* place, std::int64_t value) { *place = value; }
void write(double* place, double value) { *place = value; }
void write(Generator* place, const Labels& state) { *place = Generator::from_state(state); }

}  // namespace

template <class T> StateDict<T> copy_state(const std::vector<StateEntry<T>>& entries) {
  StateDict<T> state;
  for (const StateEntry<T>& entry : entries)
    std::visit([&](const auto* place) { state.emplace_back(entry.name, read(place)); }, entry.place);
  return state;
}

template <class T>
void load_state(const char* who, const std::vector<StateEntry<T>>& entries, const StateDict<T>& state) {
  std::string problems;
  std::map<std::string, const StateValue<T>*> found;
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

  for (const StateEntry<T>& entry : entries)
    std::visit([&](auto* place) { write(place, std::get<std::decay_t<decltype(read(place))>>(*found[entry.name])); },
               entry.place);
}

#define XTGRAD_INSTANTIATE(T)                                          \
  template StateDict<T> copy_state(const std::vector<StateEntry<T>>&); \
  template void load_state(const char*, const std::vector<StateEntry<T>>&, const StateDict<T>&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
