#include "xtgrad/layers/module.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <set>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"

namespace xtgrad {
namespace {

// Lists everything below a module: all members with their full names, all modules with theirs.
template <class T> class Members final : public Visitor<T> {
 public:
  explicit Members(Module<T>& root) {
    modules.emplace_back("", &root);
    root.visit(*this);
  }

  void parameter(const std::string& name, Tensor<T>& t) override {
    if (!t.defined()) return;
    parameters.emplace_back(prefix_ + name, &t);
    buffer(name, t, StateRule::any);
  }
  void buffer(const std::string& name, Tensor<T>& t, StateRule rule) override {
    if (t.defined()) state.push_back({prefix_ + name, &t, rule});
  }
  void count(const std::string& name, std::int64_t& value) override { state.push_back({prefix_ + name, &value}); }
  void child(const std::string& name, Module<T>& module) override {
    modules.emplace_back(prefix_ + name, &module);
    const std::string before = std::exchange(prefix_, prefix_ + name + ".");
    module.visit(*this);
    prefix_ = before;
  }

  std::vector<StateEntry<T>> state;
  std::vector<std::pair<std::string, Tensor<T>*>> parameters;
  std::vector<std::pair<std::string, Module<T>*>> modules;

 private:
  std::string prefix_;
};

}  // namespace

template <class T> Tensor<T> Module<T>::operator()(const Tensor<T>& x) {
  if (label_ == nullptr) label_all();
  const Scope scope(label_);
  Tensor<T> y = forward(x);
  hooks_.for_each([&](const ForwardHook<T>& hook) { hook(*this, x, y); });
  return y;
}

template <class T> void Module<T>::label_all() {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  if (label_ != nullptr) return;  // another thread did it
  const Members<T> members(*this);
  for (const auto& [name, parameter] : members.parameters) parameter->label(name);
  for (auto it = members.modules.rbegin(); it != members.modules.rend(); ++it)  // this one last: who sees it sees all
    it->second->label_ = intern(it->first.empty() ? it->second->name() : it->first + " " + it->second->name());
}

template <class T> std::unique_ptr<Module<float>> Module<T>::rebuild(float) const {
  fail("clone: {} does not say how; derive its class from Layer and write rebuilt()", name());
}
template <class T> std::unique_ptr<Module<double>> Module<T>::rebuild(double) const {
  fail("convert: {} does not say how; derive its class from Layer and write rebuilt()", name());
}

template <class T> std::vector<std::pair<std::string, Tensor<T>>> Module<T>::named_parameters() {
  std::vector<std::pair<std::string, Tensor<T>>> result;
  std::set<const void*> seen;
  for (const auto& [name, parameter] : Members<T>(*this).parameters)
    if (seen.insert(&parameter->node()).second) result.emplace_back(name, *parameter);
  return result;
}

template <class T> std::vector<Tensor<T>> Module<T>::parameters() {
  std::vector<Tensor<T>> result;
  for (auto& [name, tensor] : named_parameters()) result.push_back(std::move(tensor));
  return result;
}

template <class T> std::vector<std::pair<std::string, Module<T>*>> Module<T>::named_modules() {
  return Members<T>(*this).modules;
}

template <class T> std::size_t Module<T>::parameter_count() {
  std::size_t count = 0;
  for (const Tensor<T>& p : parameters()) count += p.size();
  return count;
}

template <class T> std::vector<StateEntry<T>> Module<T>::state() { return Members<T>(*this).state; }

template <class T> void Module<T>::train(bool on) {
  for (const auto& [name, module] : Members<T>(*this).modules) {
    module->training_ = on;
    module->mode_changed(on);
  }
}

template <class T, class U> void detail::copy_members(Module<T>& from, Module<U>& to) {
  const Members<T> source(from);
  const Members<U> target(to);
  check(source.state.size() == target.state.size() && source.modules.size() == target.modules.size(),
        "clone: rebuilt() of {} gave other members", from.name());
  for (std::size_t i = 0; i < source.modules.size(); ++i)
    if (Module<U>& copy = *target.modules[i].second; copy.training_ != source.modules[i].second->training_)
      copy.mode_changed(copy.training_ = !copy.training_);
  std::map<const Node<T>*, Tensor<U>> copies;
  std::set<const Node<U>*> filled;
  for (std::size_t i = 0; i < source.state.size(); ++i)
    if (auto* const* count = std::get_if<std::int64_t*>(&source.state[i].place)) {
      *std::get<std::int64_t*>(target.state[i].place) = **count;
    } else {
      const Tensor<T>& values = *std::get<Tensor<T>*>(source.state[i].place);
      Tensor<U>& copy = *std::get<Tensor<U>*>(target.state[i].place);
      const auto [first, is_new] = copies.emplace(&values.node(), copy);
      if (!is_new) {  // tied to one before
        copy = first->second;
        continue;
      }
      check(copy.shape() == values.shape() && filled.insert(&copy.node()).second,
            "clone: rebuilt() of {} gave {} another shape than {}, or tied it to another", from.name(),
            source.state[i].name, values.shape());
      std::transform(values.data(), values.data() + values.size(), copy.mutable_value().data(),
                     [](T value) { return static_cast<U>(value); });
      copy.requires_grad(values.requires_grad());
    }
}

template <class T> std::unique_ptr<Module<T>> clone(Module<T>& module) {
  std::unique_ptr<Module<T>> copy = module.rebuild(T());
  detail::copy_members(module, *copy);
  return copy;
}

template <class T> std::string summary(Module<T>& net, const Shape& row) {
  // A batch of three zero rows goes through, the fewest that batch statistics work on without a warning. Hooks note the
  // shapes. What it leaves in buffers, counts and the generator is undone, whatever happens; parameters are not
  // touched.
  Shape input{3};
  for (const std::size_t extent : row) input.push_back(extent);
  const Members<T> members(net);
  std::vector<std::string> shapes(members.modules.size(), "-");
  {
    struct Undo {
      const auto& values(std::size_t i) const { return std::get<Tensor<T>>(state[i].second).value().storage(); }
      ~Undo() {
        for (std::size_t i = 0; i < state.size(); ++i)
          if (auto* const* count = std::get_if<std::int64_t*>(&members.state[i].place))
            **count = std::get<std::int64_t>(state[i].second);
          else if (Tensor<T>& now = *std::get<Tensor<T>*>(members.state[i].place); now.value().storage() != values(i))
            now.mutable_value().storage() = values(i);
      }
      const Members<T>& members;
      StateDict<T> state = copy_state(members.state);
    } const undo{members};
    ScopedHooks<T> hooks;
    const KeepGenerator keep;
    const NoGrad guard;
    for (std::size_t i = 0; i < members.modules.size(); ++i)
      hooks.add(*members.modules[i].second, [&, i](Module<T>&, const Tensor<T>&, Tensor<T>& y) {
        shapes[i] = to_string(y.shape());
        if (shapes[i].starts_with("(3,")) shapes[i].replace(1, 1, "N");
      });
    net(Tensor<T>::zeros(input));
  }

  std::vector<std::array<std::string, 3>> lines{{"layer", "output", "parameters"}};
  for (std::size_t i = 0; i < members.modules.size(); ++i) {
    const auto& [path, module] = members.modules[i];
    const auto depth = path.empty() ? 0 : 1 + std::count(path.begin(), path.end(), '.');
    const std::string last = path.empty() ? "" : path.substr(path.rfind('.') + 1) + " ";
    lines.push_back({std::string(2 * static_cast<std::size_t>(depth), ' ') + last + module->name(), shapes[i],
                     std::to_string(module->parameter_count())});
  }
  std::size_t widths[3] = {};
  for (const auto& line : lines)
    for (std::size_t i = 0; i < 3; ++i) widths[i] = std::max(widths[i], line[i].size());
  std::string text;
  for (const auto& [layer, output, count] : lines)
    text += fmt::format("{:<{}}  {:<{}}  {:>{}}\n", layer, widths[0], output, widths[1], count, widths[2]);
  return text;
}

#define XTGRAD_INSTANTIATE(T)                                      \
  template class Module<T>;                                        \
  template void detail::copy_members(Module<T>&, Module<float>&);  \
  template void detail::copy_members(Module<T>&, Module<double>&); \
  template std::unique_ptr<Module<T>> clone(Module<T>&);           \
  template std::string summary(Module<T>&, const Shape&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
