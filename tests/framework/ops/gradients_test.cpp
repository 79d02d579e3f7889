// Every op against finite differences: one row to an op.
//
// A row holds an op's cases (input shapes and what else the op is told) and the domain of each input. Each
// case is checked for every subset of its differentiable inputs, at first and second order, on points drawn
// so that the derivatives are large enough to say something.
#include <functional>
#include <optional>
#include <set>

#include "../support.hpp"
#include "xtgrad/autograd.hpp"
#include "xtgrad/inspect/gradcheck.hpp"
#include "xtgrad/ops/batch_norm.hpp"
#include "xtgrad/ops/elementwise.hpp"
#include "xtgrad/ops/losses.hpp"
#include "xtgrad/ops/matmul.hpp"
#include "xtgrad/ops/normalise.hpp"
#include "xtgrad/ops/rearrange.hpp"
#include "xtgrad/ops/reduce.hpp"
#include "xtgrad/random.hpp"

namespace xtgrad {
namespace {

using Doubles = std::vector<Tensor<double>>;
using Floats = std::vector<Tensor<float>>;
using Shapes = std::vector<Shape>;
using Extents = std::vector<std::size_t>;

constexpr double kTolerance = 1e-6;
constexpr double kSmallest = 1e-2;  // a derivative that a point must have to be worth checking
constexpr int kDraws = 60;
// Instrumented builds look for other errors, and a part of the samples shows them.
constexpr std::size_t kStride = test::kSanitized ? 11 : 1;

/// An op in both precisions.
struct Function {
  std::function<Tensor<double>(const Doubles&)> in_double;
  std::function<Tensor<float>(const Floats&)> in_float;

