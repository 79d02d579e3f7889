// studies: every study, and one table of all their claims; also as `examples/run all`
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <vector>
#include <xtgrad/checkpoint/atomic_file.hpp>

#include "kit/interrupt.hpp"
#include "kit/options.hpp"
#include "kit/process.hpp"
#include "kit/progress.hpp"
#include "kit/study.hpp"
#include "kit/table.hpp"

namespace {

namespace fs = std::filesystem;

struct Options {
  std::uint64_t seed = 0;
  std::size_t seeds = 0;  // 0: what each study takes if not told otherwise
  std::size_t jobs = std::max(1U, std::thread::hardware_concurrency());
  bool quick = false;
  std::string plots, json;
};

// A folder for as long as this lives.
struct Folder {
  fs::path path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "studies-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error(name + ": no temporary folder");
    path = name;
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
};

[[noreturn]] void fail(const fs::path& file) {
  throw std::runtime_error(
      fmt::format("{}: cannot be written: {}", file.string(), std::generic_category().message(errno)));
}

struct OpenFile {
  int descriptor;
  OpenFile(const fs::path& file, int flags) : descriptor(open(file.c_str(), flags | O_CLOEXEC, 0666)) {
    if (descriptor < 0) fail(file);
  }
  ~OpenFile() { close(descriptor); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
};

// Where results are to be written: tried at once. What is there stays until there are new ones; if none come, an empty file
// that was not there before is removed.
struct Place {
  fs::path file;
  bool is_new;
  explicit Place(const fs::path& name) : file(name), is_new(!name.empty() && !fs::exists(name)) {
    if (!file.empty()) OpenFile(file, O_WRONLY | O_CREAT);
  }
  ~Place() {
    std::error_code ignored;
    if (is_new && fs::is_empty(file, ignored)) fs::remove(file, ignored);
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
};

std::vector<std::string> names() {
  std::istringstream list(XTGRAD_STUDIES);
  return {std::istream_iterator<std::string>(list), {}};
}

std::string content(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// What a study printed, and its claims as JSON lines.
struct Result {
  std::string output, claims;
};

// Runs a study; what it writes goes to `folder`. Throws with its own line if it fails.
Result run_study(const std::string& name, const Options& o, const fs::path& folder) {
  const fs::path file = folder / name;
  const std::string output = file.string() + ".out", errors = file.string() + ".err", json = file.string() + ".jsonl";
  std::vector<std::string> command{fs::read_symlink("/proc/self/exe").replace_filename(name).string(), "--seed",
                                   std::to_string(o.seed), "--json", json};
  if (o.quick) command.push_back("--quick");
  if (o.seeds > 0) command.insert(command.end(), {"--seeds", std::to_string(o.seeds)});
  if (!o.plots.empty()) command.insert(command.end(), {"--plot", (fs::path(o.plots) / (name + ".png")).string()});

  const OpenFile in("/dev/null", O_RDONLY), out(output, O_WRONLY | O_CREAT), err(errors, O_WRONLY | O_CREAT);
  const int status = kit::run_process(command, in.descriptor, out.descriptor, err.descriptor, true);
  const std::string said = content(errors);
  if (status > 128) throw std::runtime_error(fmt::format("{}: ended by signal {}", name, status - 128));
  if (status != 0)
    throw std::runtime_error(fmt::format("{}: exit status {}: {}", name, status, said.substr(0, said.find('\n'))));
  Result result{content(output) + said, content(json)};
  if (result.claims.empty()) throw std::runtime_error(name + ": no claims");
  return result;
}

// All of them, `jobs` at a time; printed in their order, each as soon as it and those before it are done.
std::vector<std::pair<std::string, std::string>> run_all(const Options& o) {
  const Folder folder;
  const std::vector<std::string> studies = names();
  std::vector<std::promise<Result>> results(studies.size());
  std::atomic<std::size_t> next = 0;
  const auto work = [&] {
    for (std::size_t i; (i = next++) < studies.size();) try {
        results[i].set_value(run_study(studies[i], o, folder.path));
      } catch (...) {
        results[i].set_exception(std::current_exception());
        next = studies.size();
      }
  };
  std::vector<std::jthread> workers;
  // Before the workers are waited for, also where printing fails: what has not begun need not.
  const std::unique_ptr<void, std::function<void(void*)>> stop(&next, [&](void*) { next = studies.size(); });
  for (std::size_t i = 0; i < o.jobs; ++i) workers.emplace_back(work);

  std::vector<std::pair<std::string, std::string>> claims;
  kit::Progress bar("studies", studies.size());
  for (std::size_t i = 0; i < studies.size(); ++i) {
    bar.advance(i > 0);
    const Result result = results[i].get_future().get();
    bar.clear();
    fmt::print("== {} ==\n{}\n", studies[i], result.output);
    std::fflush(stdout);
    claims.emplace_back(studies[i], result.claims);
  }
  return claims;
}

kit::Claim parse(const nlohmann::json& line) {
  const auto number = [&line](const char* key) {  // JSON has neither nan nor inf
    return line.at(key).is_null() ? std::numeric_limits<double>::quiet_NaN() : line.at(key).get<double>();
  };
  return {line.at("claim"),    line.at("relation").get<std::string>()[0],     line.at("exact"), number("expected"),
          number("tolerance"), {number("measured"), number("standard_error")}};
}

void run(const Options& o) try {
  kit::catch_interrupts();  // the studies are told, and their folder is removed
  const Place place(o.json);
  const auto start = std::chrono::steady_clock::now();
  const auto results = run_all(o);

  std::vector<std::string> headers = kit::Claim::headers();
  headers.insert(headers.begin(), "study");
  kit::Table table(headers);
  std::map<std::string, int> verdicts;
  std::size_t claims = 0;
  std::string json;
  for (const auto& [study, lines] : results) {
    json += lines;
    std::istringstream stream(lines);
    for (std::string line; std::getline(stream, line); ++claims) {
      const nlohmann::json object = nlohmann::json::parse(line);
      std::vector<std::string> cells = parse(object).cells();
      cells.back() = object.at("verdict");
      ++verdicts[cells.back()];
      cells.insert(cells.begin(), study);
      table.add(cells);
    }
  }
  if (!o.json.empty()) xtgrad::write_file(o.json, json);
  fmt::print("{}\n{} claims of {} studies in {:.0f} s: {} reproduce, {} do not, {} are inconclusive\n", table.text(),
             claims, results.size(), std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
             verdicts["reproduces"], verdicts["does not reproduce"], verdicts["inconclusive"]);
} catch (const std::exception&) {
  if (kit::interrupted() != 0) std::exit(128 + kit::interrupted());
  throw;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs every study, and ends with one table of all claims and verdicts"};
  Options o;
  app.add_option("--seed", o.seed, "the first seed of each")->check(kit::whole(0))->capture_default_str();
  app.add_option("--seeds", o.seeds, "how many seeds for each [its own number]")->check(kit::whole(1, 100000));
  app.add_option("--jobs", o.jobs, "studies at a time")->check(kit::whole(1, 1024))->capture_default_str();
  app.add_flag("--quick", o.quick, "shorter runs, with larger errors");
  app.add_option("--plots", o.plots, "draw the plot of each into FOLDER/NAME.png")->check(CLI::ExistingDirectory);
  app.add_option("--json", o.json, "write a line for each claim to FILE");
  return kit::run_main(app, argc, argv, [&] { run(o); });
}
