// The frame of every example program: its command line, its errors and its exit status.
//
//     int main(int argc, char** argv) {
//       CLI::App app{"Trains an MLP on the digits"};
//       int epochs = 20;
//       app.add_option("--epochs", epochs, "passes over the data")->check(kit::whole());
//       return kit::run_main(app, argc, argv, [&] { train(epochs); });
//     }
//
// Exit status: 0 for success and --help, 2 for anything else, with one line on stderr that says what and, for
// options, where to look.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <limits>

namespace kit {

/// Parses the command line and runs the body. A bad option, an exception of the body and an output that could
/// not be written (a full disk, a closed pipe) each give one line on stderr and the status 2. An option whose value is
/// empty is a bad one: it comes from a variable that was not set.
int run_main(CLI::App& app, int argc, char** argv, const std::function<void()>& body);

// Checks for number options. CLI11's own let nan, 010 (as 8) and -3 (as 2^64 - 3) pass, and answer 3x with
// the 309 digits of the largest double.

/// A whole number in decimal digits.
CLI::Validator whole(std::int64_t least = 1, std::int64_t most = std::numeric_limits<std::int64_t>::max());

/// A finite number above 0.
CLI::Validator positive();

/// A finite number from least to most.
CLI::Validator between(double least, double most);

}  // namespace kit
