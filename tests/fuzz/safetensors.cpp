#include <stdexcept>
#include <xtgrad/checkpoint/safetensors.hpp>

#include "bits.hpp"
#include "target.hpp"

using namespace xtgrad;

namespace {

struct Model {
  Tensor<> weight{{1, 2}, {3, 4}}, scalar = 5;
  std::int64_t count = 6;
  double number = 7;

  std::vector<StateEntry<float>> state() {
    return {{"weight", &weight}, {"scalar", &scalar, StateRule::not_negative}, {"count", &count}, {"number", &number}};
  }
};

}  // namespace

std::vector<std::pair<std::string, std::string>> make_seeds() {
  Model model;
  const StateDict<float> values = copy_state(model.state());
  return {{"all.safetensors", to_safetensors(values)},
          {"metadata.safetensors", to_safetensors(values, {{"note", "\"x\" \n \xc3\xa9"}})}};
}

// What is accepted is a valid file of this model; what is not leaves the model as it was.
bool read_as_file(const std::string& content) {
  Model model;
  const std::vector<StateEntry<float>> places = model.state();
  std::string before, after;
  append_bits(before, places);
  try {
    const Safetensors file = Safetensors::parse(content, "file");
    std::size_t bytes = 0;
    for (const Safetensors::Entry& entry : file.tensors()) bytes += file.bytes(entry).size();
    promise(bytes <= content.size(), "tensors do not overlap");
    load_state(places, file);
  } catch (const std::runtime_error& error) {
    promise(std::string(error.what()).starts_with("file: "), "an error names the file");
    append_bits(after, places);
    promise(after == before, "an error changes nothing");
    return false;
  }
  promise(model.count >= 0 && model.scalar.item() >= 0, "the rules of the places are kept");
  load_state(places, Safetensors::parse(to_safetensors(copy_state(places)), "again"));
  return true;
}
