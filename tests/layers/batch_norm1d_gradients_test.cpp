// Gradients of BatchNorm1d: where they go, and gradient checks of first and second order in every mode.
#include <memory>

#include "batch_norm1d.hpp"
#include "xtgrad/inspect/gradcheck.hpp"

namespace xtgrad {
namespace {

using oracle::Case;
using oracle::close;
using oracle::tensor;
using oracle::trained;
using oracle::words;

TEST(BatchNorm1d, GradientsGoOnlyWhereTheyAreWanted) {
  BatchNorm1d<double> bn(2);
  bn.gamma().requires_grad(false);
  const Tensor<double> x = Generator(1).normal<double>({4, 2});
  bn(x).backward(Generator(2).normal<double>({4, 2}));
  EXPECT_FALSE(x.grad().defined());
  EXPECT_FALSE(bn.gamma().grad().defined());
  EXPECT_TRUE(bn.beta().grad().defined());
}

TEST(BatchNorm1d, GradientsOfParametersAddUpOverBatches) {
  BatchNorm1d<double> bn(1);
  const Tensor<double> x = tensor<double>({2, 1}, {1, -1}), dy = tensor<double>({2, 1}, {3, 5});
  bn(x).backward(dy);
  bn(x).backward(dy);
  EXPECT_EQ(bn.beta().grad().value()(0), 16);
}

class BatchNorm1dGradcheck : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const auto& [shape, affine, eps, statistics] = GetParam();
    const std::size_t C = shape[1];
    Generator g(11);
    bn_ = std::make_unique<BatchNorm1d<double>>(C, BatchNorm1dOptions{.eps = eps, .affine = affine});
    bn_->set_running_statistics(g.normal<double>({C}).value(), g.uniform<double>({C}, 0.5, 2).value());
    bn_->statistics(statistics);
    inputs_ = {trained(g.normal<double>(shape, 1, 1))};
    if (affine) {
      inputs_.push_back(trained(g.uniform<double>({C}, 0.5, 2)));
      inputs_.push_back(trained(g.normal<double>({C})));
    }
  }
  DifferentiableFunction layer() {
    return [this](const std::vector<Tensor<double>>& in) {
      if (in.size() == 3) {
        bn_->gamma() = in[1];
        bn_->beta() = in[2];
      }
      return (*bn_)(in[0]);
    };
  }
  void expect_passed(const GradcheckReport& report) {
    EXPECT_TRUE(report.passed) << report.message();
    EXPECT_GE(report.smallest, 1e-2) << report.message();
    EXPECT_TRUE(report.warnings.empty()) << report.message();
  }

  std::unique_ptr<BatchNorm1d<double>> bn_;
  std::vector<Tensor<double>> inputs_;
};

TEST_P(BatchNorm1dGradcheck, FirstOrder) {
  bn_->update(GetParam().statistics == Statistics::batch);  // running ones would change from call to call
  expect_passed(gradcheck("BatchNorm1d", layer(), inputs_));
}

TEST_P(BatchNorm1dGradcheck, SecondOrder) {
  bn_->update(GetParam().statistics == Statistics::batch);
  expect_passed(gradgradcheck("BatchNorm1d", layer(), inputs_));
}

TEST_P(BatchNorm1dGradcheck, TheGraphOfTheGradientHasTheGradientsValue) {
  bn_->update(false);
  const Tensor<double> dy = Generator(3).normal<double>(GetParam().shape);
  const auto plain = grad(layer()(inputs_), inputs_, {.seed = dy});
  const auto graph = grad(layer()(inputs_), inputs_, {.seed = dy, .create_graph = true});
  for (std::size_t i = 0; i < plain.size(); ++i)
    EXPECT_TRUE(close(graph[i], {plain[i].data(), plain[i].data() + plain[i].size()}, 1e-12)) << "input " << i;
}

std::vector<Case> gradcheck_cases() {
  std::vector<Case> list;
  for (const auto& [shape, eps] : {std::pair{Shape{5, 2}, 1e-5},
                                   {Shape{60, 2}, 1e-5},
                                   {Shape{3, 1}, 1e-5},
                                   {Shape{2, 3}, 0.1},
                                   {Shape{2, 3, 2}, 1e-5},
                                   {Shape{1, 2, 4}, 1.0}})
    for (const bool affine : {true, false})
      for (const Statistics statistics : {Statistics::batch, Statistics::running})
        list.push_back({shape, affine, eps, statistics});
  return list;
}

std::string gradcheck_name(const Case& c) {
  return words(c.shape) + (c.affine ? "_affine" : "_plain") +
         (c.statistics == Statistics::batch ? "_batch" : "_running");
}

INSTANTIATE_TEST_SUITE_P(, BatchNorm1dGradcheck, ::testing::ValuesIn(gradcheck_cases()),
                         [](const auto& one) { return gradcheck_name(one.param); });

TEST(BatchNorm1d, ASumAsCotangentIsReportedAsVacuous) {
  BatchNorm1d<double> bn(2);
  const auto report =
      gradcheck("BatchNorm1d", [&bn](const auto& in) { return bn(in[0]); },
                {trained(Generator(1).normal<double>({5, 2}))}, {.cotangent = Tensor<double>::ones({5, 2})});
  EXPECT_FALSE(report.warnings.empty());
}

}  // namespace
}  // namespace xtgrad
