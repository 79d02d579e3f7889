// A file of the user's that knows nothing of xtgrad.
#include <xtensor/xarray.hpp>
#include <xtensor/xeval.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xview.hpp>

double only_xtensor() {
  const xt::xarray<double> x = {{1, 2, 3}, {4, 6, 9}};
  const xt::xarray<double> variance = xt::variance(x, {0});
  const auto doubled = xt::eval(2.0 * x);
  const auto sums = xt::sum(x, {1}, xt::evaluation_strategy::immediate);
  const auto column = xt::eval(xt::view(x, xt::all(), 1));
  // 2.25 + 4 + 9, 50, 6 and 19, 2 and 6
  return xt::sum(variance)() + xt::sum(doubled)() + sums(0) + sums(1) + column(0) + column(1);
}
