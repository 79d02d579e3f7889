#include "plot.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <system_error>

#include "process.hpp"

namespace kit {
namespace {

namespace fs = std::filesystem;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

[[noreturn]] void fail(const fs::path& file, std::string_view sentence) {
  throw std::runtime_error(fmt::format("plot: {}: {}", file.string(), sentence));
}

std::string error_text(int error) { return std::generic_category().message(error); }

bool is_png(const fs::path& file) { return file.extension() == ".png"; }

fs::path folder_of(const fs::path& file) { return file.has_parent_path() ? file.parent_path() : fs::path("."); }

bool gnuplot_is_installed() {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "");
  for (std::string folder; std::getline(folders, folder, ':');)
    if (access((fs::path(folder) / "gnuplot").c_str(), X_OK) == 0) return true;
  return false;
}

/// A gnuplot string in single quotes, where only the quote itself is special.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    const bool control = (c >= 0 && c < ' ') || c == '\x7f';
    result.append(c == '\'' ? 2 : 1, control ? ' ' : c);
  }
  return result + '\'';
}

/// The points of a series that can be drawn, one per line: x, y and the bounds of the band, if there is one.
std::vector<std::string> drawable_points(const Plot& plot, const Plot::Series& series) {
  const auto drawable = [](double value, bool log) { return std::isfinite(value) && (!log || value > 0); };
  std::vector<std::string> points;
  for (std::size_t i = 0; i < series.x.size(); ++i) {
    std::vector<double> ys{series.y[i]};
    if (!series.low.empty()) ys.insert(ys.end(), {series.low[i], series.high[i]});
    if (drawable(series.x[i], plot.log_x) && std::ranges::all_of(ys, [&](double y) { return drawable(y, plot.log_y); }))
      points.push_back(fmt::format("{} {}\n", series.x[i], fmt::join(ys, " ")));
  }
  return points;
}

/// Colours that the colour-blind can tell apart, of unequal lightness.
constexpr std::array kColours = {"#0072b2", "#d55e00", "#009e73", "#000000",
                                 "#cc79a7", "#56b4e9", "#e69f00", "#7f7f7f"};

/// Colours over dashes and marks whose number has no divisor in common with theirs: a combination comes back only after
/// 8 * 5 * 7 series.
std::string style(std::size_t index, std::size_t points) {
  constexpr std::array dashes = {"solid", "'-'", "'.'", "'_'", "'-.'"};
  constexpr std::array marks = {7, 5, 9, 13, 6, 4, 8};
  constexpr std::size_t marks_per_line = 15;
  return fmt::format("linecolor rgb '{}' dashtype {} linewidth 2 pointtype {} pointsize 1.1 pointinterval {}",
                     kColours[index % kColours.size()], dashes[index % dashes.size()], marks[index % marks.size()],
                     1 + points / marks_per_line);
}

std::string gnuplot_script(const Plot& plot, bool png) {
  std::string script = png ? "set terminal pngcairo noenhanced size 1000,600 font 'Sans,13'\n"
                           : "set terminal svg noenhanced size 1000,600 font 'Sans,15' background 'white'\n";
  script += fmt::format("set title {}\nset xlabel {}\nset ylabel {}\n", quoted(plot.title), quoted(plot.x_label),
                        quoted(plot.y_label));
  script += "set grid linecolor rgb '#dddddd' linetype 1\nset border 3\nset tics nomirror\n";
  script += "set key below center horizontal Left reverse height 1\n";
  if (plot.log_x) script += "set logscale x\nset format x '%g'\n";
  if (plot.log_y) script += "set logscale y\nset format y '%g'\n";
  if (plot.y_range) script += fmt::format("set yrange [{}:{}]\n", plot.y_range->first, plot.y_range->second);

  std::string bands, lines;
  for (std::size_t s = 0; s < plot.series.size(); ++s) {
    const Plot::Series& series = plot.series[s];
    const std::vector<std::string> points = drawable_points(plot, series);
    script += fmt::format("$series{} << END\n", s);
    for (const std::string& point : points) script += point;
    script += "END\n";
    const std::string source = points.empty() ? "keyentry" : fmt::format("$series{} using 1:2", s);
    const std::string name = series.name + (points.empty() ? " (no finite point)" : "");
    if (!series.low.empty() && !points.empty())
      bands += fmt::format(
          "$series{} using 1:3:4 with filledcurves fillcolor rgb '{}' fillstyle transparent solid 0.2 notitle, ", s,
          kColours[s % kColours.size()]);
    lines += fmt::format("{}{} with linespoints {} title {}", s == 0 ? "" : ", ", source, style(s, points.size()),
                         quoted(name));
  }
  return script + "plot " + bands + lines + '\n';
}

File script_file(const fs::path& file, const std::string& script) {
  File stream(std::tmpfile());
  if (!stream || std::fwrite(script.data(), 1, script.size(), stream.get()) != script.size() ||
      std::fflush(stream.get()) != 0)
    fail(file, "no temporary file: " + error_text(errno));
  std::rewind(stream.get());
  return stream;
}

