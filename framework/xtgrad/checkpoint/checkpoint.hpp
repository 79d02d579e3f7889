// Checkpoints: a whole training run in one safetensors file, to go on from bit for bit.
//
//   the model             under its own names, so that any tool finds the weights
//   optimizer.NAME        what the optimizer remembers, the learning rates included
//   training.PART.NAME    schedule, plateau and loader; training.generator; training.NAME what the caller added
//   __metadata__          the caller's settings, the optimizer's name, the machine's kernels, a CRC-32 of the whole file
//
// The options of the constructors are not in it, nor are gradients: build the same objects, then load; save after step().
#pragma once

#include "xtgrad/checkpoint/safetensors.hpp"
#include "xtgrad/data/dataset.hpp"
#include "xtgrad/optim/schedulers.hpp"

namespace xtgrad {

/// What a run consists of beside the model. What is left out is not saved, and not expected when loading. This thread's
/// default generator, which dropout draws from, always belongs to it.
template <class T> struct Training {
  Optimizer<T>* optimizer = nullptr;
  Scheduler<T>* schedule = nullptr;
  Plateau<T>* plateau = nullptr;
  DataLoader<T>* loader = nullptr;
  std::vector<StateEntry<T>> more = {};  ///< counts, sums, generators of the caller's
  /// The caller's settings in words. A checkpoint with others is not loaded.
  std::string settings = {};
};

/// Writes model and training to the file; see write_file(). The one before stays as "FILE.previous". Throws
/// std::invalid_argument if a name of the model begins with "optimizer." or "training.".
template <class M>
void save_checkpoint(const std::filesystem::path& path, M& model,
                     const Training<typename M::value_type>& training = {});

/// Takes everything over; the loader goes on with the batch that would have come next. Throws std::runtime_error, with
/// nothing changed, if the file is damaged or is no checkpoint, or if anything is missing, unexpected or mismatched.
/// A schedule without its optimizer sets the rates. Warns if it comes from a processor with other kernels, where the last
/// bits may differ.
template <class M>
void load_checkpoint(const std::filesystem::path& path, M& model,
                     const Training<typename M::value_type>& training = {});

namespace detail {

template <class T> std::string to_checkpoint(const std::vector<StateEntry<T>>& model, const Training<T>& training);

template <class T>
void load_checkpoint(const std::vector<StateEntry<T>>& model, const Training<T>& training, const Safetensors& file);

/// The file; if it cannot be used, the error says so where there is one before it.
Safetensors read_checkpoint(const std::filesystem::path& path);

}  // namespace detail

template <class M>
void save_checkpoint(const std::filesystem::path& path, M& model, const Training<typename M::value_type>& training) {
  write_file(path, detail::to_checkpoint(model.state(), training), {.keep_previous = true});
}

template <class M>
void load_checkpoint(const std::filesystem::path& path, M& model, const Training<typename M::value_type>& training) {
  detail::load_checkpoint(model.state(), training, detail::read_checkpoint(path));
}

}  // namespace xtgrad
