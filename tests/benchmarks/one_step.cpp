// The smallest program that trains: what it costs to compile, to start and to hold is what xtgrad costs. It prints the
// largest memory it had, in MiB.
#include <fstream>
#include <iostream>
#include <string>
#include <xtgrad/xtgrad.hpp>

using namespace xtgrad;

int main() {
  Sequential net{Linear(2, 16, {.bias = false}), BatchNorm1d(16), Relu(), Linear(16, 2)};
  Adam adam(net.parameters(), {.lr = 1e-2});
  cross_entropy(net(Tensor<>::randn({32, 2})), full_array<std::int64_t>({32}, 0)).backward();
  adam.step();

  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;)
    if (long kib = 0; word == "VmHWM:" && status >> kib) std::cout << static_cast<double>(kib) / 1024 << '\n';
}
