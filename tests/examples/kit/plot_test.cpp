#include "kit/plot.hpp"

#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <vector>

#include "support.hpp"

namespace {

namespace fs = std::filesystem;
using kit::test::content;
using kit::test::error;
using kit::test::InFolder;

class Plot : public InFolder {
 protected:
  kit::Plot plot_{.title = "it's <a> & \"b\" \\n_1", .x_label = "x\ny", .y_label = "loss"};

  void SetUp() override {
    InFolder::SetUp();
    const double nan = std::numeric_limits<double>::quiet_NaN();
    plot_.add("train_'1'", {1, 2, 3, 4}, {1, nan, 0.5, std::numeric_limits<double>::infinity()});
    plot_.add("valid", {1, 2, 3}, {2, 1, -1});
  }
};

TEST_F(Plot, APngHasItsSignatureAndItsSize) {
  plot_.save(folder_ / "p.png");
  const std::string png = content(folder_ / "p.png");
  EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_EQ(png.substr(16, 8), std::string("\0\0\3\xe8\0\0\2\x58", 8));  // 1000 x 600
  EXPECT_EQ(files(), 1u);
}

TEST_F(Plot, AnSvgEscapesItsTexts) {
  plot_.save(folder_ / "p.svg");
  const std::string svg = content(folder_ / "p.svg");
  EXPECT_NE(svg.find("<svg"), svg.npos);
  EXPECT_NE(svg.find("it's &lt;a> &amp; \"b\" \\n_1"), svg.npos);
  EXPECT_EQ(files(), 1u);
}

TEST_F(Plot, ABandIsDrawnBelowTheLines) {
  plot_.add_band("median", {1, 2, 3}, {0.1, 0.2, 0.3}, {1, 2, 3}, {2, 3, 4});
  plot_.save(folder_ / "p.svg");
  const std::string svg = content(folder_ / "p.svg");
  const std::size_t band = svg.find("rgb(  0, 158, 115)");  // the third colour; its first use is the shaded area
  ASSERT_NE(band, svg.npos);
  EXPECT_EQ(svg.substr(band, 50).find("' fill-opacity"), 18U) << svg.substr(band, 50);
  EXPECT_THROW(plot_.add_band("unequal", {1, 2}, {0}, {1, 2}, {2, 3}), std::invalid_argument);
}

TEST_F(Plot, AnyNameIsSafe) {
  for (const char* name : {"a b.png", "it's.png", "\"q\".png", "back\\slash\\n.png", "|touch x.png", "$(x);`y`.png",
                           "-d.png", "~.png", "new\nline.png"}) {
    plot_.save(folder_ / name);
    EXPECT_TRUE(fs::exists(folder_ / name)) << name;
  }
  EXPECT_EQ(files(), 9u);
}

TEST_F(Plot, AnExistingPlotIsReplaced) {
  std::ofstream(folder_ / "p.png") << "old";
  plot_.save(folder_ / "p.png");
  EXPECT_EQ(content(folder_ / "p.png").substr(1, 3), "PNG");
}

TEST_F(Plot, LogScalesLeaveOutWhatIsNotPositive) {
  plot_.log_x = plot_.log_y = true;
  plot_.save(folder_ / "p.svg");
  EXPECT_GT(content(folder_ / "p.svg").size(), 1000u);
}

TEST_F(Plot, ASeriesWithoutPointsStaysInTheLegend) {
  plot_.add("diverged", {1}, {std::numeric_limits<double>::quiet_NaN()});
  plot_.save(folder_ / "p.svg");
  const std::string svg = content(folder_ / "p.svg");
  EXPECT_NE(svg.find("diverged (no finite point)"), svg.npos);
}

TEST_F(Plot, OneConstantPointIsDrawn) {
  kit::Plot plot;
  plot.add("a", {1}, {0});
  plot.save(folder_ / "p.png");
  EXPECT_EQ(files(), 1u);
}

TEST_F(Plot, APlotWithoutPointsIsRefused) {
  EXPECT_EQ(error<std::runtime_error>([&] { kit::Plot().save(folder_ / "p.png"); }),
            "plot: " + (folder_ / "p.png").string() + ": no series has a point that can be drawn");
  EXPECT_EQ(files(), 0u);
}

TEST_F(Plot, OtherExtensionsAreRefused) {
  for (const char* name : {"p.pdf", "p", ".png", "p.png.gz"})
    EXPECT_EQ(error<std::invalid_argument>([&] { kit::Plot::check(name); }),
              fmt::format("plot: {}: the name must end in .png or .svg", name));
}

TEST_F(Plot, AMissingFolderIsRefused) {
  const fs::path path = folder_ / "none" / "p.png";
  EXPECT_EQ(error<std::runtime_error>([&] { kit::Plot::check(path); }),
            "plot: " + path.string() + ": there is no folder " + (folder_ / "none").string() + "; make it first");
}

TEST_F(Plot, AFolderThatCannotBeWrittenIsRefused) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  fs::permissions(folder_, fs::perms::owner_read | fs::perms::owner_exec);
  const std::string message = error<std::runtime_error>([&] { kit::Plot::check(folder_ / "p.png"); });
  fs::permissions(folder_, fs::perms::owner_all);
  EXPECT_EQ(message, "plot: " + (folder_ / "p.png").string() + ": the folder " + folder_.string() +
                         " cannot be written: Permission denied");
}

