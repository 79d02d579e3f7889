#include <stdexcept>
#include <xtgrad/checkpoint/safetensors.hpp>

#include "bits.hpp"
#include "target.hpp"

using namespace xtgrad;

// What is accepted is a valid file of this model; what is not leaves the model as it was.
bool read_as_file(const std::string& content) {
  Tensor<> weight{{1, 2}, {3, 4}}, scalar = 5;
  std::int64_t count = 6;
  double number = 7;
  const std::vector<StateEntry<float>> places{
      {"weight", &weight}, {"scalar", &scalar, StateRule::not_negative}, {"count", &count}, {"number", &number}};
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
  promise(count >= 0 && scalar.item() >= 0, "the rules of the places are kept");
  load_state(places, Safetensors::parse(to_safetensors(copy_state(places)), "again"));
  return true;
}
