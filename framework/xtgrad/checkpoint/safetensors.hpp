// The safetensors format: named tensors in one file that any tool opens.
//
//   8 bytes   the length of the header, lowest byte first
//   header    JSON: {"NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"KEY": "TEXT"}}
//   data      the tensors, row-major, lowest byte first, without gaps
//
// The reader is strict: a file that breaks a rule is refused before any of its tensors is looked at.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "xtgrad/checkpoint/atomic_file.hpp"
#include "xtgrad/state/state_dict.hpp"

namespace xtgrad {

/// Texts by name.
using Metadata = std::map<std::string, std::string>;

/// A safetensors file in memory.
class Safetensors {
 public:
  struct Entry {
    std::string name, dtype;
    Shape shape;
    std::size_t begin, end;  ///< of its bytes in the data
  };

  /// Takes over the content of a file. Throws std::runtime_error, with the file's name, the tensor's and what is wrong,
  /// unless it is as the format says.
  static Safetensors parse(std::string content, const std::string& file);
  /// The same of a file. Nothing is read beyond the header unless the header fits the size of the file.
  static Safetensors read(const std::filesystem::path& path);

  /// The tensors, in the order of their bytes.
  const std::vector<Entry>& tensors() const noexcept { return tensors_; }
  const Metadata& metadata() const noexcept { return metadata_; }
  std::string_view bytes(const Entry& entry) const {
    return std::string_view(content_).substr(data_ + entry.begin, entry.end - entry.begin);
  }
  /// The name of the file.
  const std::string& file() const noexcept { return file_; }

  /// Whether save_checkpoint() wrote the file.
  bool is_checkpoint() const { return metadata_.contains(kChecksum); }
  /// Leaves only the tensors of the model.
  void drop_training();

  /// Among the metadata the CRC-32 of the whole file, its own eight digits taken as 0; where it is there, it is checked.
  static constexpr const char* kChecksum = "xtgrad.crc32";

 private:
  Safetensors(const std::string& file, std::string&& content, std::size_t data, std::vector<Entry>&& tensors,
              Metadata&& metadata);

  std::string file_, content_;
  std::size_t data_;  // where the tensors begin
  std::vector<Entry> tensors_;
  Metadata metadata_;
};

/// The content of a file with these values: tensors as F32 or F64, counts as I64 and numbers as F64 of shape (),
/// generators as I64 of shape (315). If the metadata has a kChecksum, it is filled in. Throws std::invalid_argument if a
/// name is empty, is there twice or is not UTF-8.
template <class T> std::string to_safetensors(const StateDict<T>& values, Metadata metadata = {});

/// Takes over the values of all places from the file. Throws std::runtime_error, with nothing changed, unless names,
/// kinds, precisions and shapes are those of the places; the message lists all that is missing, unexpected or
/// mismatched.
template <class T> void load_state(const std::vector<StateEntry<T>>& places, const Safetensors& file);

/// Writes the state dict of a module under PyTorch's names; see write_file().
template <class M> void save_safetensors(const std::filesystem::path& path, M& module);

/// Loads it, also from a checkpoint. Throws std::runtime_error, with nothing changed, if the file breaks a rule of the
/// format or does not fit the module.
template <class M> void load_safetensors(const std::filesystem::path& path, M& module);

template <class M> void save_safetensors(const std::filesystem::path& path, M& module) {
  write_file(path, to_safetensors(module.state_dict()));
}

template <class M> void load_safetensors(const std::filesystem::path& path, M& module) {
  Safetensors file = Safetensors::read(path);
  if (file.is_checkpoint()) file.drop_training();
  load_state(module.state(), file);
}

}  // namespace xtgrad
