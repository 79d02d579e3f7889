#include "xtgrad/data/dataset.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>

#include "../support.hpp"

namespace xtgrad {
namespace {

using test::error;
using test::expect_parts;
using test::values;

using Order = std::vector<std::int64_t>;

/// N rows (n, 10 n) with label n, so that a row can be told from its label.
Dataset<> numbered(std::size_t N) {
  Array<float> x = empty_array<float>({N, 2});
  Labels y = empty_array<std::int64_t>({N});
  for (std::size_t n = 0; n < N; ++n) {
    x(n, 0) = static_cast<float>(n);
    x(n, 1) = 10 * static_cast<float>(n);
    y(n) = static_cast<std::int64_t>(n);
  }
  return {std::move(x), std::move(y)};
}

/// The labels of an epoch in their order; expects that rows stayed with their labels.
Order epoch(DataLoader<>& loader, std::vector<std::size_t>* sizes = nullptr) {
  Order order;
  std::size_t batches = 0;
  for (auto [x, y] : loader) {
    ++batches;
    EXPECT_EQ(x.shape(), (Shape{y.size(), 2}));
    if (sizes != nullptr) sizes->push_back(y.size());
    for (std::size_t i = 0; i < y.size(); ++i) {
      EXPECT_EQ(x.value()(i, 1), 10 * static_cast<float>(y(i)));
      order.push_back(y(i));
    }
  }
  EXPECT_EQ(batches, loader.batches());
  return order;
}

Order ascending(std::size_t N) {
  Order order(N);
  std::iota(order.begin(), order.end(), 0);
  return order;
}

Order sorted(Order order) {
  std::sort(order.begin(), order.end());
  return order;
}

// --- Rows

TEST(Dataset, GivesRowsInTheOrderAskedFor) {
  const std::size_t positions[] = {3, 0, 3};
  const Dataset<> rows = numbered(5).rows(positions, 3);
  EXPECT_EQ(values(rows.x), (std::vector<float>{3, 30, 0, 0, 3, 30}));
  EXPECT_EQ(values(rows.y), (Order{3, 0, 3}));
}

TEST(Dataset, RowsMayHaveAnyShape) {
  const Dataset<> data{Tensor<>{{{1, 2}, {3, 4}}, {{5, 6}, {7, 8}}}, full_array<std::int64_t>({2}, 0)};
  const std::size_t positions[] = {1};
  const Dataset<> rows = data.rows(positions, 1);
  EXPECT_EQ(rows.x.shape(), (Shape{1, 2, 2}));
  EXPECT_EQ(values(rows.x), (std::vector<float>{5, 6, 7, 8}));
}

TEST(Dataset, ThrowsForARowPastTheEnd) {
  const std::size_t positions[] = {0, 5};
  expect_parts(error([&] { numbered(5).rows(positions, 2); }), {"row 5", "of 5"});
}

// --- Loader

TEST(DataLoader, GoesThroughEveryRowOnceInOrder) {
  std::vector<std::size_t> sizes;
  DataLoader loader(numbered(10), {.batch_size = 4});
  EXPECT_EQ(loader.batches(), 3U);
  EXPECT_EQ(epoch(loader, &sizes), ascending(10));
  EXPECT_EQ(sizes, (std::vector<std::size_t>{4, 4, 2}));
  EXPECT_EQ(epoch(loader), ascending(10));
}

TEST(DataLoader, ShufflesEveryRowIntoEveryEpochOnce) {
  DataLoader loader(numbered(100), {.batch_size = 7, .shuffle = true});
  const Order first = epoch(loader), second = epoch(loader);
  EXPECT_NE(first, ascending(100));
  EXPECT_NE(first, second);
  EXPECT_EQ(sorted(first), ascending(100));
  EXPECT_EQ(sorted(second), ascending(100));
}

TEST(DataLoader, OrderDependsOnTheSeedOnly) {
  DataLoader a(numbered(50), {.batch_size = 8, .shuffle = true, .seed = 3});
  manual_seed(99);
  DataLoader b(numbered(50), {.batch_size = 16, .shuffle = true, .seed = 3});
  DataLoader c(numbered(50), {.batch_size = 8, .shuffle = true, .seed = 4});
  const Order first = epoch(a);
  EXPECT_EQ(epoch(b), first);
  EXPECT_NE(epoch(c), first);
  EXPECT_EQ(epoch(a), epoch(b));
}

TEST(DataLoader, DropsALastBatchThatIsNotFull) {
  DataLoader loader(numbered(10), {.batch_size = 4, .drop_last = true});
  EXPECT_EQ(loader.batches(), 2U);
  EXPECT_EQ(epoch(loader), ascending(8));
  DataLoader even(numbered(8), {.batch_size = 4, .drop_last = true});
  EXPECT_EQ(even.batches(), 2U);
}

TEST(DataLoader, LeavesOutABatchThatIsTooSmall) {
  DataLoader loader(numbered(9), {.batch_size = 4, .min_batch = 2});
  EXPECT_EQ(loader.batches(), 2U);
  EXPECT_EQ(epoch(loader), ascending(8));
  DataLoader enough(numbered(10), {.batch_size = 4, .min_batch = 2});
  EXPECT_EQ(enough.batches(), 3U);
}

TEST(DataLoader, ABatchMayHoldAllRows) {
  DataLoader loader(numbered(3), {.batch_size = 100});
  EXPECT_EQ(loader.batches(), 1U);
  EXPECT_EQ(epoch(loader), ascending(3));
}

TEST(DataLoader, DropsDifferentRowsInDifferentEpochs) {
  DataLoader loader(numbered(9), {.batch_size = 8, .shuffle = true, .drop_last = true});
  std::set<std::int64_t> seen;
  for (int i = 0; i < 10; ++i)
    for (const std::int64_t label : epoch(loader)) seen.insert(label);
  EXPECT_EQ(seen.size(), 9U);
}

TEST(DataLoader, BatchesDoNotShareTheValuesOfTheDataSet) {
  DataLoader loader(numbered(4), {.batch_size = 4});
  for (auto [x, y] : loader) x.mutable_value().fill(-1);
  EXPECT_EQ(loader.dataset().x.value()(1, 0), 1);
}

TEST(DataLoader, ThrowsForOptionsThatMakeNoBatch) {
  expect_parts(error([] { DataLoader(numbered(3), {.batch_size = 0}); }), {"DataLoader", "batch_size"});
  expect_parts(error([] { DataLoader(numbered(3), {.batch_size = 4, .drop_last = true}); }), {"3 rows", "size 4"});
  expect_parts(error([] { DataLoader(numbered(3), {.batch_size = 4, .min_batch = 5}); }), {"min_batch", "5", "4"});
  expect_parts(error([] { DataLoader(numbered(0)); }), {"0 rows"});
  EXPECT_THROW(DataLoader(numbered(1), {.batch_size = 4, .min_batch = 2}), std::invalid_argument);
}

TEST(DataLoader, ThrowsUnlessThereIsALabelForEachRow) {
  Dataset<> data = numbered(4);
  data.y = full_array<std::int64_t>({3}, 0);
  expect_parts(error([&] { DataLoader loader(data); }), {"DataLoader", "(4, 2)", "(3,)"});
}

TEST(Dataset, ThrowsUnlessThereIsALabelForEachRow) {
  const Dataset<> data{Tensor<>::zeros({10, 2}), Labels::from_shape({4})};
  const std::size_t first = 0;
  expect_parts(error([&] { data.rows(&first, 1); }), {"Dataset", "(10, 2)", "(4,)"});
  expect_parts(error([&] { split(data, 0.2, 0); }), {"Dataset", "(10, 2)", "(4,)"});
}

TEST(DataLoader, ThrowsForRowsWithoutAnAxis) {
  const Dataset<> data{Tensor<>(1.0F), full_array<std::int64_t>({1}, 0)};
  EXPECT_THROW(DataLoader loader(data), std::invalid_argument);
  EXPECT_THROW(DataLoader loader(Dataset<>{}), std::invalid_argument);
}

// The labels of the next `batches` batches, over as many epochs as it takes.
Order next_batches(DataLoader<>& loader, std::size_t batches) {
  Order order;
  while (batches > 0)
    for (auto [x, y] : loader) {
      order.insert(order.end(), y.begin(), y.end());
      if (--batches == 0) break;
    }
  return order;
}

TEST(DataLoader, GoesOnWhereALoadedStateWas) {
  const auto make = [](std::uint64_t seed) {
    return DataLoader(numbered(10), {.batch_size = 4, .shuffle = true, .seed = seed});
  };
  for (std::size_t done = 0; done <= 7; ++done) {
    DataLoader whole = make(5), first = make(5), second = make(77);
    const Order expected = next_batches(whole, 12);
    Order order = next_batches(first, done);
    second.load_state_dict(first.state_dict());
    EXPECT_EQ(second.next_epoch(), static_cast<std::int64_t>(done / 3 + 1)) << done;
    const Order rest = next_batches(second, 3 - done % 3);  // to the end of the epoch, then on into the next
    order.insert(order.end(), rest.begin(), rest.end());
    const Order later = next_batches(second, 12 - done - (3 - done % 3));
    order.insert(order.end(), later.begin(), later.end());
    EXPECT_EQ(order, expected) << done;
  }
}

TEST(DataLoader, WithoutALoadedStateBeginStartsAnEpoch) {
  DataLoader loader(numbered(10), {.batch_size = 4});
  EXPECT_EQ(loader.next_epoch(), 1);
  EXPECT_EQ(next_batches(loader, 1), (Order{0, 1, 2, 3}));
  EXPECT_EQ(loader.next_epoch(), 2);
  EXPECT_EQ(next_batches(loader, 1), (Order{0, 1, 2, 3}));
}

TEST(DataLoader, RefusesTheStateOfAnother) {
  DataLoader loader(numbered(10), {.batch_size = 4}), rows(numbered(9), {.batch_size = 4}),
      size(numbered(10), {.batch_size = 3}), shuffled(numbered(10), {.batch_size = 4, .shuffle = true}),
      fewer(numbered(10), {.batch_size = 4, .drop_last = true});
  next_batches(loader, 2);
  const StateDict<float> before = loader.state_dict();
  expect_parts(error([&] { loader.load_state_dict(rows.state_dict()); }), {"rows is 9, expected 10"});
  expect_parts(error([&] { loader.load_state_dict(size.state_dict()); }), {"batch_size is 3, expected 4"});
  expect_parts(error([&] { loader.load_state_dict(shuffled.state_dict()); }), {"shuffle is 1, expected 0"});
  expect_parts(error([&] { loader.load_state_dict(fewer.state_dict()); }), {"batches is 2, expected 3"});
  StateDict<float> wrong = before;
  std::get<Labels>(wrong.back().second)(312) = 313;
  expect_parts(error([&] { loader.load_state_dict(wrong); }), {"generator is refused", "do not hold its state"});
  const StateDict<float> after = loader.state_dict();
  for (std::size_t i = 0; i + 1 < before.size(); ++i)
    EXPECT_EQ(std::get<std::int64_t>(after[i].second), std::get<std::int64_t>(before[i].second));
  EXPECT_EQ(std::get<Labels>(after.back().second), std::get<Labels>(before.back().second));
  EXPECT_EQ(loader.next_epoch(), 2);
}

TEST(DataLoader, RefusesACountThatCouldNotBeCountedOn) {
  DataLoader loader(numbered(10), {.batch_size = 4});
  StateDict<float> state = loader.state_dict();
  state[0].second = std::numeric_limits<std::int64_t>::max();
  expect_parts(error([&] { loader.load_state_dict(state); }), {"epoch is 9223372036854775807, expected a count"});
}

TEST(DataLoader, TakesAPositionPastTheEndForTheEndOfTheEpoch) {
  DataLoader loader(numbered(10), {.batch_size = 4});
  StateDict<float> state = loader.state_dict();
  state[0].second = std::int64_t{4};
  state[1].second = std::int64_t{1} << 53;
  loader.load_state_dict(state);
  EXPECT_EQ(loader.next_epoch(), 5);
  EXPECT_EQ(epoch(loader), ascending(10));
}

// --- Split

TEST(Split, DividesTheRowsIntoDisjointParts) {
  const Split<float> parts = split(numbered(50), 0.3, 1);
  EXPECT_EQ(parts.test.size(), 15U);
  EXPECT_EQ(parts.train.size(), 35U);
  Order all = values(parts.train.y);
  const Order test = values(parts.test.y);
  all.insert(all.end(), test.begin(), test.end());
  EXPECT_EQ(sorted(all), ascending(50));
  for (std::size_t i = 0; i < 15; ++i) EXPECT_EQ(parts.test.x.value()(i, 0), static_cast<float>(parts.test.y(i)));
}

TEST(Split, RoundsTheNumberOfTestRows) {
  EXPECT_EQ(split(numbered(10), 0.16, 1).test.size(), 2U);
  EXPECT_EQ(split(numbered(10), 0.14, 1).test.size(), 1U);
}

TEST(Split, IsRandomAndDependsOnTheSeedOnly) {
  const Order first = values(split(numbered(50), 0.5, 1).test.y);
  EXPECT_EQ(values(split(numbered(50), 0.5, 1).test.y), first);
  EXPECT_NE(values(split(numbered(50), 0.5, 2).test.y), first);
  EXPECT_NE(sorted(first), ascending(25));
}

TEST(Split, ThrowsIfAPartWouldBeEmpty) {
  for (const double fraction : {0.0, 1.0, 0.01, 0.99, -0.5, 1.5, std::nan("")})
    EXPECT_THROW(split(numbered(10), fraction, 1), std::invalid_argument) << fraction;
  expect_parts(error([] { split(numbered(10), 0, 1); }), {"split", "10 rows"});
}

}  // namespace
}  // namespace xtgrad
