#include "interrupt.hpp"

#include <csignal>

namespace kit {
namespace {

volatile std::sig_atomic_t signal_seen = 0;

extern "C" void note(int signal) {
  signal_seen = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  std::signal(SIGINT, note);
  std::signal(SIGTERM, note);
}

int interrupted() noexcept { return signal_seen; }

}  // namespace kit
