#include "xtgrad/layers/module.hpp"

#include <algorithm>
#include <set>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

// One member with its full name.
template <class T>
struct Member {
  std::string name;
  Tensor<T>* tensor = nullptr;
  Labels* count = nullptr;
  bool trained = false;
  BufferRule rule = BufferRule::any;
};

// Lists all members below a module.
template <class T>
class Members final : public Visitor<T> {
 public:
  explicit Members(Module<T>& module) { module.visit(*this); }

  void parameter(const std::string& name, Tensor<T>& t) override {
    if (t.defined()) list.push_back({prefix_ + name, &t, nullptr, true, BufferRule::any});
  }
  void buffer(const std::string& name, Tensor<T>& t, BufferRule rule) override {
    if (t.defined()) list.push_back({prefix_ + name, &t, nullptr, false, rule});
  }
  void count(const std::string& name, Labels& value) override {
    if (value.dimension() == 0) list.push_back({prefix_ + name, nullptr, &value, false, BufferRule::any});
  }
  void child(const std::string& name, Module<T>& module) override {
    const std::string before = std::exchange(prefix_, prefix_ + name + ".");
    module.visit(*this);
    prefix_ = before;
  }

  std::vector<Member<T>> list;

 private:
  std::string prefix_;
};

// Calls f for each direct child.
template <class T, class F>
void for_each_child(Module<T>& module, F f) {
  struct Children final : Visitor<T> {
    explicit Children(F& action) : action_(action) {}
    void parameter(const std::string&, Tensor<T>&) override {}
    void buffer(const std::string&, Tensor<T>&, BufferRule) override {}
    void count(const std::string&, Labels&) override {}
    void child(const std::string& name, Module<T>& m) override { action_(name, m); }
    F& action_;
  } children(f);
  module.visit(children);
}

// While a summary runs: where each module's output shape is noted.
template <class T>
using Shapes = std::vector<std::pair<const Module<T>*, Shape>>;
template <class T>
Shapes<T>*& shapes_of_this_thread() {
  static thread_local Shapes<T>* shapes = nullptr;
  return shapes;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(text.size(), width), ' ');
  return text;
}

}  // namespace

template <class T>
Tensor<T> Module<T>::operator()(const Tensor<T>& x) {
  Tensor<T> y = forward(x);
  if (Shapes<T>* shapes = shapes_of_this_thread<T>()) [[unlikely]]
    shapes->emplace_back(this, y.shape());
  return y;
}

template <class T>
std::vector<std::pair<std::string, Tensor<T>>> Module<T>::named_parameters() {
  std::vector<std::pair<std::string, Tensor<T>>> result;
  std::set<const void*> seen;
  for (const Member<T>& member : Members<T>(*this).list)
    if (member.trained && seen.insert(&member.tensor->value()).second) result.emplace_back(member.name, *member.tensor);
  return result;
}

template <class T>
std::vector<Tensor<T>> Module<T>::parameters() {
  std::vector<Tensor<T>> result;
  for (auto& [name, tensor] : named_parameters()) result.push_back(std::move(tensor));
  return result;
}

template <class T>
std::size_t Module<T>::parameter_count() {
  std::size_t count = 0;
  for (const Tensor<T>& p : parameters()) count += p.size();
  return count;
}

template <class T>
StateDict<T> Module<T>::state_dict() {
  StateDict<T> state;
  for (const Member<T>& member : Members<T>(*this).list)
    if (member.count != nullptr)
      state.emplace_back(member.name, *member.count);
    else
      state.emplace_back(member.name, Tensor<T>(Array<T>(member.tensor->value())));
  return state;
}

