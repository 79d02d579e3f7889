// The data sets of the examples by name, or a CSV file of the user's.
//
//     digits            1797 handwritten digits of 8 x 8 pixels, shipped with the examples
//     fashion, mnist    60000 + 10000 images of 28 x 28 pixels, where they are installed
//     moons, spirals    1000 points of the plane, computed
//     FILE.csv[.gz]     a column of labels and columns of numbers, standardised by the training rows
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>
#include <xtgrad/data/dataset.hpp>

namespace kit {

/// A data set, divided.
struct DataSet {
  xtgrad::Split<float> rows;  ///< x (N, D)
  std::size_t classes = 0;

  std::size_t columns() const { return rows.train.x.shape()[1]; }
};

/// `label` is the column of labels in a CSV file: its name, its index from 0, or "" for the last. The seed is that of the
/// points and of the split: a fifth of the rows is held out, except where the data set comes divided. Throws
/// std::runtime_error, with the remedy, for a name that is neither a data set nor a file, and for data not installed.
DataSet load_data_set(const std::string& name, const std::string& label, std::uint64_t seed);

/// The largest set of images that is there: mnist, fashion or digits.
std::string installed_images();

/// The first rows, at most so many.
template <class T> xtgrad::Dataset<T> first_rows(const xtgrad::Dataset<T>& rows, std::size_t most) {
  std::vector<std::size_t> positions(std::min(rows.size(), most));
  std::iota(positions.begin(), positions.end(), std::size_t{0});
  return rows.rows(positions.data(), positions.size());
}

/// The same rows in double.
xtgrad::Dataset<double> in_double(const xtgrad::Dataset<float>& rows);

}  // namespace kit
