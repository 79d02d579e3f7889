// Another program, run to its end.
#pragma once

#include <string>
#include <vector>

namespace kit {

/// Runs a command, whose program is found as a shell finds it, with these file descriptors as its input, output and errors.
/// With `hand_on` it is sent the signal that catch_interrupts() notes. Returns its exit status, or 128 and the number of the signal that
/// ended it. Throws std::runtime_error if it cannot be started.
int run_process(const std::vector<std::string>& command, int in, int out, int err, bool hand_on = false);

}  // namespace kit
