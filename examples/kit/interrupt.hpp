// Ctrl-C, and the signals by which a system or a terminal that closes asks a program to end, as a question that a training
// loop can ask.
#pragma once

namespace kit {

/// From here on SIGINT, SIGTERM and SIGHUP do not end the program: the first is noted, a second one ends it.
void catch_interrupts();

/// The signal that came, or 0.
int interrupted() noexcept;

}  // namespace kit
