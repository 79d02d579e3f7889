// The IDX format, in which the MNIST images and those of its kind come (http://yann.lecun.com/exdb/mnist),
// optionally gzipped.
//
// A file is 00 00, the type of the values (08: unsigned bytes, the only one that is read), the number of axes
// (1 to 4), the extent of each axis in 4 bytes, the highest first, and then the values, row-major, to the last byte of
// the file. Whatever breaks one of these rules is refused by std::runtime_error, naming the file and the rule.
#pragma once

#include <filesystem>
#include <string>
#include <xtgrad/data/dataset.hpp>

namespace xtgrad {

/// The content of an IDX file of unsigned bytes.
struct Idx {
  Shape shape;
  std::string bytes;  ///< the values, row-major: as many as the shape has elements
};

/// Reads a whole file. Throws as said above.
Idx read_idx(const std::filesystem::path& path);

/// The same for bytes in memory; `name` stands for the file in errors.
Idx parse_idx(std::string content, const std::string& name);

/// Options of load_idx.
struct IdxOptions {
  std::size_t classes = 0;  ///< labels must be below this; 0 lets any pass
};

/// Images (N, ...) and their labels (N), as x (N, D) = pixel / 255 with the axes behind the first made one.
/// Throws std::runtime_error naming the file if the axes, the counts or a label are not such.
template <class T = float>
Dataset<T> load_idx(const std::filesystem::path& images_path, const std::filesystem::path& labels_path,
                    IdxOptions options = {});

}  // namespace xtgrad
