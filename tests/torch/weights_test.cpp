// Weights on their way between PyTorch and this library: those that weights.py wrote, from this folder, or from the one
// that XTGRAD_TORCH_WEIGHTS names, which gets ours in return.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <xtgrad/checkpoint/safetensors.hpp>
#include <xtgrad/xtgrad.hpp>

namespace xtgrad {
namespace {

Sequential<> network(std::uint64_t seed) {
  manual_seed(seed);
  return Sequential{Linear(6, 8), BatchNorm1d(8), Relu(), Linear(8, 3, {.bias = false}),
                    BatchNorm1d(3, {.affine = false})};
}

TEST(Weights, OfPyTorchGiveTheOutputsOfPyTorch) {
  const char* const given = std::getenv("XTGRAD_TORCH_WEIGHTS");
  const std::string folder = given != nullptr ? given : XTGRAD_TORCH_WEIGHTS;
  Sequential<> net = network(1);
  load_safetensors(folder + "/torch.safetensors", net);
  net.eval();
  Tensor<> x = Tensor<>::zeros({7, 6}), expected = Tensor<>::zeros({7, 3});
  load_state<float>({{"x", &x}, {"y", &expected}}, Safetensors::read(folder + "/torch_io.safetensors"));
  const NoGrad guard;
  const Tensor<> y = net(x);
  for (std::size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(y.data()[i], expected.data()[i], 1e-6);
  EXPECT_GT(std::abs(y.data()[0]), 1e-3F);
}

TEST(Weights, GoToPyTorch) {
  const char* const given = std::getenv("XTGRAD_TORCH_WEIGHTS");
  const std::string folder = given != nullptr ? given : testing::TempDir();  // weights.py then looks at them
  Sequential<> net = network(2);
  SGD sgd(net.parameters(), {.lr = 0.5});
  for (int i = 0; i < 5; ++i) {
    sgd.zero_grad();
    const Tensor<> y = net(3 * Tensor<>::randn({16, 6}) + 1);
    sum(y * y).backward();
    sgd.step();
  }
  net.eval();
  Tensor<> x = Tensor<>::randn({7, 6}), y = net(x).detach();
  save_safetensors(folder + "/xtgrad.safetensors", net);
  write_file(folder + "/xtgrad_io.safetensors", to_safetensors<float>({{"x", x}, {"y", y}}));

  Sequential<> again = network(3);
  load_safetensors(folder + "/xtgrad.safetensors", again);
  again.eval();
  EXPECT_TRUE(std::ranges::equal(again(x).value().storage(), y.value().storage()));
}

}  // namespace
}  // namespace xtgrad
