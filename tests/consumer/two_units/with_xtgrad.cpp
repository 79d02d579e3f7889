// xtensor's own functions on the values of a Tensor, in C++20.
#include <cstdio>
#include <xtensor/xeval.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xview.hpp>
#include <xtgrad/xtgrad.hpp>

double only_xtensor();

namespace {

int failures = 0;

void expect(const char* what, double actual, double expected) {
  if (actual == expected) return;
  std::printf("%s: %g, expected %g\n", what, actual, expected);
  ++failures;
}

template <class T> void check() {
  const xtgrad::Tensor<T> t{{1, 2, 3}, {4, 6, 9}};

  const xt::xarray<T> variance = xt::variance(t.value(), {0});
  expect("axes of the variance", static_cast<double>(variance.dimension()), 1);
  expect("variance[0]", variance(0), 2.25);
  expect("variance[1]", variance(1), 4);
  expect("variance[2]", variance(2), 9);

  const auto sums = xt::sum(t.value(), {1}, xt::evaluation_strategy::immediate);
  expect("axes of the immediate sum", static_cast<double>(sums.dimension()), 1);
  expect("sum[0]", sums(0), 6);
  expect("sum[1]", sums(1), 19);
  expect("sum of all", xt::sum(t.value(), xt::evaluation_strategy::immediate)(), 25);

  const auto doubled = xt::eval(T(2) * t.value());
  expect("axes of an evaluated expression", static_cast<double>(doubled.dimension()), 2);
  expect("doubled[1, 2]", doubled(1, 2), 18);

  xtgrad::Tensor<T> copy(t.value() + T(1));
  copy.mutable_value() = xt::transpose(xt::eval(xt::transpose(copy.value())));
  expect("copy[1, 0]", copy.value()(1, 0), 5);
  xt::view(copy.mutable_value(), xt::all(), 1) = xt::view(t.value(), xt::all(), 2);
  expect("copy[1, 1]", copy.value()(1, 1), 9);
}

}  // namespace

int main() {
  check<float>();
  check<double>();
  expect("the unit with xtensor alone", only_xtensor(), 15.25 + 50 + 25 + 8);
  return failures == 0 ? 0 : 1;
}
