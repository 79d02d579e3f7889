#include "xtgrad/layers/dropout.hpp"

#include "oracle.hpp"
#include "xtgrad/layers/flatten.hpp"

namespace xtgrad {
namespace {

using oracle::close;
using oracle::reals;
using oracle::tensor;
using oracle::trained;

TEST(Dropout, ZeroesOrScalesAndPassesTheGradientAlike) {
  manual_seed(0);
  Dropout<double> layer(0.25);
  const Tensor<double> x = trained(Tensor<double>::full({10000}, 3));
  const Tensor<double> y = layer(x);
  y.backward(Tensor<double>::ones({10000}));
  std::size_t dropped = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (y.data()[i] == 0) {
      ++dropped;
      ASSERT_EQ(x.grad().data()[i], 0);
    } else {
      ASSERT_DOUBLE_EQ(y.data()[i], 4);
      ASSERT_DOUBLE_EQ(x.grad().data()[i], 4 / 3.0);
    }
  }
  EXPECT_NEAR(static_cast<double>(dropped), 2500, 5 * std::sqrt(10000 * 0.25 * 0.75));  // five standard deviations
}

TEST(Dropout, DrawsAnewInEachForwardPass) {
  Dropout layer;
  const Tensor<> x = Tensor<>::ones({100});
  EXPECT_NE(reals(layer(x)), reals(layer(x)));
}

TEST(Dropout, IsTheIdentityInEvalModeAndDrawsNothing) {
  Dropout layer(0.9);
  layer.eval();
  manual_seed(7);
  const Tensor<> x = Tensor<>::ones({100});
  EXPECT_EQ(layer(x).data(), x.data());
  EXPECT_EQ(default_generator().uniform(), Generator(7).uniform());
}

TEST(Dropout, KeepsAllOrNothingAtItsEnds) {
  const Tensor<> x{1, 2, 3};
  EXPECT_TRUE(close(Dropout(0)(x), {1, 2, 3}, 0));
  EXPECT_TRUE(close(Dropout(1)(x), {0, 0, 0}, 0));
}

TEST(Dropout, ThrowsForWhatIsNoProbability) {
  for (const double p : {-0.1, 1.1, std::numeric_limits<double>::quiet_NaN()})
    EXPECT_THROW(Dropout<> layer(p), std::invalid_argument);
}

TEST(Flatten, KeepsTheRows) {
  Flatten layer;
  EXPECT_EQ(layer(Tensor<>::ones({2, 3, 4})).shape(), (Shape{2, 12}));
  EXPECT_EQ(layer(Tensor<>::ones({5})).shape(), (Shape{5, 1}));
  EXPECT_EQ(layer(Tensor<>::ones({0, 3, 4})).shape(), (Shape{0, 12}));
  EXPECT_THROW(layer(Tensor<>(1)), std::invalid_argument);
}

}  // namespace
}  // namespace xtgrad