TEST_F(Plot, AFolderInPlaceOfTheFileIsRefused) {
  fs::create_directory(folder_ / "p.png");
  EXPECT_EQ(error<std::runtime_error>([&] { kit::Plot::check(folder_ / "p.png"); }),
            "plot: " + (folder_ / "p.png").string() + ": this is a folder; give the name of a file");
}

TEST_F(Plot, AMissingGnuplotIsRefusedWithTheRemedy) {
  const std::string path = std::getenv("PATH");
  setenv("PATH", folder_.c_str(), 1);
  const std::string message = error<std::runtime_error>([&] { kit::Plot::check("p.png"); });
  setenv("PATH", path.c_str(), 1);
  EXPECT_EQ(message,
            "plot: p.png: gnuplot draws the plots, and it is not installed; type: apt-get install gnuplot-nox");
}

TEST_F(Plot, AGnuplotThatFailsOrStopsHalfwayLeavesTheOldPlot) {
  const fs::path program = folder_ / "gnuplot", plot = folder_ / "p.png";
  std::ofstream(plot) << "old";
  const std::string path = std::getenv("PATH");
  std::vector<std::string> messages;
  for (const char* script : {"echo broken >&2; exit 1", "echo half an image"}) {
    std::ofstream(program) << "#!/bin/sh\n" << script << "\n";
    fs::permissions(program, fs::perms::owner_all);
    setenv("PATH", (folder_.string() + ":" + path).c_str(), 1);
    messages.push_back(error<std::runtime_error>([&] { plot_.save(plot); }));
    setenv("PATH", path.c_str(), 1);
  }
  EXPECT_EQ(messages[0], "plot: " + plot.string() + ": gnuplot failed: broken");
  EXPECT_EQ(messages[1], "plot: " + plot.string() + ": gnuplot wrote an incomplete image; is the disk full?");
  EXPECT_EQ(content(plot), "old");
  EXPECT_EQ(files(), 2u);
}

TEST_F(Plot, SeriesOfUnequalLengthAreRefused) {
  EXPECT_EQ(error<std::invalid_argument>([&] {
              plot_.add("a", {1, 2}, {1});
            }),
            "plot: series a has 2 x values and 1 y values");
}

TEST_F(Plot, ABadRangeIsRefused) {
  plot_.y_range = {1, 1};
  EXPECT_EQ(error<std::invalid_argument>([&] { plot_.save(folder_ / "p.png"); }),
            "plot: the y range is [1, 1]; it must be finite and increasing");
  plot_.y_range = {0, 1};
  plot_.log_y = true;
  EXPECT_EQ(error<std::invalid_argument>([&] { plot_.save(folder_ / "p.png"); }),
            "plot: the y range is [0, 1]; it must be finite and increasing, and above 0 on a log scale");
}

}  // namespace