template <class T>
void Module<T>::load_state_dict(const StateDict<T>& state) {
  const Members<T> members(*this);
  std::string problems;
  std::vector<const typename StateDict<T>::value_type*> sources;
  for (const Member<T>& member : members.list) {
    const auto it =
        std::find_if(state.begin(), state.end(), [&](const auto& entry) { return entry.first == member.name; });
    if (it == state.end()) {
      problems += fmt::format("; {} is missing", member.name);
      continue;
    }
    sources.push_back(&*it);
    const bool is_count = std::holds_alternative<Labels>(it->second);
    const Shape& have = is_count ? std::get<Labels>(it->second).shape() : std::get<Tensor<T>>(it->second).shape();
    const Shape& want = member.count != nullptr ? member.count->shape() : member.tensor->shape();
    if (is_count != (member.count != nullptr))
      problems +=
          fmt::format("; {} is {}", member.name, is_count ? "an integer, expected real" : "real, expected an integer");
    else if (have != want)
      problems += fmt::format("; {} is {}, expected {}", member.name, have, want);
    else if (is_count && std::get<Labels>(it->second)() < 0)
      problems += fmt::format("; {} is {}, expected a count", member.name, std::get<Labels>(it->second)());
    else if (member.rule == BufferRule::not_negative) {
      for (const T value : std::get<Tensor<T>>(it->second).value().storage())
        if (!(value >= 0)) {
          problems += fmt::format("; {} holds {}, expected values that are not negative", member.name, value);
          break;
        }
    }
  }
  std::set<std::string> known, seen;
  for (const Member<T>& member : members.list) known.insert(member.name);
  for (const auto& [name, value] : state) {
    if (!known.contains(name)) problems += fmt::format("; {} is unexpected", name);
    if (!seen.insert(name).second) problems += fmt::format("; {} is there twice", name);
  }
  if (!problems.empty()) fail("load_state_dict: {}", problems.substr(2));

  for (std::size_t i = 0; i < members.list.size(); ++i)
    if (members.list[i].count != nullptr)
      *members.list[i].count = std::get<Labels>(sources[i]->second);
    else
      members.list[i].tensor->mutable_value().storage() = std::get<Tensor<T>>(sources[i]->second).value().storage();
}

template <class T>
void Module<T>::train(bool on) {
  training_ = on;
  mode_changed(on);
  for_each_child(*this, [on](const std::string&, Module& m) { m.train(on); });
}

template <class T>
std::string summary(Module<T>& net, const Shape& row) {
  // A batch of three zero rows goes through, the fewest that batch statistics work on without a warning. What it leaves
  // in buffers and counts is undone, whatever happens; parameters are not touched.
  struct Undo {
    explicit Undo(Module<T>& net) : members(net) {
      for (const Member<T>& m : members.list) {
        tensors.push_back(m.tensor != nullptr && !m.trained ? m.tensor->value() : Array<T>());
        counts.push_back(m.count != nullptr ? *m.count : Labels());
      }
    }
    ~Undo() {
      shapes_of_this_thread<T>() = nullptr;
      for (std::size_t i = 0; i < members.list.size(); ++i) {
        const Member<T>& m = members.list[i];
        if (m.count != nullptr) *m.count = counts[i];
        if (m.tensor != nullptr && !m.trained) m.tensor->mutable_value().storage() = tensors[i].storage();
      }
    }
    Members<T> members;
    std::vector<Array<T>> tensors;
    std::vector<Labels> counts;
  };
  Shape input{3};
  for (const std::size_t extent : row) input.push_back(extent);
  Shapes<T> shapes;
  {
    const Undo undo(net);
    const NoGrad guard;
    shapes_of_this_thread<T>() = &shapes;
    net(Tensor<T>::zeros(input));
  }

  struct Line {
    std::string layer, shape, parameters;
  };
  std::vector<Line> lines{{"layer", "output", "parameters"}};
  const auto describe = [&](auto& self, const std::string& path, Module<T>& module, std::size_t depth) -> void {
    const auto it =
        std::find_if(shapes.begin(), shapes.end(), [&](const auto& entry) { return entry.first == &module; });
    std::string shape = it == shapes.end() ? "-" : to_string(it->second);
    if (shape.starts_with("(3,")) shape.replace(1, 1, "N");
    lines.push_back({std::string(2 * depth, ' ') + (path.empty() ? "" : path + " ") + module.name(), shape,
                     std::to_string(module.parameter_count())});
    for_each_child(module, [&](const std::string& name, Module<T>& child) { self(self, name, child, depth + 1); });
  };
  describe(describe, "", net, 0);

  std::size_t widths[3] = {};
  for (const Line& line : lines) {
    widths[0] = std::max(widths[0], line.layer.size());
    widths[1] = std::max(widths[1], line.shape.size());
    widths[2] = std::max(widths[2], line.parameters.size());
  }
  std::string text;
  for (const Line& line : lines)
    text += padded(line.layer, widths[0]) + "  " + padded(line.shape, widths[1]) + "  " +
            std::string(widths[2] - line.parameters.size(), ' ') + line.parameters + "\n";
  return text;
}

template class Module<float>;
template class Module<double>;
template std::string summary(Module<float>&, const Shape&);
template std::string summary(Module<double>&, const Shape&);

}  // namespace xtgrad
