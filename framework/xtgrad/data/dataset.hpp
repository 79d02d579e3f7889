// Labelled rows, and batches of them in a seeded order.
#pragma once

#include <iterator>
#include <vector>

#include "xtgrad/random.hpp"
#include "xtgrad/state/state_dict.hpp"
#include "xtgrad/tensor.hpp"

namespace xtgrad {

/// Rows x (N, ...) and a class label for each.
template <class T = float> struct Dataset {
  Tensor<T> x;
  Labels y;  ///< (N)

  /// Rows; a scalar has none.
  std::size_t size() const { return x.shape().empty() ? 0 : x.shape()[0]; }
  /// The rows at these positions, in this order. Throws if a position is past the end, or
  /// if there is not one label for each row.
  Dataset rows(const std::size_t* positions, std::size_t count) const;
};

/// Two parts of a data set.
template <class T> struct Split { Dataset<T> train, test; };

/// Divides the rows at random, `test_fraction` of them (rounded) into `test`. Throws unless both parts get a
/// row.
template <class T> Split<T> split(const Dataset<T>& data, double test_fraction, std::uint64_t seed);

/// Options of DataLoader.
struct LoaderOptions {
  std::size_t batch_size = 32;
  bool shuffle = false;       ///< a new order in each epoch
  bool drop_last = false;     ///< leave out a last batch that is not full
  std::size_t min_batch = 1;  ///< leave out a last batch with fewer rows; 2 is what BatchNorm needs
  std::uint64_t seed = 0;     ///< of the order
};

/// A batch: x (B, ...) and labels (B).
template <class T> struct Batch {
  Tensor<T> x;
  Labels y;
};

/// Goes through a data set in batches; each `for (auto [x, y] : loader)` is an epoch. One epoch at a time. After a state
/// is loaded the next one goes on with the batch that would have come next.
template <class T = float> class DataLoader {
 public:
  /// Shares the data set's values. Throws if it is empty or an option makes no batch possible.
  explicit DataLoader(Dataset<T> data, LoaderOptions options = {});

  /// Batches in an epoch.
  std::size_t batches() const noexcept;
  const Dataset<T>& dataset() const noexcept { return data_; }
  const LoaderOptions& options() const noexcept { return options_; }

  class Iterator {
   public:
    using value_type = Batch<T>;
    using difference_type = std::ptrdiff_t;
    Batch<T> operator*() const { return loader_->batch(next_); }
    Iterator& operator++() {
      ++next_;
      return *this;
    }
    void operator++(int) { ++next_; }
    friend bool operator==(const Iterator& i, std::default_sentinel_t) { return i.next_ == i.loader_->batches(); }

   private:
    friend class DataLoader;
    Iterator(DataLoader* loader, std::size_t next) : loader_(loader), next_(next) {}
    DataLoader* loader_;
    std::size_t next_;
  };

  /// Starts an epoch, or goes on with one after resume(): draws its order, if it is to shuffle.
  Iterator begin();
  std::default_sentinel_t end() const noexcept { return {}; }
  /// The number, from 1, of the epoch that begin() will start or go on with.
  std::int64_t next_epoch() const noexcept { return goes_on() ? epoch_ : epoch_ + 1; }

  /// Epoch, batches handed out, and the generator at the epoch's start, by name.
  StateDict<T> state_dict() { return copy_state(state()); }
  /// Takes them over, and resumes. Throws, with nothing changed, unless they are of as many rows in as many batches of the
  /// same size, and shuffled alike.
  void load_state_dict(const StateDict<T>& values) {
    load_state("load_state_dict", state(), values);
    resume();
  }
  /// The same values where they are. After a change, call resume().
  std::vector<StateEntry<T>> state();
  /// Lets the next begin() go on with the epoch that the state is in.
  void resume() noexcept { resumed_ = true; }

 private:
  bool goes_on() const noexcept { return resumed_ && epoch_ > 0 && position_ < static_cast<std::int64_t>(batches()); }
  void draw_order();
  Batch<T> batch(std::size_t index);

  Dataset<T> data_;
  LoaderOptions options_;
  Generator generator_, epoch_generator_;  // the second as it was before it drew the epoch's order
  std::vector<std::size_t> order_;
  std::int64_t rows_, batches_, batch_size_, shuffle_, epoch_ = 0, position_ = 0;
  bool resumed_ = false;
};

}  // namespace xtgrad
