#include "options.hpp"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace kit {
namespace {

constexpr int failure = 2;

std::string one_line(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return (c >= 0 && c < ' ') || c == '\x7f'; }, ' ');
  return text.substr(0, text.find_last_not_of(' ') + 1);
}

int report(const std::string& program, const std::string& message) {
  std::cout.flush();
  std::fflush(stdout);
  fmt::print(stderr, "{}: {}\n", program, one_line(message));
  return failure;
}

/// CLI11's message, in the form `--option: what is wrong`.
std::string message_of(const CLI::ParseError& error) {
  const std::string text = error.what();
  constexpr std::string_view unconverted = "Could not convert: ";
  if (const std::size_t equals = text.find(" = "); text.starts_with(unconverted) && equals != text.npos)
    return fmt::format("{}: \"{}\" is not a value of its type, or is out of range",
                       text.substr(unconverted.size(), equals - unconverted.size()), text.substr(equals + 3));
  if (const std::size_t count = text.find(": 1 required "); text.ends_with(" missing") && count != text.npos)
    return text.substr(0, count) + ": its value is missing";
  return text;
}

/// A descriptor that the caller closed would be given to the next file opened, and the program's output would
/// go into that file. What is opened here takes the number and refuses to be written.
void occupy_closed_descriptors() {
  for (const int descriptor : {0, 1, 2})
    if (fcntl(descriptor, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) std::abort();
}

bool flush_stdout() {
  errno = 0;
  std::cout.flush();
  return std::fflush(stdout) == 0 && !std::ferror(stdout) && std::cout.good();
}

template <class Number> std::optional<Number> parse(const std::string& text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

CLI::Validator real(const std::function<bool(double)>& allowed, const std::string& range) {
  return CLI::Validator(
      [=](std::string& text) {
        const auto number = parse<double>(text);
        if (number && std::isfinite(*number) && allowed(*number)) return std::string();
        return fmt::format("\"{}\" is not a number {}", text, range);
      },
      range);
}

}  // namespace

int run_main(CLI::App& app, int argc, char** argv, const std::function<void()>& body) {
  occupy_closed_descriptors();
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe then shows as a failed write
  const std::string program =
      app.get_name().empty() && argc > 0 ? std::filesystem::path(argv[0]).filename().string() : app.get_name();
  app.name(program);
  try {
    app.parse(argc, argv);
    for (const CLI::Option* option : std::as_const(app).get_options())
      for (const std::string& value : option->results())
        if (value.empty()) throw CLI::ValidationError(option->get_name(), "its value is empty");
    body();
  } catch (const CLI::Success& help) {
    app.exit(help);
  } catch (const CLI::ParseError& error) {
    return report(program, message_of(error) + "; try --help");
  } catch (const std::exception& error) {
    return report(program, error.what());
  }
  if (flush_stdout()) return 0;
  const std::string reason = errno ? ": " + std::generic_category().message(errno) : "";
  return report(program, "the output could not be written" + reason);
}

CLI::Validator whole(std::int64_t least, std::int64_t most) {
  const bool bounded = most < std::numeric_limits<std::int64_t>::max();
  const std::string range = bounded ? fmt::format("from {} to {}", least, most) : fmt::format("at least {}", least);
  return CLI::Validator(
      [=](std::string& text) {
        const auto number = parse<std::int64_t>(text);
        const bool octal = text.size() > 1 && text[0] == '0';  // CLI11 would read 010 as 8
        if (number && !octal && *number >= least && *number <= most) return std::string();
        return fmt::format("\"{}\" is not a whole number {}{}", text, bounded ? "" : "of ", range);
      },
      range);
}

CLI::Validator positive() {
  return real([](double number) { return number > 0; }, "above 0");
}

CLI::Validator between(double least, double most) {
  return real([=](double number) { return number >= least && number <= most; },
              fmt::format("from {} to {}", least, most));
}

}  // namespace kit
