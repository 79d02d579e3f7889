#include "xtgrad/checkpoint/checkpoint.hpp"

#include "xtgrad/blas.hpp"
#include "xtgrad/check_file.hpp"
#include "xtgrad/kernels/table.hpp"

namespace xtgrad {
namespace {

constexpr const char* kSettings = "training.settings";
constexpr const char* kOptimizer = "training.optimizer";
constexpr const char* kKernels = "training.kernels";

// What decides the last bits of a result.
std::string kernels_here() { return fmt::format("{}, {}", blas::core_name(), kernels::table<float>().instruction_set); }

template <class T> std::string name_of(const Optimizer<T>* optimizer) {
  return optimizer == nullptr ? "none" : optimizer->name();
}

// All places of a run under their names in the file.
template <class T>
std::vector<StateEntry<T>> places_of(const std::vector<StateEntry<T>>& model, const Training<T>& training) {
  std::vector<StateEntry<T>> places;
  for (const StateEntry<T>& place : model) {
    check(!place.name.starts_with("optimizer.") && !place.name.starts_with("training."),
          "checkpoint: {} of the model has a name that is kept for the training; rename its module", place.name);
    places.push_back(place);
  }
  const auto add = [&places](const std::string& prefix, std::vector<StateEntry<T>> entries) {
    for (StateEntry<T>& entry : entries) {
      entry.name = prefix + entry.name;
      places.push_back(std::move(entry));
    }
  };
  if (training.optimizer != nullptr) add("optimizer.", training.optimizer->state());
  if (training.schedule != nullptr) add("training.schedule.", training.schedule->state());
  if (training.plateau != nullptr) add("training.plateau.", training.plateau->state());
  if (training.loader != nullptr) add("training.loader.", training.loader->state());
  add("training.", training.more);
  places.push_back({"training.generator", &default_generator()});
  return places;
}

}  // namespace

template <class T>
std::string detail::to_checkpoint(const std::vector<StateEntry<T>>& model, const Training<T>& training) {
  return to_safetensors(copy_state(places_of(model, training)), {{Safetensors::kChecksum, ""},
                                                                 {kSettings, training.settings},
                                                                 {kOptimizer, name_of(training.optimizer)},
                                                                 {kKernels, kernels_here()}});
}

template <class T>
void detail::load_checkpoint(const std::vector<StateEntry<T>>& model, const Training<T>& training,
                             const Safetensors& file) {
  check_file(file.is_checkpoint(), file.file(),
             "it holds weights, but no training to go on with; load_safetensors() loads them");
  const auto text = [&file](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  check_file(text(kSettings) == training.settings, file.file(), "it was made with '{}', now it is '{}'",
             text(kSettings), training.settings);
  check_file(text(kOptimizer) == name_of(training.optimizer), file.file(), "its optimizer is {}, now it is {}",
             text(kOptimizer), name_of(training.optimizer));
  load_state(places_of(model, training), file);
  if (training.schedule != nullptr && training.optimizer == nullptr)  // the rates are not in the file
    training.schedule->load_state_dict(training.schedule->state_dict());
  if (training.loader != nullptr) training.loader->resume();
  if (text(kKernels) != kernels_here())
    warn_once(fmt::format("{}: it was written with kernels for {}, these are for {}: the last bits may differ",
                          file.file(), text(kKernels), kernels_here()));
}

Safetensors detail::read_checkpoint(const std::filesystem::path& path) {
  try {
    return Safetensors::read(path);
  } catch (const std::runtime_error& error) {
    const std::string previous = name_of_previous(path).string();
    throw std::runtime_error(std::filesystem::exists(previous)
                                 ? fmt::format("{}; to go on from the checkpoint before it, rename {} to {}",
                                               error.what(), previous, path.string())
                                 : error.what());
  }
}

#define XTGRAD_INSTANTIATE(T)                                                                        \
  template std::string detail::to_checkpoint(const std::vector<StateEntry<T>>&, const Training<T>&); \
  template void detail::load_checkpoint(const std::vector<StateEntry<T>>&, const Training<T>&, const Safetensors&);
XTGRAD_INSTANTIATE(float)
XTGRAD_INSTANTIATE(double)

}  // namespace xtgrad
