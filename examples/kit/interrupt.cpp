#include "interrupt.hpp"

#include <csignal>
#include <initializer_list>

namespace kit {
namespace {

volatile std::sig_atomic_t signal_seen = 0;

extern "C" void note(int signal) {
  signal_seen = signal;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM})
    if (std::signal(signal, note) == SIG_IGN) std::signal(signal, SIG_IGN);  // as under nohup
}

int interrupted() noexcept { return signal_seen; }

}  // namespace kit
