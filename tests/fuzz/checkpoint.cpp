#include <fmt/format.h>
#include <zlib.h>

#include <stdexcept>
#include <xtgrad/checkpoint/checkpoint.hpp>
#include <xtgrad/ops/reduce.hpp>

#include "bits.hpp"
#include "target.hpp"

using namespace xtgrad;

namespace {

struct Run {
  Tensor<> weight = Tensor<>{{1, 2}, {3, 4}}.requires_grad(true);
  Adam<> adam{{weight}, {.lr = 0.1}};
  Scheduler<> schedule{adam, cosine(5)};
  Plateau<> plateau{adam};
  DataLoader<> loader{{Tensor<>{{1}, {2}, {3}}, full_array<std::int64_t>({3}, 0)}, {.batch_size = 2, .shuffle = true}};
  std::int64_t steps = 0;

  // All values but the generators.
  std::string bits() {
    std::string bits;
    for (const auto& part : {model(), adam.state(), schedule.state(), plateau.state(), loader.state()})
      append_bits(bits, part);
    return bits;
  }
  void step() {
    sum(weight).backward();
    adam.step();
    schedule.step();
    plateau.step(1);
    ++steps;
  }
  Generator& order() { return *std::get<Generator*>(loader.state().back().place); }
  std::vector<StateEntry<float>> model() { return {{"weight", &weight}}; }
  Training<float> training() {
    return {
        .optimizer = &adam, .schedule = &schedule, .plateau = &plateau, .loader = &loader, .more = {{"steps", &steps}}};
  }
};

// How a seed has the digits of its checksum, so that a change of it can be given its own.
const std::string kBlank = R"("xtgrad.crc32":"00000000")";

}  // namespace

// At the beginning, in the middle of an epoch, and at its end.
std::vector<std::pair<std::string, std::string>> make_seeds() {
  manual_seed(1);
  Run run;
  std::vector<std::pair<std::string, std::string>> seeds;
  const auto add = [&](const char* name) {
    std::string content = detail::to_checkpoint(run.model(), run.training());
    const std::string key = kBlank.substr(0, kBlank.size() - 9);
    seeds.emplace_back(name, content.replace(content.find(key), kBlank.size(), kBlank));
  };
  add("start.safetensors");
  for (auto [x, y] : run.loader) {
    run.step();
    add(run.steps == 1 ? "midway.safetensors" : "end.safetensors");
  }
  return seeds;
}

// With the checksum that belongs to it, or nothing else would ever be looked at. A run that was loaded can go on.
bool read_as_file(const std::string& content) {
  manual_seed(1);
  Run run;
  const std::string before = run.bits();
  const Generator order = run.order(), draws = default_generator();
  const auto quiet = set_warning_handler([](const std::string&) {});
  try {
    std::string file = content;
    if (const std::size_t at = file.find(kBlank); at != file.npos)
      file.replace(at + kBlank.size() - 9, 8,
                   fmt::format("{:08x}", ::crc32_z(0, reinterpret_cast<const Bytef*>(file.data()), file.size())));
    detail::load_checkpoint(run.model(), run.training(), Safetensors::parse(std::move(file), "file"));
  } catch (const std::runtime_error& error) {
    promise(std::string(error.what()).starts_with("file: "), "an error names the file");
    promise(run.bits() == before && run.order() == order && default_generator() == draws, "an error changes nothing");
    return false;
  }
  for (int epoch = 0; epoch < 2; ++epoch)
    for (auto [x, y] : run.loader) promise(x.size() > 0 && x.size() <= 2, "a batch has one row or two");
  run.step();
  return true;
}
