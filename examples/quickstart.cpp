// quickstart: the program of the README: a BatchNorm MLP on points of the plane
#include <iostream>
#include <xtgrad/xtgrad.hpp>

using namespace xtgrad;

int main() {
  manual_seed(0);

  // 1000 points of a square; the class says whether both coordinates have the same sign.
  Dataset<> data{default_generator().uniform<float>({1000, 2}, -1, 1), Labels::from_shape({1000})};
  for (std::size_t n = 0; n < data.size(); ++n) data.y(n) = data.x.value()(n, 0) * data.x.value()(n, 1) > 0 ? 1 : 0;
  auto [train, test] = split(data, 0.2, 0);
  DataLoader loader(train, {.batch_size = 32, .shuffle = true, .min_batch = 2});

  Sequential net{Linear(2, 16, {.bias = false}), BatchNorm1d(16), Relu(), Linear(16, 2)};
  Adam adam(net.parameters(), {.lr = 1e-2});
  for (int epoch = 0; epoch < 10; ++epoch)
    for (auto [x, y] : loader) {
      adam.zero_grad();
      auto loss = cross_entropy(net(x), y);
      loss.backward();
      adam.step();
    }

  net.eval();
  std::cout << summary(net, {2}) << "test accuracy: " << accuracy(net(test.x), test.y) << '\n';
}
