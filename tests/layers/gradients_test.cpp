// Every layer as a module against finite differences: one row to a layer.
//
// What is checked are the gradients of the input and of every parameter. A visitor puts the parameters that are to be
// moved in place of the layer's own, so a new layer needs one row and nothing else. Each case is checked for every
// subset of them, at first and second order, on points drawn so that the derivatives are large enough to say something.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <set>
#include <span>

#include "xtgrad/inspect/gradcheck.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using Doubles = std::vector<Tensor<double>>;
using Net = std::shared_ptr<Module<double>>;

constexpr double kTolerance = 1e-6;
constexpr double kSmallest = 1e-2;  // a derivative that a point must have to be worth checking
constexpr int kDraws = 60;

struct Row {
  const char* name;
  std::function<Net()> make;
  std::vector<Shape> inputs;
};

/// Puts these tensors in place of the parameters of a network, in the order of visit().
class PutParameters final : public Visitor<double> {
 public:
  explicit PutParameters(std::span<const Tensor<double>> parameters) : rest_(parameters) {}
  void parameter(const std::string&, Tensor<double>& t) override {
    if (!t.defined()) return;
    t = rest_.front();
    rest_ = rest_.subspan(1);
  }
  void buffer(const std::string&, Tensor<double>&, StateRule) override {}
  void count(const std::string&, std::int64_t&) override {}
  void child(const std::string&, Module<double>& module) override { module.visit(*this); }

 private:
  std::span<const Tensor<double>> rest_;
};

/// The network as a function of its input and its parameters.
DifferentiableFunction function_of(const Net& net) {
  return [net](const Doubles& in) {
    manual_seed(5);  // the same mask in every call
    PutParameters put{std::span(in).subspan(1)};
    net->visit(put);
    return (*net)(in[0]);
  };
}

// --- The table

template <class L, class... Args> std::function<Net()> layer(Args... args) {
  return [=] { return std::make_shared<L>(args...); };
}

template <class L, class... Args> std::function<Net()> in_eval(Args... args) {
  return [=] {
    auto net = std::make_shared<L>(args...);
    net->eval();
    return net;
  };
}

std::function<Net()> batch_norm(BatchNorm1dOptions options, std::function<void(BatchNorm1d<double>&)> set = {}) {
  return [=] {
    auto bn = std::make_shared<BatchNorm1d<double>>(2, options);
    if (options.track_running_stats)
      bn->set_running_statistics(Tensor<double>{-0.3, 0.4}.value(), Tensor<double>{0.6, 1.7}.value());
    if (set) set(*bn);
    return bn;
  };
}

Net nested() {
  using D = double;
  return std::make_shared<Sequential<D>>(
      Linear<D>(3, 2, {.bias = false}), BatchNorm1d<D>(2, {.eps = 0.1}), Tanh<D>(),
      Sequential<D>{Flatten<D>(), Dropout<D>(0.2), Sequential<D>{Linear<D>(2, 3), Softplus<D>()}}, Identity<D>());
}

Net normalised_rows() {
  using D = double;
  return std::make_shared<Sequential<D>>(Linear<D>(2, 4), Gelu<D>(), Sequential<D>{LayerNorm<D>(4, {.eps = 0.1})},
                                         Softmax<D>());
}

const std::vector<Row>& table() {
  const std::vector<Shape> any{{}, {0}, {1}, {7}, {1, 1}, {3, 2}, {2, 3, 2}};
  const std::vector<Shape> channels{{3, 2}, {5, 2}, {0, 2}, {3, 2, 2}, {1, 2, 4}};
  const std::vector<Shape> one_or_more{{1, 2}, {3, 2}, {0, 2}, {1, 2, 1}, {2, 2, 3}};
  const BatchNorm1dOptions affine{.eps = 0.1}, plain{.eps = 0.1, .affine = false};
  const auto frozen = [](BatchNorm1d<double>& bn) { bn.freeze(); };
  const auto eval = [](BatchNorm1d<double>& bn) { bn.eval(); };
  static const std::vector<Row> rows{
      {"Linear", layer<Linear<double>>(3, 2), {{4, 3}, {1, 3}, {0, 3}}},
      {"Linear_without_bias", layer<Linear<double>>(3, 2, LinearOptions{.bias = false}), {{4, 3}, {1, 3}, {0, 3}}},
      {"Linear_of_one", layer<Linear<double>>(1, 1), {{1, 1}, {5, 1}}},
      {"BatchNorm1d", batch_norm(affine), channels},
      {"BatchNorm1d_plain", batch_norm(plain), channels},
      {"BatchNorm1d_in_eval", batch_norm(affine, eval), one_or_more},
      {"BatchNorm1d_plain_in_eval", batch_norm(plain, eval), one_or_more},
      {"BatchNorm1d_frozen", batch_norm(affine, frozen), one_or_more},
      {"BatchNorm1d_without_updates", batch_norm(affine, [](auto& bn) { bn.update(false); }), channels},
      {"BatchNorm1d_without_tracking", batch_norm({.eps = 0.1, .track_running_stats = false}, eval), channels},
      {"LayerNorm",
       layer<LayerNorm<double>>(3, LayerNormOptions{.eps = 0.1}),
       {{3}, {1, 3}, {4, 3}, {2, 2, 3}, {0, 3}}},
      {"LayerNorm_plain",
       layer<LayerNorm<double>>(5, LayerNormOptions{.eps = 1e-5, .affine = false}),
       {{5}, {1, 5}, {4, 5}, {2, 2, 5}, {0, 5}}},
      {"Dropout", layer<Dropout<double>>(0.3), {{0}, {7}, {3, 2}, {2, 3, 2}}},
      {"Dropout_in_eval", in_eval<Dropout<double>>(0.3), any},
      {"ReLU", layer<Relu<double>>(), any},
      {"LeakyReLU", layer<LeakyRelu<double>>(0.2), any},
      {"Tanh", layer<Tanh<double>>(), any},
      {"Sigmoid", layer<Sigmoid<double>>(), any},
      {"GELU", layer<Gelu<double>>(), any},
      {"Softplus", layer<Softplus<double>>(), any},
      {"Softmax", layer<Softmax<double>>(), {{3}, {1, 2}, {4, 3}, {2, 3, 2}, {0, 3}}},
      {"Flatten", layer<Flatten<double>>(), {{0}, {4}, {3, 1}, {2, 3, 2}, {1, 2, 1, 3}, {0, 3, 2}, {2, 0, 3}}},
      {"Identity", layer<Identity<double>>(), any},
      {"Sequential", nested, {{4, 3}, {3, 3}}},
      {"Sequential_in_eval",
       [] {
         const Net net = nested();
         net->eval();
         return net;
       },
       {{4, 3}, {1, 3}}},
      {"Sequential_of_rows", normalised_rows, {{3, 2}, {1, 2}}},
  };
  return rows;
}

