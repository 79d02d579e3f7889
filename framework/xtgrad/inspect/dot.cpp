#include "xtgrad/inspect/dot.hpp"

#include <algorithm>
#include <map>

#include "xtgrad/check.hpp"

namespace xtgrad {

template <class T> std::string to_dot(const Tensor<T>& y) {
  std::vector<const Node<T>*> nodes{&y.node()};
  std::map<const Node<T>*, std::size_t> ids{{nodes[0], 0}};
  for (std::size_t i = 0; i < nodes.size(); ++i)
    for (const Edge<T>& edge : nodes[i]->edges())
      if (edge.input.defined() && ids.emplace(&edge.input.node(), nodes.size()).second)
        nodes.push_back(&edge.input.node());

  std::string text = "digraph {\n  rankdir = BT\n";
  for (const Node<T>* node : nodes) {
    std::string label = node->op();
    for (const char c : node->label == nullptr ? "" : "\n" + *node->label)
      label += c == '\n' ? "\\n" : (c == '"' || c == '\\' ? "\\" : "") + std::string(1, c);
    text += fmt::format("  n{} [label = \"{}\\n{}\"{}{}]\n", ids[node], label, node->value.shape(),
                        node->is_leaf() ? ", shape = box" : "",
                        node->is_leaf() && node->requires_grad ? ", style = filled" : "");
    for (const Edge<T>& edge : node->edges())
      if (edge.input.defined()) text += fmt::format("  n{} -> n{}\n", ids[&edge.input.node()], ids[node]);
  }
  return text + "}\n";
}

template std::string to_dot(const Tensor<float>&);
template std::string to_dot(const Tensor<double>&);

}  // namespace xtgrad
