// BatchNorm1d beside PyTorch: the cases that cases.py made, from goldens.txt.gz, or from the file that XTGRAD_TORCH_CASES
// names (tests/run torch makes 2000 new ones). The goldens are those of `cases.py 40 0`, by PyTorch 1.13.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <sstream>
#include <xtgrad/datasets/file.hpp>
#include <xtgrad/xtgrad.hpp>

namespace xtgrad {
namespace {

class Words {
 public:
  explicit Words(const std::string& text) : in_(text) {}
  bool next(std::string& word) { return static_cast<bool>(in_ >> word); }
  std::string word() {
    std::string w;
    in_ >> w;
    return w;
  }
  double number() { return std::strtod(word().c_str(), nullptr); }
  std::size_t count() { return static_cast<std::size_t>(number()); }
  template <class T> Tensor<T> tensor(const Shape& shape) {
    Array<T> values = empty_array<T>(shape);
    for (T& v : values.storage()) v = static_cast<T>(number());
    return Tensor<T>(std::move(values));
  }

 private:
  std::istringstream in_;
};

/// The largest difference of each kind of value from PyTorch's, relative to the largest value of its tensor (for dx to
/// that of its first term, gamma s dy, of which little is left where m is 2 or 3, and for dgamma and dbeta to the sum of
/// |dy|, for the running mean to the share that the batch's values have in it, where these cancel) and to 1 + |mu| / sigma of the batch.
struct Differences {
  std::map<std::string, double> worst;
  std::size_t cases = 0;

