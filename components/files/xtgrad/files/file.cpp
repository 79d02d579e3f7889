#define ZLIB_CONST  // next_in is then a pointer to const

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <xtgrad/files/file.hpp>

namespace xtgrad {
namespace {

using std::filesystem::path;

constexpr std::size_t chunk_size = 1 << 16;
constexpr std::string_view gzip_magic = "\x1f\x8b";

[[noreturn]] void fail(const path& file, std::string_view sentence) {
  throw std::runtime_error(fmt::format("{}: {}", file.string(), sentence));
}

[[noreturn]] void fail_with_errno(const path& file, int error) {
  fail(file, fmt::format("cannot be read: {}", std::generic_category().message(error)));
}

std::string read_raw(const path& file) {
  struct Close {
    void operator()(std::FILE* stream) const { std::fclose(stream); }
  };
  const std::unique_ptr<std::FILE, Close> stream(std::fopen(file.c_str(), "rb"));
  if (!stream) fail_with_errno(file, errno);

  std::string content;
  std::array<char, chunk_size> chunk;
  while (const std::size_t n = std::fread(chunk.data(), 1, chunk.size(), stream.get())) content.append(chunk.data(), n);
  if (std::ferror(stream.get())) fail_with_errno(file, errno);  // a directory opens well and fails here
  return content;
}

/// One zlib inflater of gzip members, released with its scope.
struct Inflater {
  z_stream z{};

  Inflater() {
    constexpr int gzip_only = 16 + MAX_WBITS;
    if (inflateInit2(&z, gzip_only) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&z); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

std::string gunzip(const path& file, std::string_view packed) {
  Inflater inflater;
  z_stream& z = inflater.z;
  std::string content;
  std::array<Bytef, chunk_size> chunk;

  for (int status = Z_OK;;) {
    // zlib counts input in 32 bits; larger files are fed piece by piece.
    constexpr std::size_t most = std::numeric_limits<uInt>::max();
    const std::size_t offered = std::min(packed.size(), most);
    z.next_in = reinterpret_cast<const Bytef*>(packed.data());
    z.avail_in = static_cast<uInt>(offered);
    z.next_out = chunk.data();
    z.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&z, Z_NO_FLUSH);
    packed.remove_prefix(offered - z.avail_in);
    content.append(chunk.data(), chunk.data() + (chunk.size() - z.avail_out));

    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    if (status == Z_BUF_ERROR)  // no progress: more input was needed, and there is none
      fail(file, "the gzip stream is truncated; copy or download the file again");
    if (status != Z_OK && status != Z_STREAM_END)
      fail(file,
           fmt::format("the gzip stream is corrupt ({}); copy or download the file again", z.msg ? z.msg : "bad data"));
    if (status == Z_STREAM_END) {
      if (packed.empty()) return content;
      if (!packed.starts_with(gzip_magic))
        fail(file, fmt::format("{} bytes that are not gzip follow the gzip stream; cut them off", packed.size()));
      inflateReset(&z);
    }
  }
}

}  // namespace

std::string read_file(const path& file) {
  std::string content = read_raw(file);
  return content.starts_with(gzip_magic) ? gunzip(file, content) : content;
}

}  // namespace xtgrad