  template <class F> Function(F f) : in_double(f), in_float(f) {}  // NOLINT: rows are written as lambdas
};

struct Case {
  Shapes inputs;
  Function f;
  std::string mode = "";
};

/// Where an input is drawn from: |x| in [low, high], with a random sign if it has one.
struct Domain {
  double low, high;
  bool sign = true;
  bool constant = false;
};
constexpr Domain kReal{0.1, 1.5};  // 0.1 keeps clear of the kinks at 0
constexpr Domain kPositive{0.5, 2, false};
constexpr Domain kDivisor{0.6, 2};
// Apart in magnitude, so that no two are nearly equal, with either the larger.
constexpr Domain kSmall{0.1, 0.6};
constexpr Domain kLarge{0.8, 1.5};
constexpr Domain kBase{1.2, 2, false};
constexpr Domain kCondition{0, 1, true, true};

struct Row {
  const char* op;
  std::vector<Case> cases;
  std::vector<Domain> domains;
};

// --- Shapes

/// Every shape of up to `rank` axes with these extents.
Shapes all_shapes(std::size_t rank, const Extents& extents) {
  Shapes shapes{{}};
  for (std::size_t i = 0; i < shapes.size(); ++i)
    if (shapes[i].size() < rank)
      for (const std::size_t extent : extents) {
        Shape longer = shapes[i];
        longer.push_back(extent);
        shapes.push_back(longer);
      }
  return shapes;
}

/// Every pair of {(), (1), (C), (1, C), (N, 1), (N, C)}, and of their counterparts with three axes.
std::vector<Shapes> broadcast_pairs() {
  std::vector<Shapes> families;
  for (const auto& [N, C] : std::vector<std::pair<std::size_t, std::size_t>>{{3, 2},
                                                                             {2, 3},
                                                                             {5, 4},
                                                                             {1, 1},
                                                                             {1, 3},
                                                                             {3, 1},
                                                                             {0, 3},
                                                                             {3, 0},
                                                                             {0, 0},
                                                                             {0, 1},
                                                                             {1, 0},
                                                                             {4, 5},
                                                                             {2, 6},
                                                                             {7, 2},
                                                                             {1, 4},
                                                                             {4, 1}})
    families.push_back({{}, {1}, {C}, {1, C}, {N, 1}, {N, C}});
  for (const auto& [N, C, L] : std::vector<std::array<std::size_t, 3>>{{2, 3, 2}, {3, 2, 4}, {2, 1, 3}})
    families.push_back({{L}, {C, 1}, {C, L}, {1, C, 1}, {N, 1, L}, {N, 1, 1}, {N, C, 1}, {N, C, L}});
  std::set<std::pair<std::string, std::string>> seen;
  std::vector<Shapes> pairs;
  for (const Shapes& family : families)
    for (const Shape& a : family)
      for (const Shape& b : family)
        if (seen.emplace(to_string(a), to_string(b)).second) pairs.push_back({a, b});
  return pairs;
}

// --- Cases

std::vector<Case> unary(const Function& f) {
  std::vector<Case> cases;
  for (const Shape& shape : all_shapes(3, {0, 1, 2, 4})) cases.push_back({{shape}, f});
  for (const Shape& shape : Shapes{{37}, {2, 1, 3, 1}}) cases.push_back({{shape}, f});
  return cases;
}

std::vector<Case> binary(const Function& f) {
  std::vector<Case> cases;
  for (const Shapes& pair : broadcast_pairs()) cases.push_back({pair, f});
  return cases;
}

std::vector<Case> ternary(const Function& f) {
  std::vector<Case> cases;
  std::set<std::string> seen;
  for (const auto& [N, C] : std::vector<std::pair<std::size_t, std::size_t>>{{3, 2}, {2, 4}, {1, 1}, {1, 3}, {0, 3}}) {
    const Shapes family{{}, {1}, {C}, {N, 1}, {N, C}};
    for (const Shape& a : family)
      for (const Shape& b : family)
        for (const Shape& c : family)
          if (seen.insert(to_string(a) + to_string(b) + to_string(c)).second) cases.push_back({{a, b, c}, f});
  }
  return cases;
}

template <class Reduce> std::vector<Case> reductions(Reduce reduce) {
  Shapes shapes = all_shapes(2, {0, 1, 4});
  for (const Shape& shape : Shapes{{2, 3, 2},
                                   {1, 3, 2},
                                   {3, 1, 2},
                                   {2, 3, 1},
                                   {1, 1, 1},
                                   {0, 2, 3},
                                   {2, 0, 3},
                                   {2, 3, 0},
                                   {2, 3, 2, 2},
                                   {3, 1, 2, 2},
                                   {1, 2, 1, 3},
                                   {2, 0, 1, 2}})
    shapes.push_back(shape);
  std::vector<Case> cases;
  for (const Shape& shape : shapes)
    for (unsigned chosen = 0; chosen < 1U << shape.size(); ++chosen)
      for (const bool keepdims : {false, true}) {
        Axes axes;
        std::string mode;
        for (std::size_t a = 0; a < shape.size(); ++a)
          if ((chosen >> a & 1U) != 0) {
            // Every other case names its axes from the end.
            axes.push_back(static_cast<std::ptrdiff_t>(a) -
                           (chosen % 3 == 0 ? static_cast<std::ptrdiff_t>(shape.size()) : 0));
            mode += std::to_string(a);
          }
        cases.push_back({{shape},
                         [=](const auto& in) { return reduce(in[0], axes, ReduceOptions{keepdims}); },
                         mode + (keepdims ? " keepdims" : "")});
      }
  return cases;
}

/// Pairs of a shape and one that it broadcasts to.
std::vector<std::pair<Shape, Shape>> expansions() {
  std::vector<std::pair<Shape, Shape>> pairs;
  Shapes to = all_shapes(2, {0, 1, 3});
  to.push_back({2, 3, 2});
  to.push_back({2, 1, 3});
  to.push_back({2, 0, 3});
  Shapes from = all_shapes(3, {0, 1, 2, 3});
  for (const Shape& a : from)
    for (const Shape& b : to)
      if (broadcasts_to(a, b)) pairs.emplace_back(a, b);
  return pairs;
}

std::vector<Case> expand_cases() {
  std::vector<Case> cases;
  for (const auto& [a, b] : expansions())
    cases.push_back({{a}, [b = b](const auto& in) { return expand(in[0], b); }, to_string(b)});
  return cases;
}

std::vector<Case> sum_to_cases() {
  std::vector<Case> cases;
  for (const auto& [a, b] : expansions())
    cases.push_back({{b}, [a = a](const auto& in) { return sum_to(in[0], a); }, to_string(a)});
  return cases;
}

std::vector<Case> reshape_cases() {
  std::vector<Case> cases;
  for (const Shape& from : all_shapes(3, {0, 1, 2, 3}))
    for (const Shape& to : Shapes{{}, {1}, {6}, {2, 3}, {3, 1, 2}, {0}, {3, 0}, {1, 1}, {12}, {2, 2}})
      if (size_of(from) == size_of(to))
        cases.push_back({{from}, [to](const auto& in) { return reshape(in[0], to); }, to_string(to)});
  return cases;
}

std::vector<Case> transpose_cases() {
  std::vector<Case> cases;
  for (const Shape& shape : all_shapes(4, {0, 1, 2, 3}))
    if (shape.size() >= 2 && size_of(shape) <= 24)
      cases.push_back({{shape}, [](const auto& in) { return transpose(in[0]); }});
  return cases;
}

std::vector<Case> matmul_cases() {
  std::vector<Case> cases;
  for (const std::size_t M : Extents{0, 1, 2, 3, 5})
    for (const std::size_t K : Extents{0, 1, 2, 3, 4})
      for (const std::size_t N : Extents{0, 1, 2, 3, 4})
        for (const bool ta : {false, true})
          for (const bool tb : {false, true})
            cases.push_back(
                {{ta ? Shape{K, M} : Shape{M, K}, tb ? Shape{N, K} : Shape{K, N}},
                 [=](const auto& in) { return matmul(in[0], in[1], {.transpose_a = ta, .transpose_b = tb}); },
                 std::string(ta ? "T" : "-") + (tb ? "T" : "-")});
  return cases;
}

std::vector<Case> linear_cases(bool bias) {
  std::vector<Case> cases;
  for (const std::size_t N : Extents{0, 1, 2, 3})
    for (const std::size_t I : Extents{0, 1, 2, 4})
      for (const std::size_t O : Extents{0, 1, 2, 3}) {
        Case c{{{N, I}, {O, I}}, [](const auto& in) {
                 return linear(in[0], in[1], in.size() == 3 ? in[2] : std::decay_t<decltype(in[0])>());
               }};
        if (bias) c.inputs.push_back({O});
        cases.push_back(c);
      }
  return cases;
}

/// x with gamma, with beta, with both and with neither.
struct Affine {
  bool gamma, beta;