/// Runs gnuplot from files to files. It reads a file rather than a pipe, so that its early death cannot raise
/// SIGPIPE here.
void run_gnuplot(const fs::path& file, const std::string& script, int image) {
  const File input = script_file(file, script);
  const File messages(std::tmpfile());
  if (!messages) fail(file, "no temporary file: " + error_text(errno));

  int status = 0;
  try {
    status = run_process({"gnuplot", "-d"}, fileno(input.get()), image, fileno(messages.get()));  // no startup file
  } catch (const std::runtime_error& error) {
    fail(file, error.what());
  }
  if (status == 0) return;

  std::rewind(messages.get());
  std::string said(2000, '\0');
  said.resize(std::fread(said.data(), 1, said.size(), messages.get()));
  std::replace(said.begin(), said.end(), '\n', ' ');
  said.resize(said.find_last_not_of(' ') + 1);
  fail(file, fmt::format("gnuplot failed: {}", said));
}

/// The unfinished image, beside the file that it is to become; removed unless published.
class Drawing {
 public:
  explicit Drawing(const fs::path& file) : file_(file), name_((folder_of(file) / ".plot-XXXXXX").string()) {
    descriptor_ = mkstemp(name_.data());
    if (descriptor_ < 0) fail(file_, "cannot be written: " + error_text(errno));
    fchmod(descriptor_, 0644);  // mkstemp makes it private
  }
  ~Drawing() {
    close(descriptor_);
    unlink(name_.c_str());  // finds nothing after publish()
  }
  Drawing(const Drawing&) = delete;
  Drawing& operator=(const Drawing&) = delete;

  int descriptor() const { return descriptor_; }

  void publish() const {
    if (!is_complete()) fail(file_, "gnuplot wrote an incomplete image; is the disk full?");
    if (std::rename(name_.c_str(), file_.c_str()) != 0) fail(file_, "cannot be written: " + error_text(errno));
  }

 private:
  /// gnuplot exits with 0 on a full disk, so that the end of the image itself has to be looked at.
  bool is_complete() const {
    std::ifstream stream(name_, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(stream), {}};
    const std::size_t last = bytes.size() - std::min<std::size_t>(bytes.size(), 20);
    return bytes.find(is_png(file_) ? "IEND" : "</svg>", last) != bytes.npos;
  }

  const fs::path& file_;
  std::string name_;
  int descriptor_;
};

void check_range(const Plot& plot) {
  if (!plot.y_range) return;
  const auto [low, high] = *plot.y_range;
  if (!std::isfinite(low) || !std::isfinite(high) || low >= high || (plot.log_y && low <= 0))
    throw std::invalid_argument(fmt::format("plot: the y range is [{}, {}]; it must be finite and increasing{}", low,
                                            high, plot.log_y ? ", and above 0 on a log scale" : ""));
}

}  // namespace

void Plot::add(std::string name, std::vector<double> x, std::vector<double> y) {
  if (x.size() != y.size())
    throw std::invalid_argument(
        fmt::format("plot: series {} has {} x values and {} y values", name, x.size(), y.size()));
  series.push_back({std::move(name), std::move(x), std::move(y), {}, {}});
}

void Plot::add_band(std::string name, std::vector<double> x, std::vector<double> low, std::vector<double> y,
                    std::vector<double> high) {
  if (low.size() != x.size() || high.size() != x.size())
    throw std::invalid_argument(fmt::format("plot: series {} has {} x values and bounds for {} and {}", name, x.size(),
                                            low.size(), high.size()));
  add(std::move(name), std::move(x), std::move(y));
  series.back().low = std::move(low);
  series.back().high = std::move(high);
}

void Plot::check(const fs::path& file) {
  if (!is_png(file) && file.extension() != ".svg")
    throw std::invalid_argument(fmt::format("plot: {}: the name must end in .png or .svg", file.string()));
  if (!gnuplot_is_installed())
    fail(file, "gnuplot draws the plots, and it is not installed; type: apt-get install gnuplot-nox");
  std::error_code ignored;
  const fs::path folder = folder_of(file);
  if (!fs::is_directory(folder, ignored))
    fail(file, fmt::format("there is no folder {}; make it first", folder.string()));
  if (access(folder.c_str(), W_OK | X_OK) != 0)
    fail(file, fmt::format("the folder {} cannot be written: {}", folder.string(), error_text(errno)));
  if (fs::is_directory(file, ignored)) fail(file, "this is a folder; give the name of a file");
}

void Plot::save(const fs::path& file) const {
  check(file);
  check_range(*this);
  if (std::all_of(series.begin(), series.end(), [this](const Series& s) { return drawable_points(*this, s).empty(); }))
    fail(file, "no series has a point that can be drawn");

  const Drawing drawing(file);
  run_gnuplot(file, gnuplot_script(*this, is_png(file)), drawing.descriptor());
  drawing.publish();
}

}  // namespace kit
