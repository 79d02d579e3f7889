// Files that are either the old or the new one, whatever happens while they are written.
#pragma once

#include <filesystem>
#include <string_view>

namespace xtgrad {

/// Options of write_file.
struct WriteOptions {
  bool keep_previous = false;  ///< what was there stays under its name_of_previous()
};

/// "FILE.previous"
std::filesystem::path name_of_previous(const std::filesystem::path& path);

/// Makes `content` the content of the file: written beside it, made durable, and renamed into its place. A process that
/// is killed leaves the old file or the new one, and at most a "FILE.1234-0.tmp", which the next call removes. A link is
/// followed, and the permissions of the old file are kept. Calls may come from several processes at once. Throws
/// std::runtime_error with the file's name and the reason; unless it says otherwise the file is then as it was.
void write_file(const std::filesystem::path& path, std::string_view content, WriteOptions options = {});

}  // namespace xtgrad
