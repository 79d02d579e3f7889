#include "xtgrad/data/dataset.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "xtgrad/check.hpp"

namespace xtgrad {

template <class T> Dataset<T> Dataset<T>::rows(const std::size_t* positions, std::size_t count) const {
  check(y.shape() == Shape{size()}, "Dataset: x is {} and the labels are {}, expected one for each row", x.shape(),
        y.shape());
  Shape shape = x.shape();
  const std::size_t width = size() == 0 ? 0 : x.size() / size();
  for (std::size_t i = 0; i < count; ++i) check(positions[i] < size(), "Dataset: row {} of {}", positions[i], size());
  shape[0] = count;
  Array<T> values = empty_array<T>(shape);
  Labels labels = empty_array<std::int64_t>({count});
  for (std::size_t i = 0; i < count; ++i) {
    std::copy_n(x.data() + positions[i] * width, width, values.data() + i * width);
    labels(i) = y(positions[i]);
  }
  return {std::move(values), std::move(labels)};
}

template <class T> Split<T> split(const Dataset<T>& data, double test_fraction, std::uint64_t seed) {
  const std::size_t N = data.size();
  const double wanted = std::round(test_fraction * static_cast<double>(N));
  check(wanted >= 1 && wanted < static_cast<double>(N), "split: a fraction of {} of {} rows leaves one part empty",
        test_fraction, N);
  const auto n_test = static_cast<std::size_t>(wanted);
  const std::vector<std::size_t> order = Generator(seed).permutation(N);
  return {data.rows(order.data() + n_test, N - n_test), data.rows(order.data(), n_test)};
}

template <class T>
DataLoader<T>::DataLoader(Dataset<T> data, LoaderOptions options)
    : data_(std::move(data)),
      options_(options),
      generator_(options.seed),
      epoch_generator_(generator_),
      rows_(static_cast<std::int64_t>(data_.size())),
      batches_(0),
      batch_size_(static_cast<std::int64_t>(options.batch_size)),
      shuffle_(options.shuffle ? 1 : 0) {
  const std::size_t N = data_.size();
  check(options.batch_size > 0, "DataLoader: batch_size is 0");
  check(data_.y.shape() == Shape{N}, "DataLoader: x is {}, labels {}, expected one label a row", data_.x.shape(),
        data_.y.shape());
  check(options.min_batch <= options.batch_size, "DataLoader: min_batch is {}, above the batch size {}",
        options.min_batch, options.batch_size);
  check(batches() > 0, "DataLoader: {} rows make no batch of size {}", N, options.batch_size);
  order_.resize(N);
  batches_ = static_cast<std::int64_t>(batches());
}

template <class T> std::size_t DataLoader<T>::batches() const noexcept {
  const std::size_t full = data_.size() / options_.batch_size, rest = data_.size() % options_.batch_size;
  return full + (rest > 0 && !options_.drop_last && rest >= options_.min_batch ? 1 : 0);
}

template <class T> typename DataLoader<T>::Iterator DataLoader<T>::begin() {
  const bool goes_on = this->goes_on();
  if (std::exchange(resumed_, false)) {
    generator_ = epoch_generator_;
    if (epoch_ > 0) draw_order();
  }
  if (!goes_on) {
    ++epoch_;
    position_ = 0;
    epoch_generator_ = generator_;
    draw_order();
  }
  return Iterator(this, static_cast<std::size_t>(position_));
}

template <class T> void DataLoader<T>::draw_order() {
  std::iota(order_.begin(), order_.end(), std::size_t{0});
  if (options_.shuffle) generator_.shuffle(order_);
}

template <class T> std::vector<StateEntry<T>> DataLoader<T>::state() {
  return {{"epoch", &epoch_},
          {"position", &position_},
          {"rows", &rows_, StateRule::fixed},
          {"batches", &batches_, StateRule::fixed},
          {"batch_size", &batch_size_, StateRule::fixed},
          {"shuffle", &shuffle_, StateRule::fixed},
          {"generator", &epoch_generator_}};
}

template <class T> Batch<T> DataLoader<T>::batch(std::size_t index) {
  position_ = static_cast<std::int64_t>(index) + 1;
  const std::size_t first = index * options_.batch_size;
  Dataset<T> rows = data_.rows(order_.data() + first, std::min(options_.batch_size, data_.size() - first));
  return {std::move(rows.x), std::move(rows.y)};
}

#define XTGRAD_INSTANTIATE(T)                                        \
  template struct Dataset<T>;                                        \
  template Split<T> split(const Dataset<T>&, double, std::uint64_t); \
  template class DataLoader<T>;
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
