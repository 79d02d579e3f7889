#include "kit/progress.hpp"

#include <fcntl.h>
#include <pty.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "support.hpp"

namespace {

using namespace std::chrono_literals;
using kit::test::in_child;

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

}  // namespace