// --- The checks

struct Sample {
  std::string name;
  std::vector<Shape> shapes;  // of the input and of the parameters
  unsigned subset;            // of those that require grad
  int order;
};

/// Calls visit(sample) for every sample of a row.
template <class Visit> void for_each_sample(const Row& row, Visit visit) {
  for (const Shape& input : row.inputs) {
    std::vector<Shape> shapes{input};
    for (const Tensor<double>& parameter : row.make()->parameters()) shapes.push_back(parameter.shape());
    for (unsigned subset = 1; subset < 1U << shapes.size(); ++subset)
      for (const int order : {1, 2}) {
        std::string name = row.name;
        for (std::size_t i = 0; i < shapes.size(); ++i)
          name += (i == 0 ? " " : ", ") + to_string(shapes[i]) + ((subset >> i & 1U) != 0 ? "*" : "");
        visit(Sample{name + (order == 2 ? ", second order" : ""), shapes, subset, order});
      }
  }
}

Doubles draw(const Sample& sample, std::uint64_t seed) {
  Generator generator(seed);
  Doubles inputs;
  for (std::size_t i = 0; i < sample.shapes.size(); ++i) {
    Tensor<double> x = generator.uniform<double>(sample.shapes[i], 0.2, 1.5);  // clear of the kinks at 0
    for (double& value : x.mutable_value().storage()) value *= generator.below(2) == 0 ? 1 : -1;
    inputs.push_back(x.requires_grad((sample.subset >> i & 1U) != 0));
  }
  return inputs;
}

/// Whether there is no derivative to look at: no output, or no element in the inputs that matter.
bool is_empty(const DifferentiableFunction& f, const Doubles& inputs) {
  std::size_t wanted = 0;
  for (const Tensor<double>& input : inputs) wanted += input.requires_grad() ? input.size() : 0;
  return wanted == 0 || f(inputs).size() == 0;
}

class LayerGradients : public testing::TestWithParam<const Row*> {};

TEST_P(LayerGradients, AgreeWithFiniteDifferences) {
  const KeepGenerator keep;
  const DifferentiableFunction f = function_of(GetParam()->make());
  std::uint64_t count = 0;
  for_each_sample(*GetParam(), [&](const Sample& sample) {
    if (HasFailure()) return;
    ++count;
    const auto check = sample.order == 1 ? gradcheck : gradgradcheck;
    for (int attempt = 0;; ++attempt) {
      const auto seed = static_cast<std::uint64_t>(attempt);
      const Doubles inputs = draw(sample, 1000 * count + seed);
      const bool empty = is_empty(f, inputs);
      const GradcheckReport report = check(sample.name, f, inputs, {.tolerance = kTolerance, .seed = seed});
      if (report.smallest < kSmallest && !empty && attempt < kDraws) continue;
      EXPECT_TRUE(report.passed) << report.message();
      EXPECT_TRUE(empty || report.smallest >= kSmallest) << sample.name << ": smallest " << report.smallest;
      return;
    }
  });
}

std::vector<const Row*> rows() {
  std::vector<const Row*> all;
  for (const Row& row : table()) all.push_back(&row);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Of, LayerGradients, testing::ValuesIn(rows()),
                         [](const auto& row) { return std::string(row.param->name); });

TEST(LayerGradientTable, CountsItsSamples) {
  std::set<std::string> samples[2];
  for (const Row& row : table())
    for_each_sample(row, [&](const Sample& sample) {
      EXPECT_TRUE(samples[sample.order - 1].insert(sample.name).second) << "twice: " << sample.name;
    });
  // tests/run adds up what the programs print.
  std::printf("report: gradcheck samples: %zu, gradgradcheck samples: %zu\n", samples[0].size(), samples[1].size());
}

}  // namespace
}  // namespace xtgrad
