#include "xtgrad/batchnorm/laws.hpp"

#include <map>

#include "../../framework/support.hpp"
#include "xtgrad/batchnorm/layers.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

Batch<double> batch(std::size_t m, std::size_t D, std::size_t classes = 3) {
  Generator generator(m);
  Labels y = empty_array<std::int64_t>({m});
  for (std::size_t n = 0; n < m; ++n) y(n) = static_cast<std::int64_t>(n % classes);
  return {generator.normal<double>({m, D}, 1, 2), std::move(y)};
}

Sequential<double> network(double eps, bool bias = true) {
  Sequential<double> net{Linear<double>(4, 6, {.bias = bias}),
                         BatchNorm1d<double>(6, {.eps = eps}),
                         Tanh<double>(),
                         Linear<double>(6, 5, {.bias = bias}),
                         BatchNorm1d<double>(5, {.eps = eps}),
                         Relu<double>(),
                         Linear<double>(5, 3)};
  for (Tensor<double>& p : net.parameters())
    if (p.shape().size() == 1) init::normal(p, 1);
  return net;
}

std::map<std::string, std::vector<Law>> by_statement(const std::vector<Law>& laws) {
  std::map<std::string, std::vector<Law>> all;
  for (const Law& law : laws) all[law.statement].push_back(law);
  return all;
}

TEST(Laws, HoldWithTheirPredictedEpsTermsOnEveryLayer) {
  manual_seed(1);
  for (const double eps : {0.0, 1e-5, 0.1})
    for (const std::size_t m : {3U, 8U, 60U}) {
      Sequential<double> net = network(eps);
      const std::vector<Law> laws = batch_norm_laws(net, batch(m, 4));
      EXPECT_EQ(laws.size(), 2u * 9);
      for (const Law& law : laws) EXPECT_LE(law.residual, 1e-12) << law.layer << ": " << law.statement << ", m " << m;
    }
}

TEST(Laws, AreExactZerosAtEpsZeroAndVisibleTermsAtALargeEps) {
  manual_seed(2);
  Sequential<double> exact = network(0), blurred = network(0.5);
  const auto zeros = by_statement(batch_norm_laws(exact, batch(20, 4)));
  const auto terms = by_statement(batch_norm_laws(blurred, batch(20, 4)));
  for (const char* statement :
       {"sum(dx xhat) = gamma s S(dy xhat) d, to its size without d", "BN(2 x) = BN(x), to |BN(x) - beta|",
        "2 dx at 2 x = dx at x, to |dx|", "W . dW = gamma S(dy xhat) d per row, to |W| |dW|",
        "m = 2: |dx|^2 = 0 but for eps, to (gamma s |dy|)^2"}) {
    ASSERT_EQ(zeros.count(statement), 1u) << statement;
    for (const Law& law : zeros.at(statement)) EXPECT_LE(law.measured, 1e-12) << statement;
    for (const Law& law : terms.at(statement)) EXPECT_GT(law.measured, 1e-4) << statement;
  }
}

TEST(Laws, AboutABiasNeedOne) {
  Sequential<double> with = network(1e-5), without = network(1e-5, false);
  EXPECT_EQ(
      by_statement(batch_norm_laws(with, batch(9, 4))).count("the gradient of the bias before it = 0, to sum|dx|"), 1u);
  EXPECT_EQ(
      by_statement(batch_norm_laws(without, batch(9, 4))).count("the gradient of the bias before it = 0, to sum|dx|"),
      0u);
}

TEST(Laws, HoldInFloatToItsPrecision) {
  manual_seed(3);
  Sequential<double> net = network(1e-5);
  Sequential<float> single = convert<float>(net);
  const Batch<double> b = batch(30, 4);
  const Batch<float> narrow{Tensor<float>(xt::cast<float>(b.x.value())), b.y};
  for (const Law& law : batch_norm_laws(single, narrow)) EXPECT_LE(law.residual, 2e-5) << law.statement;
}

TEST(Laws, LeaveTheNetworkAsItWas) {
  Sequential<double> net = network(1e-5);
  net.eval();
  net.get<BatchNorm1d<double>>(1).freeze();
  const StateDict<double> before = net.state_dict();
  batch_norm_laws(net, batch(9, 4));
  const StateDict<double> after = net.state_dict();
  for (std::size_t i = 0; i < before.size(); ++i)
    if (const auto* t = std::get_if<Tensor<double>>(&before[i].second))
      EXPECT_EQ(test::values(*t), test::values(std::get<Tensor<double>>(after[i].second)));
    else
      EXPECT_EQ(std::get<std::int64_t>(before[i].second), std::get<std::int64_t>(after[i].second));
  for (const auto& [name, bn] : batch_norm_layers(net)) {
    EXPECT_EQ(bn->statistics(), Statistics::running);
    EXPECT_FALSE(bn->update());
  }
  for (const Tensor<double>& p : net.parameters()) EXPECT_FALSE(p.grad().defined());
}

TEST(Laws, NameTheirLayers) {
  Sequential<double> net = network(1e-5);
  EXPECT_EQ(batch_norm_laws(net, batch(9, 4)).front().layer, "1 BatchNorm1d(6)");
}

TEST(Laws, NeedThreeValues) {
  Sequential<double> net = network(1e-5);
  test::expect_parts(test::error([&] { batch_norm_laws(net, batch(2, 4)); }), {"batch_norm_laws", "2 values"});
}

}  // namespace
}  // namespace xtgrad
