// The closed form of the second order against the definition differentiated twice.
#include <functional>

#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using test::values;
using test::variable;
using Double = Tensor<double>;

/// All second derivatives of <dy, y>: of the projected first ones, with respect to every input and dy.
std::vector<Double> second_derivatives(const std::function<Double(const std::vector<Double>&)>& f,
                                       std::vector<Double> in, const Double& dy) {
  Generator generator(7);
  const std::vector<Double> inputs = in;
  const auto first = grad(f(inputs), inputs, {.seed = dy, .create_graph = true});
  Double projected = 0;
  for (const Double& g : first) projected = projected + sum(g * generator.normal<double>(g.shape()));
  in.push_back(dy);
  return grad(projected, in, {.create_graph = true});
}

TEST(BatchNormSecondOrder, IsThatOfTheDefinitionInEveryMode) {
  for (const Shape& shape : {Shape{2, 3}, Shape{3, 9}, Shape{60, 5}, Shape{3, 4, 2}, Shape{1, 2, 7}, Shape{40, 9, 5}})
    for (const bool running : {false, true})
      for (const bool affine : {false, true})
        for (const double mean : {0.0, 1e3}) {
          Generator generator(shape.size() + shape[0]);
          const double eps = shape[0] == 2 ? 0.1 : 1e-5;
          const Shape channels{shape[1]};
          const Array<double> rm = full_array<double>(channels, mean);
          const Array<double> rv = generator.uniform<double>(channels, 0.5, 2).value();
          std::vector<Double> in{variable(generator.normal<double>(shape, mean, 1.5))};
          if (affine) {
            in.push_back(variable(generator.normal<double>(channels)));
            in.push_back(variable(generator.normal<double>(channels)));
          }
          const Double dy = variable(generator.normal<double>(shape));
          const auto second = [&](bool plain) {
            return second_derivatives(
                [&](const std::vector<Double>& i) {
                  const Double gamma = affine ? i[1] : Double(), beta = affine ? i[2] : Double();
                  if (running)
                    return plain ? reference::batch_norm(i[0], gamma, beta, eps, rm, rv)
                                 : batch_norm(i[0], gamma, beta, eps, rm, rv);
                  return plain ? reference::batch_norm(i[0], gamma, beta, eps) : batch_norm(i[0], gamma, beta, eps).y;
                },
                in, dy);
          };
          const auto closed = second(false), expected = second(true);
          ASSERT_EQ(closed.size(), expected.size());
          for (std::size_t i = 0; i < closed.size(); ++i) {
            double largest = 1;
            for (const double v : values(expected[i])) largest = std::max(largest, std::abs(v));
            for (std::size_t k = 0; k < closed[i].size(); ++k)
              ASSERT_NEAR(closed[i].data()[k], expected[i].data()[k], 1e-12 * largest)
                  << to_string(shape) << (running ? ", running" : ", batch") << (affine ? ", affine" : "") << ", input "
                  << i;
          }
        }
}

TEST(BatchNormSecondOrder, CanBeDifferentiatedAgain) {
  Generator generator(4);
  const Double x = variable(generator.normal<double>({5, 3})), gamma = variable(generator.normal<double>({3}));
  const Double dy = variable(generator.normal<double>({5, 3}));
  const auto third = [&](bool plain) {
    const auto second = second_derivatives(
        [&](const std::vector<Double>& in) {
          return plain ? reference::batch_norm(in[0], in[1], Double(), 0.1) : batch_norm(in[0], in[1], Double(), 0.1).y;
        },
        {x, gamma}, dy);
    Generator draws(9);
    Double projected = 0;
    for (const Double& g : second) projected = projected + sum(g * draws.normal<double>(g.shape()));
    return grad(projected, {x, gamma, dy});
  };
  const auto closed = third(false), expected = third(true);
  for (std::size_t i = 0; i < closed.size(); ++i)
    for (std::size_t k = 0; k < closed[i].size(); ++k)
      EXPECT_NEAR(closed[i].data()[k], expected[i].data()[k], 1e-11) << "input " << i;
}

TEST(BatchNormSecondOrder, OfNothingIsNothing) {
  const Double x = variable(Double::zeros({0, 3})), gamma = variable(Double::ones({3}));
  const auto second =
      second_derivatives([](const std::vector<Double>& in) { return batch_norm(in[0], in[1], Double(), 1e-5).y; },
                         {x, gamma}, variable(Double::zeros({0, 3})));
  EXPECT_EQ(values(second[1]), (std::vector<double>{0, 0, 0}));
}

}  // namespace
}  // namespace xtgrad