  Shapes inputs(const Shape& x) const {
    Shapes shapes{x};
    if (gamma) shapes.push_back({x[1]});
    if (beta) shapes.push_back({x[1]});
    return shapes;
  }
  template <class T> Tensor<T> gamma_of(const std::vector<Tensor<T>>& in) const { return gamma ? in[1] : Tensor<T>(); }
  template <class T> Tensor<T> beta_of(const std::vector<Tensor<T>>& in) const {
    return beta ? in.back() : Tensor<T>();
  }
  std::string name() const { return std::string(gamma ? " gamma" : "") + (beta ? " beta" : ""); }
};
constexpr Affine kAffine[] = {{false, false}, {true, false}, {false, true}, {true, true}};

template <class BatchNorm> std::vector<Case> batch_norm_cases(BatchNorm batch_norm, bool small_only) {
  Shapes shapes{{2, 1},    {2, 2},    {2, 3},    {3, 1},    {3, 2},    {4, 3},    {7, 2},
                {0, 2},    {3, 0},    {1, 2, 2}, {2, 2, 1}, {3, 1, 1}, {1, 2, 3}, {2, 2, 2},
                {2, 3, 2}, {3, 2, 2}, {0, 2, 2}, {2, 2, 0}, {2, 0, 2}};
  if (!small_only)
    for (const Shape& shape : Shapes{{60, 1}, {33, 2}, {12, 2, 5}, {9, 9}}) shapes.push_back(shape);
  std::vector<Case> cases;
  for (const Shape& shape : shapes)
    for (const Affine affine : kAffine)
      for (const double eps : {1e-5, 0.1, 1.0}) {
        // With two values and a small eps, differences are off by more than the tolerance: there
        // ops/batch_norm_formula_test.cpp compares with the formula.
        const std::size_t m = shape[0] * (shape.size() == 3 ? shape[2] : 1);
        if (m == 2 && eps < 0.1) continue;
        cases.push_back(
            {affine.inputs(shape),
             [=](const auto& in) { return batch_norm(in[0], affine.gamma_of(in), affine.beta_of(in), eps); },
             "eps " + std::to_string(eps) + affine.name()});
      }
  return cases;
}

template <class T> Array<T> running(std::size_t C, double first, double step) {
  Array<T> statistic = empty_array<T>({C});
  for (std::size_t c = 0; c < C; ++c) statistic(c) = static_cast<T>(first + step * static_cast<double>(c));
  return statistic;
}

std::vector<Case> batch_norm_running_cases() {
  std::vector<Case> cases;
  for (const Shape& shape : Shapes{{1, 1},
                                   {1, 3},
                                   {2, 2},
                                   {3, 3},
                                   {17, 2},
                                   {0, 2},
                                   {2, 0},
                                   {1, 2, 1},
                                   {1, 2, 3},
                                   {2, 3, 2},
                                   {2, 2, 0},
                                   {3, 1, 4}})
    for (const Affine affine : kAffine)
      for (const double eps : {1e-5, 0.1, 1.0})
        cases.push_back({affine.inputs(shape),
                         [=](const auto& in) {
                           using T = typename std::decay_t<decltype(in[0])>::value_type;
                           return batch_norm(in[0], affine.gamma_of(in), affine.beta_of(in), eps,
                                             running<T>(shape[1], -0.3, 0.4), running<T>(shape[1], 0.5, 0.7));
                         },
                         "eps " + std::to_string(eps) + affine.name()});
  return cases;
}

template <class Loss> std::vector<Case> label_cases(Loss loss) {
  std::vector<Case> cases;
  for (const std::size_t N : Extents{0, 1, 2, 3, 5})
    for (const std::size_t C : Extents{2, 3, 4, 7}) {  // with one class the loss is constant
      Labels labels = empty_array<std::int64_t>({N});
      for (std::size_t n = 0; n < N; ++n) labels(n) = static_cast<std::int64_t>((2 * n + 1) % C);
      cases.push_back({{{N, C}}, [=](const auto& in) { return loss(in[0], labels); }});
    }
  return cases;
}

std::vector<Case> mse_cases() {
  std::vector<Case> cases;
  for (const Shape& shape : all_shapes(3, {0, 1, 3}))
    cases.push_back({{shape, shape}, [](const auto& in) { return mse(in[0], in[1]); }});
  return cases;
}

/// A constant that keeps the elements of x (|x| < 2) far from each other, in an order of no meaning.
template <class T> Tensor<T> spread(const Tensor<T>& x) {
  Array<T> z = empty_array<T>(x.shape());
  for (std::size_t i = 0; i < x.size(); ++i) z.data()[i] = static_cast<T>(5 * ((7 * i + 3) % 101));
  return z;
}

std::vector<Case> max_cases() {
  return reductions([](const auto& x, const Axes& axes, ReduceOptions o) {
    return x.size() == 0 ? sum(x, axes, o) : max(x + spread(x), axes, o);
  });
}

std::vector<Case> slice_cases() {
  std::vector<Case> cases;
  for (const Shape& shape : all_shapes(3, {0, 1, 4}))
    for (std::size_t axis = 0; axis < shape.size(); ++axis)
      for (std::size_t begin = 0; begin <= shape[axis]; ++begin)
        for (std::size_t end = begin; end <= shape[axis]; end += 2)
          cases.push_back({{shape},
                           [=](const auto& in) { return slice(in[0], static_cast<std::ptrdiff_t>(axis), begin, end); },
                           std::to_string(axis) + ": " + std::to_string(begin) + " to " + std::to_string(end)});
  return cases;
}

std::vector<Case> concat_cases() {
  std::vector<Case> cases;
  for (const Shape& shape : all_shapes(3, {0, 1, 3}))
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      Shape longer = shape;
      longer[axis] += 2;
      cases.push_back({{shape, longer, shape},
                       [=](const auto& in) {
                         return concat({in[0], in[1], in[2]}, static_cast<std::ptrdiff_t>(axis));
                       },
                       std::to_string(axis)});
    }
  return cases;
}

template <class F> std::vector<Case> index_cases(F f) {
  std::vector<Case> cases;
  for (const Shape& rest : all_shapes(2, {0, 1, 3}))
    for (const Labels& indices : {Labels{2, 0, 1, 0}, Labels{1}, Labels{0, 0, 0}, Labels{2, 1, 0}}) {
      Shape shape{f.extent(indices)};
      for (const std::size_t extent : rest) shape.push_back(extent);
      std::string mode;
      for (const auto index : indices) mode += std::to_string(index);
      cases.push_back({{shape}, [=](const auto& in) { return f(in[0], indices); }, mode});
    }
  return cases;
}
struct Gather {
  static std::size_t extent(const Labels&) { return 3; }
  template <class T> Tensor<T> operator()(const Tensor<T>& x, const Labels& indices) const {
    return gather(x, indices);
  }
};
struct ScatterAdd {
  static std::size_t extent(const Labels& indices) { return indices.size(); }
  template <class T> Tensor<T> operator()(const Tensor<T>& x, const Labels& indices) const {
    return scatter_add(x, indices, 3);
  }
};

std::vector<Case> rowwise(const Function& f) {
  std::vector<Case> cases;
  for (const Shape& shape : Shapes{{2}, {5}, {1, 3}, {3, 4}, {2, 3, 4}, {2, 1, 2}, {0, 3}, {2, 0}})
    cases.push_back({{shape}, f});
  return cases;
}

std::vector<Case> layer_norm_cases() {
  std::vector<Case> cases;
  for (const double eps : {1e-5, 0.1})
    for (const Shape& shape : Shapes{{3}, {8}, {1, 3}, {4, 3}, {3, 9}, {2, 3, 4}, {0, 3}})
      cases.push_back({{shape, {shape.back()}, {shape.back()}},
                       [=](const auto& in) { return layer_norm(in[0], in[1], in[2], eps); },
                       std::to_string(eps)});
  return cases;
}

template <class Loss> std::vector<Case> reduced_loss_cases(const Shapes& shapes, Loss loss) {
  std::vector<Case> cases;
  for (const Shape& shape : shapes)
    for (const Reduction r : {Reduction::mean, Reduction::sum, Reduction::none})
      cases.push_back(
          {{shape, shape}, [=](const auto& in) { return loss(in[0], in[1], r); }, std::to_string(static_cast<int>(r))});
  return cases;
}

// An op as a user would write it: log(1 + e^x).
struct Softplus {
  static constexpr const char* name = "softplus";
  static constexpr unsigned saves[] = {formulas::kX};
  template <class V> static V value(const V& x) {
    using std::exp, std::log;
    return log(V(1) + exp(x));
  }
  template <class V> static V vjp(const V& dz, const V&, const V& x) {
    using std::exp;
    return dz / (V(1) + exp(-x));
  }
};

// --- The table

#define XTGRAD_OF(expression) [](const auto& in) { return expression; }

const std::vector<Row>& table() {
  static const std::vector<Row> rows{
      {"neg", unary(XTGRAD_OF(neg(in[0]))), {kReal}},
      {"exp", unary(XTGRAD_OF(exp(in[0]))), {kReal}},
      {"log", unary(XTGRAD_OF(log(in[0]))), {kPositive}},
      {"sqrt", unary(XTGRAD_OF(sqrt(in[0]))), {kPositive}},
      {"relu", unary(XTGRAD_OF(relu(in[0]))), {kReal}},
      {"tanh", unary(XTGRAD_OF(tanh(in[0]))), {kReal}},
      {"sigmoid", unary(XTGRAD_OF(sigmoid(in[0]))), {kReal}},
      {"users_softplus", unary(XTGRAD_OF(elementwise<Softplus>(in[0]))), {kReal}},
      {"abs", unary(XTGRAD_OF(abs(in[0]))), {kReal}},
      {"erf", unary(XTGRAD_OF(erf(in[0]))), {kReal}},
      {"gelu", unary(XTGRAD_OF(gelu(in[0]))), {kReal}},
      {"softplus", unary(XTGRAD_OF(softplus(in[0]))), {kReal}},
      {"leaky_relu", unary(XTGRAD_OF(leaky_relu(in[0], 0.2))), {kReal}},
      {"clamp_inside", unary(XTGRAD_OF(clamp(in[0], -2, 2))), {kReal}},
      {"clamp_one_side", unary(XTGRAD_OF(clamp(3 * in[0] - 2 * abs(in[0]), -5, 0.05))), {kReal}},
      {"pow", binary(XTGRAD_OF(pow(in[0], in[1]))), {kBase, kReal}},
      {"maximum", binary(XTGRAD_OF(maximum(in[0], in[1]))), {kSmall, kLarge}},
      {"minimum", binary(XTGRAD_OF(minimum(in[0], in[1]))), {kLarge, kSmall}},
      {"add", binary(XTGRAD_OF(in[0] + in[1])), {kReal, kReal}},
      {"sub", binary(XTGRAD_OF(in[0] - in[1])), {kReal, kReal}},
      {"mul", binary(XTGRAD_OF(in[0] * in[1])), {kReal, kReal}},
      {"div", binary(XTGRAD_OF(in[0] / in[1])), {kReal, kDivisor}},
      {"where", ternary(XTGRAD_OF(where(in[0] > 0, in[1], in[2]))), {kCondition, kReal, kReal}},
      {"sum", reductions([](const auto& x, const Axes& axes, ReduceOptions o) { return sum(x, axes, o); }), {kReal}},
      {"mean", reductions([](const auto& x, const Axes& axes, ReduceOptions o) { return mean(x, axes, o); }), {kReal}},
      {"var",
       reductions(
           [](const auto& x, const Axes& axes, ReduceOptions o) { return var(x, axes, true, o) + sum(x, axes, o); }),
       {kReal}},
      {"max_of_some", max_cases(), {kReal}},
      {"sum_of_all", unary(XTGRAD_OF(sum(in[0]))), {kReal}},
      {"mean_of_all", unary(XTGRAD_OF(mean(in[0]))), {kReal}},
      {"expand", expand_cases(), {kReal}},
      {"sum_to", sum_to_cases(), {kReal}},
      {"reshape", reshape_cases(), {kReal}},
      {"transpose", transpose_cases(), {kReal}},
      {"slice", slice_cases(), {kReal}},
      {"concat", concat_cases(), {kReal, kReal, kReal}},
      {"gather", index_cases(Gather()), {kReal}},
      {"scatter_add", index_cases(ScatterAdd()), {kReal}},
      {"softmax", rowwise(XTGRAD_OF(softmax(in[0]))), {kReal}},
      {"log_softmax", rowwise(XTGRAD_OF(log_softmax(in[0]))), {kReal}},
      {"layer_norm", layer_norm_cases(), {kReal, kPositive, kReal}},
      {"dropout",
       unary([](const auto& in) {
         Generator generator(5);
         return dropout(in[0], 0.3, generator);
       }),
       {kReal}},
      {"matmul", matmul_cases(), {kReal, kReal}},
      {"linear", linear_cases(true), {kReal, kReal, kReal}},
      {"linear_without_bias", linear_cases(false), {kReal, kReal}},
      {"batch_norm",
       batch_norm_cases([](const auto& x, const auto& gamma, const auto& beta,
                           double eps) { return batch_norm(x, gamma, beta, eps).y; },
                        false),
       {kReal, kPositive, kReal}},
      {"batch_norm_reference",
       batch_norm_cases([](const auto& x, const auto& gamma, const auto& beta,
                           double eps) { return reference::batch_norm(x, gamma, beta, eps); },
                        true),
       {kReal, kPositive, kReal}},
      {"batch_norm_running", batch_norm_running_cases(), {kReal, kPositive, kReal}},
      {"cross_entropy",
       label_cases([](const auto& x, const Labels& labels) { return cross_entropy(x, labels); }),
       {kReal}},
      {"cross_entropy_reference",
       label_cases([](const auto& x, const Labels& labels) { return reference::cross_entropy(x, labels); }),
       {kReal}},
      {"cross_entropy_of_targets",
       reduced_loss_cases({{1, 3}, {4, 2}, {3, 5}},
                          [](const auto& x, const auto& t, Reduction r) {
                            return cross_entropy(x, t, {.reduction = r, .label_smoothing = 0.2});
                          }),
       {kReal, kPositive}},
      {"mse", mse_cases(), {kReal, kReal}},
      {"mse_reduced",
       reduced_loss_cases({{}, {3}, {2, 3}}, [](const auto& y, const auto& t, Reduction r) { return mse(y, t, r); }),
       {kReal, kReal}},
      {"bce_with_logits",
       reduced_loss_cases({{}, {3}, {2, 3}},
                          [](const auto& x, const auto& t, Reduction r) { return bce_with_logits(x, t, r); }),
       {kReal, kReal}},
  };
  return rows;
}

// --- The checks

Doubles draw(const Row& row, const Case& c, unsigned subset, std::uint64_t seed) {
  Generator generator(seed);
  Doubles inputs;
  for (std::size_t i = 0; i < c.inputs.size(); ++i) {
    const Domain& domain = row.domains[i];
    Tensor<double> x = generator.uniform<double>(c.inputs[i], domain.low, domain.high);
    if (domain.sign)
      for (double& value : x.mutable_value().storage()) value *= generator.below(2) == 0 ? 1 : -1;
    x.requires_grad((subset >> i & 1U) != 0);
    inputs.push_back(x);
  }
  return inputs;
}

/// Calls visit(case, subset, order) for every sample of a row.
template <class Visit> void for_each_sample(const Row& row, Visit visit) {
  for (const Case& c : row.cases)
    for (unsigned subset = 1; subset < 1U << c.inputs.size(); ++subset) {
      bool differentiable = true;
      for (std::size_t i = 0; i < c.inputs.size(); ++i)
        differentiable = differentiable && !((subset >> i & 1U) != 0 && row.domains[i].constant);
      if (!differentiable) continue;
      visit(c, subset, 1);
      visit(c, subset, 2);
    }
}

std::string name_of(const Row& row, const Case& c, unsigned subset, int order) {
  std::string name = row.op;
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    name += (i == 0 ? " " : ", ") + to_string(c.inputs[i]) + ((subset >> i & 1U) != 0 ? "*" : "");
  return name + " " + c.mode + (order == 2 ? ", second order" : "");
}

/// Whether there is no derivative to look at: no output, or no element in the inputs that matter.
bool is_empty(const Case& c, const Doubles& inputs) {
  std::size_t wanted = 0;
  for (const Tensor<double>& input : inputs) wanted += input.requires_grad() ? input.size() : 0;
  return wanted == 0 || c.f.in_double(inputs).size() == 0;
}

class Gradients : public testing::TestWithParam<const Row*> {};

TEST_P(Gradients, AgreeWithFiniteDifferences) {
  const Row& row = *GetParam();
  std::size_t count = 0;
  for_each_sample(row, [&](const Case& c, unsigned subset, int order) {
    if (count++ % kStride != 0 || HasFailure()) return;
    const std::string name = name_of(row, c, subset, order);
    const auto check = order == 1 ? gradcheck : gradgradcheck;
    for (int attempt = 0;; ++attempt) {
      const Doubles inputs = draw(row, c, subset, 1000 * count + static_cast<std::uint64_t>(attempt));
      const GradcheckReport report =
          check(name, c.f.in_double, inputs, {.tolerance = kTolerance, .seed = static_cast<std::uint64_t>(attempt)});
      const bool empty = is_empty(c, inputs);
      if (report.smallest < kSmallest && !empty && attempt < kDraws) continue;
      EXPECT_TRUE(report.passed) << report.message();
      EXPECT_TRUE(empty || report.smallest >= kSmallest) << name << ": smallest " << report.smallest;
      return;
    }
  });
}

TEST_P(Gradients, AgreeInBothPrecisions) {
  constexpr double kFloatError = 2e-5;  // of the largest derivative of an input
  const Row& row = *GetParam();
  for (const Case& c : row.cases) {
    Doubles in_double = draw(row, c, 0, 7);
    Floats in_float;
    Doubles wanted_double;
    Floats wanted_float;
    for (std::size_t i = 0; i < in_double.size(); ++i) {
      in_float.emplace_back(in_double[i].value());
      in_double[i] = Tensor<double>(in_float[i].value());  // the same point
      if (row.domains[i].constant) continue;
      wanted_double.push_back(in_double[i].requires_grad(true));
      wanted_float.push_back(in_float[i].requires_grad(true));
    }
    const Tensor<double> y = c.f.in_double(in_double);
    const Tensor<float> yf = c.f.in_float(in_float);
    if (!y.requires_grad()) continue;
    const Tensor<double> seed = Generator(3).normal<double>(y.shape());
    const Doubles exact = grad(y, wanted_double, {.seed = seed});
    const Floats rounded = grad(yf, wanted_float, {.seed = Tensor<float>(seed.value())});
    for (std::size_t i = 0; i < exact.size(); ++i) {
      double largest = 0;
      for (const double d : exact[i].value().storage()) largest = std::max(largest, std::abs(d));
      for (std::size_t k = 0; k < exact[i].size(); ++k)
        ASSERT_NEAR(static_cast<double>(rounded[i].data()[k]), exact[i].data()[k], kFloatError * largest)
            << name_of(row, c, 0, 1) << ", input " << i << ", element " << k;
    }
  }
}

/// The gradient with the values of input `changed` edited between the passes, those of the result if it is the number of
/// inputs; empty if the backward pass refuses.
std::vector<std::vector<double>> gradients_after_an_edit(const Row& row, const Case& c,
                                                         std::optional<std::size_t> changed, bool create_graph) {
  Doubles inputs = draw(row, c, 0, 7), wanted;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    if (!row.domains[i].constant) wanted.push_back(inputs[i].requires_grad(true));
  Tensor<double> y = c.f.in_double(inputs);
  if (!y.requires_grad()) return {};
  const Tensor<double> seed = Generator(3).normal<double>(y.shape());
  if (changed) {
    Tensor<double>& edited = *changed < inputs.size() ? inputs[*changed] : y;
    for (double& value : edited.mutable_value().storage()) value = 0.75 - value;
  }
  std::vector<std::vector<double>> gradients;
  const std::string error = test::error([&] {
    for (const Tensor<double>& g : grad(y, wanted, {.seed = seed, .create_graph = create_graph}))
      gradients.push_back(test::values(g));
  });
  if (error != "no error") test::expect_parts(error, {"changed"});
  return gradients;
}

TEST_P(Gradients, OfValuesThatChangedAreRefusedOrTheSame) {
  const Row& row = *GetParam();
  for (const Case& c : row.cases) {
    if (HasFailure()) return;
    for (const bool create_graph : {false, true}) {
      const auto expected = gradients_after_an_edit(row, c, std::nullopt, create_graph);
      for (std::size_t changed = 0; changed <= c.inputs.size(); ++changed) {
        const auto gradients = gradients_after_an_edit(row, c, changed, create_graph);
        EXPECT_TRUE(gradients.empty() || gradients == expected)
            << name_of(row, c, 0, 1) << ", edited " << changed << (create_graph ? ", with create_graph" : "");
      }
    }
  }
}

std::vector<const Row*> rows() {
  std::vector<const Row*> all;
  for (const Row& row : table()) all.push_back(&row);
  return all;
}

INSTANTIATE_TEST_SUITE_P(Of, Gradients, testing::ValuesIn(rows()),
                         [](const auto& row) { return std::string(row.param->op); });

TEST(GradientTable, CountsItsSamples) {
  std::set<std::string> samples[2];
  for (const Row& row : table())
    for_each_sample(row, [&](const Case& c, unsigned subset, int order) {
      EXPECT_TRUE(samples[order - 1].insert(name_of(row, c, subset, order)).second)
          << "twice: " << name_of(row, c, subset, order);
    });
  std::printf("report: gradcheck samples: %zu, gradgradcheck samples: %zu\n", samples[0].size(), samples[1].size());
  // PyTorch 1.13 checks 11910 and 11392.
  EXPECT_GT(samples[0].size(), 11910U);
  EXPECT_GT(samples[1].size(), 11392U);
}

}  // namespace
}  // namespace xtgrad
