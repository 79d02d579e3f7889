// crash [KILLS]: kills a process that saves checkpoints, so many times, at random moments. Every load after that must give
// a state that was saved, bit for bit, and none older than what was there at the kill before.
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>

#include "../framework/checkpoint/files.hpp"
#include "xtgrad/checkpoint/checkpoint.hpp"

namespace {

using namespace xtgrad;

// The n-th state: a hundred thousand numbers and a generator that only n can have given.
struct State {
  explicit State(std::int64_t number = 0) : n(number), noise(static_cast<std::uint64_t>(number)) {
    values = noise.normal<float>({1000, 100});
  }
  std::vector<StateEntry<float>> state() { return {{"values", &values}}; }
  Training<float> training() { return {.more = {{"n", &n}, {"noise", &noise}}}; }

  using value_type = float;
  std::int64_t n;
  Generator noise;
  Tensor<> values;
};

void save(const std::string& path, std::int64_t n) {
  State state(n);
  save_checkpoint(path, state, state.training());
}

// The number of the state in the file. Throws if it is not, bit for bit, the state of that number.
std::int64_t load(const std::string& path) {
  State loaded;
  load_checkpoint(path, loaded, loaded.training());
  State expected(loaded.n);
  if (test::content_of(path) != detail::to_checkpoint(expected.state(), expected.training()))
    throw std::runtime_error(fmt::format("{}: not the state {} that was saved", path, loaded.n));
  return loaded.n;
}

int run(int kills) {
  const test::TemporaryFolder folder;
  const std::string path = folder.path("run.safetensors");
  Generator random(1);
  save(path, 0);
  std::int64_t last = 0, unchanged = 0, midway = 0;
  for (int i = 0; i < kills; ++i) {
    const pid_t child = ::fork();
    if (child < 0) throw std::runtime_error("no process could be started");
    if (child == 0) {
      for (std::int64_t n = last + 1;; ++n) save(path, n);
    }
    ::usleep(static_cast<useconds_t>(random.below(12000)));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSIGNALED(status)) throw std::runtime_error("the process ended before it was killed");
    for (const std::string& name : folder.names()) midway += name.ends_with(".tmp") ? 1 : 0;
    const std::int64_t now = load(path);
    if (now < last) throw std::runtime_error(fmt::format("state {} is gone, state {} is back", last, now));
    if (std::filesystem::exists(path + ".previous") && load(path + ".previous") > now)
      throw std::runtime_error("the previous state is newer than the one after it");
    unchanged += now == last ? 1 : 0;
    last = now;
  }
  if (kills >= 50 && midway == 0) throw std::runtime_error("no kill was in the middle of a file: this shows nothing");
  fmt::print(
      "crash: {} kills, {} of them in the middle of a file; {} found the old state and {} a new one, none lost\n",
      kills, midway, unchanged, kills - unchanged);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  return run(argc > 1 ? std::atoi(argv[1]) : 1000);
} catch (const std::exception& error) {
  fmt::print(stderr, "crash: {}\n", error.what());
  return 1;
}
