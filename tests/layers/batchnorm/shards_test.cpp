// Batches in parts: ghost batches, which are batches of their own, and shards, which are not.
#include "xtgrad/batchnorm/shards.hpp"

#include "../../framework/support.hpp"
#include "xtgrad/xtgrad.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;

Sequential<double> network() {
  manual_seed(1);
  return Sequential<double>{Linear<double>(4, 6), BatchNorm1d<double>(6), Relu<double>(),
                            Sequential<double>{Linear<double>(6, 5), BatchNorm1d<double>(5)}, Linear<double>(5, 3)};
}

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance);
}

// Forward, gradients of all parameters and running statistics of shards, beside those of the whole.
void expect_whole(std::vector<std::size_t> rows, bool one_by_one) {
  const Tensor<double> x = Generator(2).normal<double>({9, 4}, 1, 2), dy = Generator(3).normal<double>({9, 3});
  Sequential<double> whole = network(), sharded = network();
  const Tensor<double> y = whole(x);
  y.backward(dy);

  std::vector<Tensor<double>> shards, seeds;
  std::size_t first = 0;
  for (const std::size_t n : rows) {
    shards.push_back(slice(x, 0, first, first + n));
    seeds.push_back(slice(dy, 0, first, first + n));
    first += n;
  }
  const auto ys = forward_shards(sharded, shards);
  expect_near(values(concat(ys, 0)), values(y), 1e-12);
  if (one_by_one)
    for (std::size_t i = 0; i < ys.size(); ++i) ys[i].backward(seeds[i], {.retain_graph = true});
  else
    concat(ys, 0).backward(dy);
  const auto a = whole.parameters(), b = sharded.parameters();
  for (std::size_t i = 0; i < a.size(); ++i) expect_near(values(b[i].grad()), values(a[i].grad()), 1e-12);
  const auto& bn = whole.get<BatchNorm1d<double>>(1);
  const auto& other = sharded.get<BatchNorm1d<double>>(1);
  expect_near(values(other.running_mean()), values(bn.running_mean()), 1e-12);
  expect_near(values(other.running_var()), values(bn.running_var()), 1e-12);
  EXPECT_EQ(other.num_batches_tracked(), 1);
}

TEST(Shards, OfFiveThreeAndOneRowsAreTheBatchOfNine) {
  expect_whole({5, 3, 1}, false);
  expect_whole({5, 3, 1}, true);
}

TEST(Shards, MayBeEmptyAndCountByTheirRows) { expect_whole({0, 7, 0, 2}, true); }

TEST(Shards, RefuseABatchNormThatTheyCannotReach) {
  struct Hidden : Module<double> {
    BatchNorm1d<double> bn{4};
    Tensor<double> forward(const Tensor<double>& x) override { return bn(x); }
    void visit(Visitor<double>& v) override { v.child("bn", bn); }
    std::string name() const override { return "Hidden"; }
  };
  Sequential<double> net{Relu<double>(), Hidden()};
  expect_parts(error([&] { forward_shards(net, {Tensor<double>::ones({2, 4})}); }), {"1 Hidden", "BatchNorm1d(4)"});
}

TEST(VirtualBatch, NormalisesAndCountsEachGroupOfRows) {
  const Tensor<double> x = Generator(5).normal<double>({11, 3}, 2, 1);
  BatchNorm1d<double> ghost(3, {.virtual_batch = 4}), plain(3);
  const Tensor<double> y = ghost(x);
  // groups of 4 and 7 rows: three are too few for a group of their own
  const std::vector<Tensor<double>> expected{plain(slice(x, 0, 0, 4)), plain(slice(x, 0, 4, 11))};
  EXPECT_EQ(values(y), values(concat(expected, 0)));
  EXPECT_EQ(ghost.num_batches_tracked(), 2);
  EXPECT_EQ(values(ghost.running_mean()), values(plain.running_mean()));
  EXPECT_EQ(values(ghost.running_var()), values(plain.running_var()));
}

TEST(VirtualBatch, HasTheGradientOfItsGroups) {
  const Tensor<double> dy = Generator(6).normal<double>({8, 3});
  Tensor<double> x = test::variable(Generator(5).normal<double>({8, 3}));
  BatchNorm1d<double> ghost(3, {.virtual_batch = 4});
  ghost(x).backward(dy);
  for (std::size_t c = 0; c < 3; ++c)
    for (std::size_t group = 0; group < 2; ++group) {
      double sum = 0;
      for (std::size_t n = 4 * group; n < 4 * group + 4; ++n) sum += x.grad().value()(n, c);
      EXPECT_NEAR(sum, 0, 1e-14);  // of each group, not only of the batch
    }
}

TEST(VirtualBatch, CommitsNoGroupWhereAnotherFails) {
  Tensor<double> x = Generator(5).normal<double>({8, 3});
  x.mutable_value()(5, 1) = std::nan("");
  BatchNorm1d<double> ghost(3, {.virtual_batch = 4});
  {
    const Anomaly anomaly;
    EXPECT_THROW(ghost(x), std::runtime_error);
  }
  EXPECT_EQ(ghost.num_batches_tracked(), 0);
  EXPECT_EQ(values(ghost.running_mean()), std::vector<double>(3));
  ghost(x);  // the group without NaN counts
  EXPECT_EQ(ghost.num_batches_tracked(), 1);
  EXPECT_EQ(ghost.skipped_batches(), 1);
}

TEST(VirtualBatch, DividesNothingInEvalOrBelowTwoGroups) {
  const Tensor<double> x = Generator(5).normal<double>({7, 3});
  BatchNorm1d<double> ghost(3, {.virtual_batch = 4}), plain(3);
  EXPECT_EQ(values(ghost(x)), values(plain(x)));
  ghost.eval();
  plain.eval();
  EXPECT_EQ(values(ghost(x)), values(plain(x)));
  expect_parts(error([] { BatchNorm1d<>(3, {.virtual_batch = 1}); }), {"virtual_batch is 1"});
}

}  // namespace
}  // namespace xtgrad
