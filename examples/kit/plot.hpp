// Line plots, drawn by gnuplot into a PNG or SVG file of 1000 x 600.
//
//     kit::Plot::check("loss.png");                                  before the training starts
//     kit::Plot plot{.title = "Loss", .x_label = "epoch", .y_label = "loss"};
//     plot.add("train", epochs, losses);
//     plot.save("loss.png");
//
// The lines differ in colour, dashes and marks, so that they can be told apart in greyscale. Points that are
// not finite (or, on a log scale, not positive) are left out. The file appears whole or not at all: it is
// drawn under another name in the same folder, then renamed. The name of the file never reaches gnuplot or a
// shell.
//
// Errors: std::invalid_argument for a name that ends in neither .png nor .svg, for series of unequal length
// and for a bad range; std::runtime_error, with the remedy, where gnuplot or the folder cannot be used.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kit {

struct Plot {
  struct Series {
    std::string name;
    std::vector<double> x, y;
    std::vector<double> low, high;  ///< of a band around y; empty if there is none
  };

  std::string title = {};
  std::string x_label = {};
  std::string y_label = {};
  std::optional<std::pair<double, double>> y_range = {};  ///< fitted to the data if not given
  bool log_x = false;
  bool log_y = false;
  std::vector<Series> series = {};

  void add(std::string name, std::vector<double> x, std::vector<double> y);
  /// A line with a shaded band around it.
  void add_band(std::string name, std::vector<double> x, std::vector<double> low, std::vector<double> y,
                std::vector<double> high);

  void save(const std::filesystem::path& file) const;

  /// Throws what save() would throw for this file: wrong extension, no gnuplot, no such folder, not writable.
  static void check(const std::filesystem::path& file);
};

}  // namespace kit
