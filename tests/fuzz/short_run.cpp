// short_run RUNS SEED...: the target on its seeds, each of which it must accept, and on RUNS random changes of them. It
// needs no libFuzzer, and finds less.
// short_run seeds FOLDER: writes the seeds.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

#include "target.hpp"

namespace {

std::mt19937_64 engine(1);

std::size_t below(std::size_t n) { return n == 0 ? 0 : engine() % n; }

void change(std::string& content, const std::string& other) {
  const std::size_t at = below(content.size() + 1), length = below(content.size() - at + 1);
  switch (below(6)) {
    case 0:
      if (at < content.size()) content[at] = static_cast<char>(content[at] ^ (1 << below(8)));
      break;
    case 1:
      if (at < content.size()) content[at] = static_cast<char>(engine());
      break;
    case 2:
      content.erase(at, below(9));
      break;
    case 3:
      content.insert(at, content, below(content.size() + 1), below(17));
      break;
    case 4:
      content.resize(at);
      break;
    default:
      content.replace(at, length, other, below(other.size() + 1), length);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argv[1] == std::string("seeds")) {
    for (const auto& [name, content] : make_seeds())
      std::ofstream(std::filesystem::path(argv[2]) / name, std::ios::binary) << content;
    return 0;
  }
  const long runs = std::atol(argv[1]);
  std::vector<std::string> seeds;
  for (int i = 2; i < argc; ++i) {
    std::ifstream in(argv[i], std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
    promise(read_as_file(seeds.back()), argv[i]);
  }
  long accepted = 0;
  for (long run = 0; run < runs; ++run) {
    std::string content = seeds[below(seeds.size())];
    for (std::size_t changes = 1 + below(4); changes > 0; --changes) change(content, seeds[below(seeds.size())]);
    accepted += read_as_file(content) ? 1 : 0;
  }
  std::printf("%ld runs, %ld of them accepted\n", runs, accepted);
}
