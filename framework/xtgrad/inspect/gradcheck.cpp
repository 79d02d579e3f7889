#include "xtgrad/inspect/gradcheck.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "xtgrad/autograd.hpp"
#include "xtgrad/check.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using Tensors = std::vector<Tensor<double>>;
using Outputs = std::function<Tensors(const Tensors&)>;

double dot(const Tensor<double>& a, const Tensor<double>& b) {
  return std::inner_product(a.data(), a.data() + a.size(), b.data(), 0.0);
}

double largest(const Tensor<double>& t) {
  double result = 0;
  for (const double value : t.value().storage()) result = std::max(result, std::abs(value));
  return result;
}

// Leaves of their own, so that a check can move their elements without the caller noticing.
Tensors leaves_of(const Tensors& inputs) {
  Tensors leaves;
  for (const Tensor<double>& input : inputs) {
    leaves.emplace_back(Array<double>(input.value()));
    leaves.back().requires_grad(input.requires_grad());
  }
  return leaves;
}

class Checker {
 public:
  Checker(const std::string& op, Outputs f, const Tensors& inputs, const GradcheckOptions& options)
      : f_(std::move(f)), inputs_(leaves_of(inputs)), options_(options), generator_(options.seed) {
    report_.op = op;
    report_.smallest = std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < inputs_.size(); ++i)
      if (inputs_[i].requires_grad()) wanted_.push_back(i);
    check(!wanted_.empty(), "gradcheck: {}: no input requires grad", op);
  }

  GradcheckReport run() {
    const Tensors outputs = f_(inputs_);
    const Tensors again = f_(inputs_);
    for (std::size_t o = 0; o < outputs.size(); ++o)
      check(std::equal(outputs[o].data(), outputs[o].data() + outputs[o].size(), again[o].data(),
                       [](double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }),
            "gradcheck: {}: the function gives another result when it is called again", report_.op);
    for (std::size_t o = 0; o < outputs.size(); ++o) check_output(o, outputs[o].shape());
    if (std::isinf(report_.smallest)) report_.smallest = 0;
    return report_;
  }

 private:
  // Compares the gradients of <v, output o> for random or given v, then all rows of a small Jacobian.
  void check_output(std::size_t o, const Shape& shape) {
    const std::size_t size = size_of(shape);
    if (size == 0) return;
    const Tensor<double> random = generator_.normal<double>(shape);
    const bool given = options_.cotangent.defined();
    std::vector<Tensors> cotangents{{given ? options_.cotangent : random}};
    std::size_t entries = 0;
    for (const std::size_t i : wanted_) entries += size * inputs_[i].size();
    if (!given && entries <= options_.jacobian) {
      Tensors rows;
      for (std::size_t k = 0; k < size; ++k) {
        rows.push_back(Tensor<double>::zeros(shape));
        rows.back().mutable_value().storage()[k] = 1;
      }
      cotangents.push_back(std::move(rows));
    }
    const Tensors references = analytic(o, random);
    for (const Tensors& group : cotangents) {
      std::vector<Tensors> gradients;
      for (const Tensor<double>& v : group) gradients.push_back(analytic(o, v));
      for (std::size_t w = 0; w < wanted_.size(); ++w) compare(o, w, group, gradients, largest(references[w]), random);
    }
  }

  Tensors analytic(std::size_t o, const Tensor<double>& v) {
    Tensors xs;
    for (const std::size_t i : wanted_) xs.push_back(inputs_[i]);
    const Tensor<double> y = f_(inputs_)[o];
    if (y.requires_grad()) return grad(y, xs, {.seed = v});
    for (Tensor<double>& x : xs) x = Tensor<double>::zeros(x.shape());
    return xs;
  }

  // Compares input wanted_[w] for all cotangents of a group, with one scale for the group.
  void compare(std::size_t o, std::size_t w, const Tensors& group, const std::vector<Tensors>& gradients,
               double reference, const Tensor<double>& random) {
    const std::size_t i = wanted_[w];
    double scale = 0, worst = -1, worst_analytic = 0, worst_numeric = 0, rounding = 0;
    std::size_t index = 0;
    for (std::size_t k = 0; k < inputs_[i].size(); ++k) {
      const std::vector<double> numeric = differences(o, i, k, group, rounding);
      for (std::size_t v = 0; v < group.size(); ++v) {
        const double exact = gradients[v][w].data()[k];
        const double error = std::abs(exact - numeric[v]);
        scale = std::max(scale, std::abs(numeric[v]));
        if (!(error <= worst)) {  // also where it is NaN
          worst = error;
          index = k;
          worst_analytic = exact;
          worst_numeric = numeric[v];
        }
      }
    }
    if (worst < 0) return;  // an empty input
    if (options_.cotangent.defined()) {
      const double lengths = std::sqrt(dot(group[0], group[0]) / dot(random, random));
      if (scale < 1e-3 * reference * lengths)
        report_.warnings.push_back(
            fmt::format("{}: the gradient of input {} is {:.3g} with this cotangent, {:.3g} with a random "
                        "one of the same length: it "
                        "lies near the null space and the check says little; use a random cotangent",
                        report_.op, i, scale, reference * lengths));
      // What is nearly zero is judged by what it could have been, or rounding would decide.
      scale = std::max(scale, 1e-3 * reference * lengths);
    }
    // Where the derivative is exactly zero, all that is left of the differences is rounding.
    if (worst_analytic == 0 && worst <= rounding) return;
    report_.smallest = std::min(report_.smallest, scale);
    const double relative = worst == 0 ? 0 : worst / scale;
    if (!(relative <= options_.tolerance)) report_.passed = false;
    if (!(relative <= report_.worst)) {
      report_.worst = relative;
      report_.input = i;
      report_.index = index;
      report_.analytic = worst_analytic;
      report_.numeric = worst_numeric;
    }
  }

  // d<v, output o>/dx_k for each v: (f(x-2h) - 8 f(x-h) + 8 f(x+h) - f(x+2h)) / 12h. `rounding` is raised to
  // what the rounding of f alone can make of it.
  std::vector<double> differences(std::size_t o, std::size_t i, std::size_t k, const Tensors& group, double& rounding) {
    double& x = inputs_[i].mutable_value().storage()[k];
    const double middle = x, h = options_.step * std::max(1.0, std::abs(middle));
    std::vector<double> result(group.size(), 0);
    for (const auto& [steps, weight] : {std::pair{-2, 1.0}, {-1, -8.0}, {1, 8.0}, {2, -1.0}}) {
      x = middle + steps * h;
      const Tensor<double> y = f_(inputs_)[o];
      for (std::size_t v = 0; v < group.size(); ++v) result[v] += weight * dot(group[v], y) / (12 * h);
      const double size = std::sqrt(dot(y, y) * dot(group[0], group[0]));
      rounding = std::max(rounding, 16 * std::numeric_limits<double>::epsilon() * size / h);
    }
    x = middle;
    return result;
  }

  Outputs f_;
  Tensors inputs_;
  GradcheckOptions options_;
  Generator generator_;
  std::vector<std::size_t> wanted_;
  GradcheckReport report_;
};

}  // namespace

