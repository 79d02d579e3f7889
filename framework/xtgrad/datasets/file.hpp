// The bytes of a file, gunzipped where they are a gzip stream.
//
// Whether a file is gzip is told by its content (1f 8b), never by its name. All members of a gzip stream are
// read; anything after the last one is an error. Nothing is returned unless every checksum has matched.
#pragma once

#include <filesystem>
#include <string>

namespace xtgrad {

/// The whole content of `path`. Throws std::runtime_error, naming the file, if it cannot be read or if its
/// gzip stream is truncated, corrupt or followed by other bytes.
std::string read_file(const std::filesystem::path& path);

}  // namespace xtgrad
