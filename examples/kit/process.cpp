#include "process.hpp"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <utility>

#include "interrupt.hpp"

namespace kit {

int run_process(const std::vector<std::string>& command, int in, int out, int err, bool hand_on) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);

  posix_spawn_file_actions_t redirections;
  posix_spawn_file_actions_init(&redirections);
  posix_spawn_file_actions_adddup2(&redirections, in, STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&redirections, out, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&redirections, err, STDERR_FILENO);
  pid_t child = 0;
  const int error = posix_spawnp(&child, arguments[0], &redirections, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&redirections);
  if (error)
    throw std::runtime_error(
        fmt::format("{} cannot be started: {}", command[0], std::generic_category().message(error)));

  int status = 0;
  for (bool told = false; waitpid(child, &status, WNOHANG) == 0;
       std::this_thread::sleep_for(std::chrono::milliseconds(5)))
    if (hand_on && interrupted() != 0 && !std::exchange(told, true)) kill(child, interrupted());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace kit
