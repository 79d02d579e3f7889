// A word with each optional library.
#include <cmath>
#include <cstdio>
#include <xtgrad/batchnorm/laws.hpp>
#include <xtgrad/checkpoint/checkpoint.hpp>
#include <xtgrad/datasets/csv.hpp>
#include <xtgrad/inspect/dot.hpp>
#include <xtgrad/xtgrad.hpp>

using namespace xtgrad;

int main() {
  Sequential net{Linear(2, 3), BatchNorm1d(3)}, other{Linear(2, 3), BatchNorm1d(3)};
  load_state(other.state(), Safetensors::parse(to_safetensors(net.state_dict()), "memory"));
  const bool loaded = other.parameters()[0].value() == net.parameters()[0].value();
  const bool read = parse_csv("1,2\n3,4\n", "text").rows == 2;
  const bool drawn = to_dot(net(Tensor<>{{1, 2}, {3, 5}, {4, 4}})).find("BatchNorm1d") != std::string::npos;
  if (loaded && read && drawn) std::puts("every library answers");
  return loaded && read && drawn ? 0 : 1;
}
