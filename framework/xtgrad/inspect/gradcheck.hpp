// Gradients against finite differences, in double.
//
// The function's outputs are contracted with a random cotangent v, and the gradient of that scalar with each
// input that requires grad is compared with central differences (the five-point formula, whose error is of
// fourth order in the step). For small cases the whole Jacobian is compared as well. An input passes when max
// |analytic - numeric| <= tolerance * max |numeric|.
//
// A cotangent that the derivative maps to almost nothing makes a check vacuous: sum(y) of a batch-normalised
// y has gradient 0 whatever the backward does right or wrong. The report warns where a random cotangent of
// the same length gives a gradient a thousand times larger.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// A differentiable function of tensors.
using DifferentiableFunction = std::function<Tensor<double>(const std::vector<Tensor<double>>&)>;

/// Options of gradcheck and gradgradcheck.
struct GradcheckOptions {
  double tolerance = 1e-6;        ///< relative to the largest numeric derivative of the input
  double step = 1e-3;             ///< of the differences, times max(1, |x|)
  std::uint64_t seed = 0;         ///< of the random cotangents
  std::size_t jacobian = 256;     ///< compare the whole Jacobian up to this many entries
  Tensor<double> cotangent = {};  ///< instead of a random one, and instead of the Jacobian
};

/// What a check found.
struct GradcheckReport {
  bool passed = true;
  std::string op;         ///< the name that was given
  double worst = 0;       ///< largest of max |analytic - numeric| / max |numeric| over the inputs
  double smallest = 0;    ///< smallest of max |numeric| over the inputs: what the check had to hold on to
  std::size_t input = 0;  ///< the input with the worst error, the element of it, and the two derivatives there
  std::size_t index = 0;
  double analytic = 0;
  double numeric = 0;
  std::vector<std::string> warnings;

  explicit operator bool() const noexcept { return passed; }
  /// One sentence with all of it.
  std::string message() const;
};

/// Checks the gradient of f at `inputs` with respect to those inputs that require grad.
/// Throws if none does, or if f changes its result from call to call.
GradcheckReport gradcheck(const std::string& op, const DifferentiableFunction& f,
                          const std::vector<Tensor<double>>& inputs, const GradcheckOptions& options = {});

/// Checks the gradient of the gradient: of (inputs, v) -> d<v, f(inputs)>/dinputs, also with respect to v.
GradcheckReport gradgradcheck(const std::string& op, const DifferentiableFunction& f,
                              const std::vector<Tensor<double>>& inputs, const GradcheckOptions& options = {});

}  // namespace xtgrad
