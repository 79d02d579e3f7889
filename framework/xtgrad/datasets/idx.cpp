#include <algorithm>
#include <utility>
#include <xtgrad/check_file.hpp>
#include <xtgrad/datasets/file.hpp>
#include <xtgrad/datasets/idx.hpp>

namespace xtgrad {
namespace {

const char* type_name(unsigned char type) {
  switch (type) {
    case 0x09:
      return "signed bytes";
    case 0x0b:
      return "16-bit integers";
    case 0x0c:
      return "32-bit integers";
    case 0x0d:
      return "floats";
    case 0x0e:
      return "doubles";
    default:
      return "of an unknown type";
  }
}

}  // namespace

Idx parse_idx(std::string content, const std::string& name) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(content[i]); };
  const auto check_header = [&](std::size_t header) {
    check_file(content.size() >= header, name,
               "the header takes {} bytes, but the file has {}; copy or download it again", header, content.size());
  };
  check_header(4);
  check_file(byte(0) == 0 && byte(1) == 0, name, "the file begins with {:02x} {:02x}, an IDX file with 00 00", byte(0),
             byte(1));
  check_file(byte(2) == 0x08, name, "the values are {} (type {:02x}); convert them to unsigned bytes (08)",
             type_name(byte(2)), byte(2));
  const std::size_t rank = byte(3), header = 4 + 4 * rank;
  check_file(rank >= 1 && rank <= 4, name, "there are {} axes, expected 1 to 4", rank);
  check_header(header);

  Idx idx;
  // In double, where the product of four extents cannot wrap around, and is exact if it is the size of a file.
  double expected = 1, without_zeros = 1;
  for (std::size_t at = 4; at < header; at += 4) {
    std::size_t extent = 0;
    for (std::size_t i = at; i < at + 4; ++i) extent = extent << 8 | byte(i);
    idx.shape.push_back(extent);
    expected *= static_cast<double>(extent);
    without_zeros *= static_cast<double>(std::max<std::size_t>(extent, 1));
  }
  check_file(expected == static_cast<double>(content.size() - header), name,
             "the shape {} takes {} bytes after the header, but there are {}; copy or download it again", idx.shape,
             expected, content.size() - header);
  check_file(without_zeros < 0x1p63, name, "the shape {} has more elements than can be counted", idx.shape);
  content.erase(0, header);
  idx.bytes = std::move(content);
  return idx;
}

Idx read_idx(const std::filesystem::path& path) { return parse_idx(read_file(path), path.string()); }

template <class T>
Dataset<T> load_idx(const std::filesystem::path& images_path, const std::filesystem::path& labels_path,
                    IdxOptions options) {
  const std::string images_name = images_path.string(), labels_name = labels_path.string();
  const Idx images = read_idx(images_path), labels = read_idx(labels_path);
  check_file(images.shape.size() >= 2 && !images.bytes.empty(), images_name,
             "the shape is {}, expected images (N, ...) of at least one pixel", images.shape);
  check_file(labels.shape.size() == 1, labels_name, "the shape is {}, expected labels (N)", labels.shape);
  const std::size_t N = images.shape[0], D = images.bytes.size() / N;
  check_file(labels.bytes.size() == N, labels_name, "there are {} labels, but {} images in {}", labels.bytes.size(), N,
             images_name);

  Array<T> x = empty_array<T>({N, D});
  std::transform(images.bytes.begin(), images.bytes.end(), x.data(),
                 [](char pixel) { return static_cast<T>(static_cast<unsigned char>(pixel)) / 255; });
  Labels y = empty_array<std::int64_t>({N});
  for (std::size_t n = 0; n < N; ++n) {
    const auto label = static_cast<unsigned char>(labels.bytes[n]);
    check_file(options.classes == 0 || label < options.classes, labels_name,
               "row {}: the label is {}, expected a class below {}", n + 1, label, options.classes);
    y(n) = label;
  }
  return {std::move(x), std::move(y)};
}

template Dataset<float> load_idx(const std::filesystem::path&, const std::filesystem::path&, IdxOptions);
template Dataset<double> load_idx(const std::filesystem::path&, const std::filesystem::path&, IdxOptions);

}  // namespace xtgrad