  template <class T>
  void add(const std::string& what, const Tensor<T>& got, const Tensor<T>& want, double condition, double term = 1e-9) {
    ASSERT_EQ(got.shape(), want.shape()) << what;
    double largest = term, difference = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double a = static_cast<double>(got.data()[i]), b = static_cast<double>(want.data()[i]);
      largest = std::max(largest, std::abs(b));
      difference = std::max(difference, std::abs(a - b));
      ASSERT_FALSE(std::isnan(a)) << what;
    }
    double& w = worst[what + (sizeof(T) == 4 ? ", float" : ", double")];
    w = std::max(w, difference / largest / condition);
    const double limit = sizeof(T) == 4 ? 1e-5 : 1e-10;
    EXPECT_LE(difference / largest / condition, limit)
        << what << " of case " << cases << ", shape " << to_string(got.shape());
  }
};

template <class T> double condition_of(const Tensor<T>& x) {
  const Moments moments = channel_moments(x);
  double worst = 0;
  for (std::size_t c = 0; c < moments.mean.size(); ++c)
    worst = std::max(worst, std::abs(moments.mean(c)) / std::sqrt(moments.m2(c) / static_cast<double>(moments.count)));
  return 1 + worst;
}

// The largest |gamma s dy| with the batch's statistics.
template <class T> double first_term(BatchNorm1d<T>& bn, const Tensor<T>& x, const Tensor<T>& dy) {
  const Moments moments = channel_moments(x);
  double scale = 0, largest = 0;
  for (std::size_t c = 0; c < moments.m2.size(); ++c) {
    const double gamma = bn.gamma().defined() ? std::abs(static_cast<double>(bn.gamma().data()[c])) : 1;
    scale = std::max(scale, gamma / std::sqrt(moments.m2(c) / static_cast<double>(moments.count) + bn.options().eps));
  }
  for (const T d : dy.value().storage()) largest = std::max(largest, std::abs(static_cast<double>(d)));
  return scale * largest;
}

template <class T> double sum_of_magnitudes(const Tensor<T>& dy) {
  double sum = 0;
  for (const T d : dy.value().storage()) sum += std::abs(static_cast<double>(d));
  return sum / static_cast<double>(dy.shape()[1]);
}

template <class T> void run_case(Words& in, Differences& differences) {
  const std::size_t N = in.count(), C = in.count(), L = in.count();
  const double eps = in.number(), momentum = in.number();
  const bool affine = in.count() == 1, track = in.count() == 1;
  const std::size_t steps = in.count();
  BatchNorm1d<T> bn(C, {.eps = eps,
                        .momentum = momentum < 0 ? std::nullopt : std::optional(momentum),
                        .affine = affine,
                        .track_running_stats = track});
  if (affine) {
    bn.gamma().mutable_value() = in.tensor<T>({C}).value();
    bn.beta().mutable_value() = in.tensor<T>({C}).value();
  }
  for (const auto& [name, value] : bn.state_dict()) EXPECT_EQ(name, in.word());
  EXPECT_EQ(in.word(), "end");
  const Shape shape = L == 0 ? Shape{N, C} : Shape{N, C, L}, channels{C};
  double worst_condition = 1;
  for (std::size_t step = 0; step < steps; ++step) {
    const std::string mode = in.word();
    bn.train(mode == "train");
    const Tensor<T> x = in.tensor<T>(shape).requires_grad(true), dy = in.tensor<T>(shape).requires_grad(true);
    const double condition = condition_of(x);
    worst_condition = std::max(worst_condition, condition);
    const Tensor<T> y = bn(x);
    const bool second_order = sizeof(T) == 8;
    std::vector<Tensor<T>> inputs{x};
    if (affine) inputs.insert(inputs.end(), {bn.gamma(), bn.beta()});
    const auto first = grad(y, inputs, {.seed = dy, .create_graph = second_order});
    const auto compare = [&](const std::string& what, const Tensor<T>& got, double scale, double term = 1e-9) {
      differences.add(mode + ": " + what, got, in.tensor<T>(got.shape()), scale, term);
    };
    compare("y", y, condition);
    compare("dx", first[0], condition, bn.statistics() == Statistics::batch ? first_term(bn, x, dy) : 1e-9);
    if (affine) {
      compare("dgamma", first[1], condition, sum_of_magnitudes(dy));
      compare("dbeta", first[2], condition, sum_of_magnitudes(dy));
    }
    if (track) {
      const double a = momentum < 0 ? 1.0 / std::max(1.0, static_cast<double>(bn.num_batches_tracked())) : momentum;
      compare("running_mean", bn.running_mean(), worst_condition,
              std::max(1e-9, a * sum_of_magnitudes(x) / static_cast<double>(x.size() / C)));
      compare("running_var", bn.running_var(), worst_condition);
      EXPECT_EQ(static_cast<std::size_t>(bn.num_batches_tracked()), in.count());
    }
    if (!second_order) continue;
    Tensor<T> projected = T(0);
    for (const Tensor<T>& g : first) projected = projected + sum(g * in.tensor<T>(g.shape()));
    std::vector<Tensor<T>> wanted{x};
    if (affine) wanted.push_back(bn.gamma());
    wanted.push_back(dy);
    const auto second = grad(projected, wanted);
    compare("second order, x", second[0], condition * condition);
    if (affine) compare("second order, gamma", second[1], condition);
    compare("second order, dy", second.back(), condition);
  }
}

TEST(Torch, BatchNorm1dAgreesInEveryModeToSecondOrder) {
  const char* const made = std::getenv("XTGRAD_TORCH_CASES");
  set_warning_handler([](const std::string&) {});  // of m = 2
  Words in(read_file(made != nullptr ? made : XTGRAD_TORCH_GOLDENS));
  Differences differences;
  for (std::string word; in.next(word); ++differences.cases) {
    ASSERT_EQ(word, "case");
    const std::string dtype = in.word();
    ASSERT_TRUE(dtype == "float" || dtype == "double") << dtype;
    dtype == "float" ? run_case<float>(in, differences) : run_case<double>(in, differences);
    if (HasFatalFailure()) return;
  }
  EXPECT_GE(differences.cases, 30u);
  if (made == nullptr) return;
  std::printf("report: %zu cases by PyTorch; worst relative difference of\n", differences.cases);
  for (const auto& [what, worst] : differences.worst) std::printf("report:   %-40s %.1e\n", what.c_str(), worst);
}

}  // namespace
}  // namespace xtgrad
