#include "progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace kit {
namespace {

constexpr std::chrono::milliseconds redraw_interval{50};

bool stdout_is_terminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDOUT_FILENO) && term && std::string_view(term) != "dumb";  // a dumb one cannot erase
}

std::size_t terminal_width() {
  winsize size{};
  const bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

void draw(const std::string& line) {
  fmt::print("\r{}\x1b[K", line);
  std::fflush(stdout);
}

}  // namespace

std::string progress_line(const std::string& label, std::size_t done, std::size_t total, std::size_t width) {
  const double share = total == 0 ? 1 : static_cast<double>(std::min(done, total)) / static_cast<double>(total);
  const std::string percent = fmt::format("{:3}%", static_cast<int>(100 * share));
  const std::size_t room = width == 0 ? 0 : width - 1;  // a full line would wrap on some terminals
  if (room < percent.size()) return "";

  constexpr std::size_t shortest = 5, longest = 40;
  const std::size_t around = label.size() + std::string_view(" [] ").size() + percent.size();
  if (room < around + shortest) {
    const std::string start = label.substr(0, room - percent.size());
    return start + std::string(start.size() + percent.size() < room ? 1 : 0, ' ') + percent;
  }
  const std::size_t length = std::min(room - around, longest);
  const auto filled = static_cast<std::size_t>(share * static_cast<double>(length));
  return fmt::format("{} [{:#<{}}{:-<{}}] {}", label, "", filled, "", length - filled, percent);
}

Progress::Progress(std::string label, std::size_t total)
    : label_(std::move(label)),
      total_(total),
      terminal_(stdout_is_terminal()),
      next_draw_(Clock::now() + redraw_interval) {}

void Progress::advance(std::size_t steps) {
  done_ += steps;
  if (!terminal_ || Clock::now() < next_draw_) return;
  draw(progress_line(label_, done_, total_, terminal_width()));
  drawn_ = true;
  next_draw_ = Clock::now() + redraw_interval;
}

void Progress::clear() {
  if (std::exchange(drawn_, false)) draw("");
}

}  // namespace kit
