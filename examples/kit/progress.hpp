// A progress bar in one line of the terminal.
//
//     kit::Progress bar("epoch 3/20", steps);
//     for (...) bar.advance();          epoch 3/20 [##############------------]  54%
//     bar.clear();                      the line is empty again, ready for the epoch's result
//
// It is drawn on stdout if that is a terminal; on a pipe or in a file nothing of it appears.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace kit {

class Progress {
 public:
  Progress(std::string label, std::size_t total);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::size_t steps = 1);

  /// Erases the line.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  std::size_t total_;
  std::size_t done_ = 0;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point next_draw_;
};

/// The bar as text, shorter than `width`: label, bar and percentage. Where room is short the bar goes first,
/// then the label's end.
std::string progress_line(const std::string& label, std::size_t done, std::size_t total, std::size_t width);

}  // namespace kit
