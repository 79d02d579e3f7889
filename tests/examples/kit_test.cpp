#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kit/csv_log.hpp"
#include "kit/options.hpp"
#include "kit/plot.hpp"
#include "kit/progress.hpp"
#include "kit/table.hpp"

namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

std::string content(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

template <class Error> std::string error(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

/// A folder for one test, removed after it.
class InFolder : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / fmt::format("xtgrad_kit_{}_{}", test->test_suite_name(), test->name());
    fs::remove_all(folder_);
    fs::create_directory(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::size_t files() const { return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  fs::path folder_;
};

/// Runs `action` in a process of its own, whose exit status it returns, with stdout being `out`.
int in_child(int out, int err, const std::function<int()>& action) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(out, STDOUT_FILENO);
    dup2(err, STDERR_FILENO);
    const int status = action();
    std::fflush(stdout);
    _exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// --- Table

TEST(Table, TextIsAlignedLeftAndNumbersRight) {
  kit::Table table({"optimizer", "loss", "accuracy", "time"});
  table.add({"sgd", "0.31", "91.2%", "5 ms"});
  table.add({"adam", "-10.5", "100%", "-"});
  EXPECT_EQ(table.text(),
            "optimizer   loss  accuracy  time\n"
            "---------  -----  --------  ----\n"
            "sgd         0.31     91.2%  5 ms\n"
            "adam       -10.5      100%     -\n");
}

TEST(Table, AColumnWithOneTextIsAlignedLeft) {
  kit::Table table({"value", "b"});
  table.add({"1", "64x8"});
  table.add({"none", ""});
  EXPECT_EQ(table.text(),
            "value  b\n"
            "-----  ----\n"
            "1      64x8\n"
            "none\n");
}

TEST(Table, ATableWithoutRowsIsItsHeader) { EXPECT_EQ(kit::Table({"a", "bb"}).text(), "a  bb\n-  --\n"); }

TEST(Table, ARowOfAnotherLengthIsRefused) {
  kit::Table table({"a", "b"});
  EXPECT_EQ(error<std::invalid_argument>([&] { table.add({"1"}); }),
            "table: a row of 1 cells was added, but there are 2 headers");
}

// --- Progress

TEST(Progress, TheLineShowsLabelBarAndPercentage) {
  EXPECT_EQ(kit::progress_line("epoch 1/2", 0, 4, 28), "epoch 1/2 [----------]   0%");
  EXPECT_EQ(kit::progress_line("epoch 1/2", 2, 4, 28), "epoch 1/2 [#####-----]  50%");
  EXPECT_EQ(kit::progress_line("epoch 1/2", 4, 4, 28), "epoch 1/2 [##########] 100%");
}

TEST(Progress, TheLineIsShorterThanAnyWidth) {
  for (std::size_t width = 0; width < 200; ++width)
    for (std::size_t done : {0u, 1u, 3u})
      EXPECT_LE(kit::progress_line("epoch 1/2", done, 3, width).size(), width == 0 ? 0 : width - 1) << width;
}

TEST(Progress, TinyWidthsKeepThePercentage) {
  EXPECT_EQ(kit::progress_line("epoch", 1, 2, 4), "");
  EXPECT_EQ(kit::progress_line("epoch", 1, 2, 5), " 50%");
  EXPECT_EQ(kit::progress_line("epoch", 1, 2, 8), "epo 50%");
  EXPECT_EQ(kit::progress_line("epoch", 1, 2, 13), "epoch  50%");
}

TEST(Progress, MoreStepsThanTheTotalAre100Percent) {
  EXPECT_EQ(kit::progress_line("e", 9, 4, 15), "e [#####] 100%");
  EXPECT_EQ(kit::progress_line("e", 0, 0, 15), "e [#####] 100%");
}

void advance_slowly() {
  kit::Progress bar("epoch", 4);
  for (int step = 0; step < 2; ++step) {
    std::this_thread::sleep_for(60ms);
    bar.advance();
  }
}

TEST(Progress, NothingIsPrintedIntoAPipe) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const int status = in_child(ends[1], STDERR_FILENO, [] {
    setenv("TERM", "xterm", 1);
    advance_slowly();
    return 0;
  });
  close(ends[1]);
  char byte = 0;
  EXPECT_EQ(read(ends[0], &byte, 1), 0);  // the end of the pipe, and nothing before it
  close(ends[0]);
  EXPECT_EQ(status, 0);
}

/// What appears on a terminal of this width.
std::string on_terminal(unsigned short width, const std::function<void()>& action) {
  int terminal = -1, program = -1;
  winsize size{24, width, 0, 0};
  if (openpty(&terminal, &program, nullptr, nullptr, &size) != 0) return "no terminal";
  const int status = in_child(program, STDERR_FILENO, [&] {
    setenv("TERM", "xterm", 1);
    action();
    return 0;
  });
  EXPECT_EQ(status, 0);
  char shown[4096];
  fcntl(terminal, F_SETFL, O_NONBLOCK);
  const ssize_t size_shown = read(terminal, shown, sizeof shown);
  close(program);
  close(terminal);
  return {shown, static_cast<std::size_t>(std::max<ssize_t>(size_shown, 0))};
}

TEST(Progress, ATerminalShowsTheBarAndThenAnEmptyLine) {
  EXPECT_EQ(on_terminal(24, advance_slowly),
            "\r"
            "epoch [##--------]  25%\x1b[K"
            "\r"
            "epoch [#####-----]  50%\x1b[K"
            "\r\x1b[K");
}

TEST(Progress, ATerminalOfUnknownWidthCountsAs80Columns) {
  const std::string shown = on_terminal(0, advance_slowly);
  EXPECT_NE(shown.find("epoch [##########------------------------------]  25%"), shown.npos) << shown;
}

TEST(Progress, TheBarIsDrawnAtMostEvery50Milliseconds) {
  const auto start = std::chrono::steady_clock::now();
  const std::string shown = on_terminal(80, [] {
    kit::Progress bar("epoch", 1000);
    for (int step = 0; step < 1000; ++step) bar.advance();
  });
  const auto draws = std::count(shown.begin(), shown.end(), '\r');
  EXPECT_LE(draws, (std::chrono::steady_clock::now() - start) / 50ms + 1);  // the last one clears
}

// --- CsvLog

using CsvLog = InFolder;

TEST_F(CsvLog, RowsAreInTheFileAtOnce) {
  kit::CsvLog log(folder_ / "m.csv", {"epoch", "loss", "note"});
  EXPECT_EQ(content(folder_ / "m.csv"), "epoch,loss,note\n");
  log.row(1, 0.1, "a");
  log.row(2, 0.1f, std::string("say \"hi\", twice"));
  EXPECT_EQ(content(folder_ / "m.csv"), "epoch,loss,note\n1,0.1,a\n2,0.1,\"say \"\"hi\"\", twice\"\n");
}

TEST_F(CsvLog, ARowOfAnotherLengthIsRefused) {
  kit::CsvLog log(folder_ / "m.csv", {"epoch", "loss"});
  EXPECT_EQ(error<std::invalid_argument>([&] { log.row(1); }),
            "csv log: " + (folder_ / "m.csv").string() + ": a row of 1 values, but there are 2 columns");
}

TEST_F(CsvLog, AMissingFolderIsAnErrorAtOnce) {
  const fs::path path = folder_ / "none" / "m.csv";
  EXPECT_EQ(error<std::runtime_error>([&] { kit::CsvLog(path, {"a"}); }),
            path.string() + ": cannot be written: No such file or directory");
}

TEST_F(CsvLog, AFullDiskIsAnErrorAtOnce) {
  EXPECT_EQ(error<std::runtime_error>([&] { kit::CsvLog("/dev/full", {"a"}); }),
            "/dev/full: cannot be written: No space left on device");
}

// --- Plot

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

// --- run_main

struct Outcome {
  int status;
  std::string out, err;
};

class RunMain : public InFolder {
 protected:
  /// Runs a program with --epochs, --seed, --lr and --momentum; its output goes to `stdout_path`, if given.
  Outcome run(
      std::vector<std::string> arguments, const std::function<void()>& body = [] {},
      const char* stdout_path = nullptr) {
    const fs::path out_path = folder_ / "out", err_path = folder_ / "err";
    const int out = open(stdout_path ? stdout_path : out_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    const int err = open(err_path.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
    const int status = in_child(out, err, [&] { return program(std::move(arguments), body); });
    close(out);
    close(err);
    return {status, stdout_path ? "" : content(out_path), content(err_path)};
  }

  static int program(std::vector<std::string> arguments, const std::function<void()>& body) {
    CLI::App app{"Trains"};
    int epochs = 3;
    std::size_t seed = 0;
    double lr = 0.1, momentum = 0.9;
    app.add_option("--epochs", epochs, "passes over the data")->check(kit::whole())->capture_default_str();
    app.add_option("--seed", seed, "of the generator")->check(kit::whole(0, 99));
    app.add_option("--lr", lr, "step size")->check(kit::positive());
    app.add_option("--momentum", momentum, "of sgd")->check(kit::between(0, 1));
    arguments.insert(arguments.begin(), "/some/where/train_mlp");
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    return kit::run_main(app, static_cast<int>(arguments.size()), argv.data(), [&] {
      std::printf("epochs %d seed %zu lr %g momentum %g\n", epochs, seed, lr, momentum);
      body();
    });
  }

  void expect_refused(const std::vector<std::string>& arguments, const std::string& message) {
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_EQ(outcome.err, "train_mlp: " + message + "; try --help\n");
  }
};

TEST_F(RunMain, ARunThatEndsWellReturns0) {
  const Outcome outcome = run({"--epochs", "7", "--seed", "0", "--lr=1e-3", "--momentum", "0"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.out, "epochs 7 seed 0 lr 0.001 momentum 0\n");
  EXPECT_EQ(outcome.err, "");
}

TEST_F(RunMain, HelpIsPrintedToStdoutAndReturns0) {
  const Outcome outcome = run({"--help"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_NE(outcome.out.find("Usage: train_mlp [OPTIONS]"), outcome.out.npos) << outcome.out;
  EXPECT_NE(outcome.out.find("--epochs"), outcome.out.npos) << outcome.out;
  EXPECT_EQ(outcome.err, "");
}

TEST_F(RunMain, BadOptionsReturn2WithOneLine) {
  for (const char* junk : {"3x", "0", "-1", "1.5", "", " 3", "010", "0x10", "nan", "99999999999999999999"})
    expect_refused({"--epochs", junk}, fmt::format("--epochs: \"{}\" is not a whole number of at least 1", junk));
  expect_refused({"--epochs", "3\n4"}, "--epochs: \"3 4\" is not a whole number of at least 1");
  expect_refused({"--epochs", "9999999999"}, "--epochs: \"9999999999\" is not a value of its type, or is out of range");
  expect_refused({"--epochs"}, "--epochs: its value is missing");
  expect_refused({"--seed", "-3"}, "--seed: \"-3\" is not a whole number from 0 to 99");
  for (const char* junk : {"nan", "inf", "0", "-1", "1e999", "x", "0x1p3", "1,5"})
    expect_refused({"--lr", junk}, fmt::format("--lr: \"{}\" is not a number above 0", junk));
  expect_refused({"--momentum", "1.5"}, "--momentum: \"1.5\" is not a number from 0 to 1");
  expect_refused({"--foo"}, "The following argument was not expected: --foo");
}

TEST_F(RunMain, ErrorsOfTheBodyReturn2WithOneLine) {
  const Outcome outcome = run({}, [] { throw std::runtime_error("a.csv: no\nsuch file\n"); });
  EXPECT_EQ(outcome.status, 2);
  EXPECT_EQ(outcome.err, "train_mlp: a.csv: no such file\n");
  EXPECT_EQ(run({}, [] { throw std::invalid_argument("linear: no"); }).err, "train_mlp: linear: no\n");
  EXPECT_EQ(run({}, [] { throw std::bad_alloc(); }).status, 2);
}

TEST_F(RunMain, AFullDiskUnderStdoutReturns2) {
  for (const bool in_help : {false, true}) {
    const Outcome outcome = run(
        in_help ? std::vector<std::string>{"--help"} : std::vector<std::string>{}, [] {}, "/dev/full");
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(outcome.err, "train_mlp: the output could not be written: No space left on device\n");
  }
}

TEST_F(RunMain, AClosedPipeReturns2AfterTheBodyHasEnded) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[0]);
  const fs::path done = folder_ / "done";
  const int status = in_child(ends[1], open("/dev/null", O_WRONLY), [&] {
    return program({}, [&] {
      std::fflush(stdout);
      std::ofstream(done) << "done";
    });
  });
  close(ends[1]);
  EXPECT_EQ(status, 2);
  EXPECT_EQ(content(done), "done");
}

TEST_F(RunMain, AClosedStdoutReturns2AndSparesTheFilesOfTheBody) {
  const fs::path file = folder_ / "m.csv";
  const Outcome outcome = run({}, [] {});
  EXPECT_EQ(outcome.status, 0);
  const int status = in_child(STDOUT_FILENO, open("/dev/null", O_WRONLY), [&] {
    close(STDOUT_FILENO);
    return program({}, [&] { kit::CsvLog(file, {"a"}).row(1); });
  });
  EXPECT_EQ(status, 2);
  EXPECT_EQ(content(file), "a\n1\n");
}

}  // namespace