std::string GradcheckReport::message() const {
  std::string text =
      fmt::format("{}: {}: worst relative error {:.3g}, at element {} of input {}: analytic {:.12g}, numeric {:.12g}",
                  op, passed ? "passed" : "FAILED", worst, index, input, analytic, numeric);
  for (const std::string& warning : warnings) text += "\n" + warning;
  return text;
}

GradcheckReport gradcheck(const std::string& op, const DifferentiableFunction& f, const Tensors& inputs,
                          const GradcheckOptions& options) {
  const GradMode recording(true);
  return Checker(
             op, [&f](const Tensors& in) { return Tensors{f(in)}; }, inputs, options)
      .run();
}

GradcheckReport gradgradcheck(const std::string& op, const DifferentiableFunction& f, const Tensors& inputs,
                              const GradcheckOptions& options) {
  const GradMode recording(true);
  Tensors with_cotangent = inputs;
  with_cotangent.push_back(options.cotangent.defined() ? Array<double>(options.cotangent.value())
                                                       : Generator(options.seed + 1).normal<double>(f(inputs).shape()));
  with_cotangent.back().requires_grad(true);
  const auto gradients = [&f](const Tensors& in) {
    const Tensors xs(in.begin(), in.end() - 1);
    Tensors wanted;
    for (const Tensor<double>& x : xs)
      if (x.requires_grad()) wanted.push_back(x);
    return grad(f(xs), wanted, {.seed = in.back(), .create_graph = true});
  };
  GradcheckOptions second = options;
  second.cotangent = {};
  return Checker(op + " (second order)", gradients, with_cotangent, second).run();
}

}  // namespace xtgrad
