#define ZLIB_CONST  // next_in is then a pointer to const

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <limits>
#include <memory>
#include <new>
#include <string_view>
#include <system_error>
#include <xtgrad/check_file.hpp>
#include <xtgrad/datasets/file.hpp>

namespace xtgrad {
namespace {

constexpr std::size_t chunk_size = 1 << 18;
constexpr std::string_view gzip_magic = "\x1f\x8b";

// Judges what the C library has just done: errno says why it failed.
void check_read(bool done, const std::string& file) {
  check_file(done, file, "cannot be read: {}", std::generic_category().message(errno));
}

std::string read_raw(const std::string& file) {
  struct Close {
    void operator()(std::FILE* stream) const { std::fclose(stream); }
  };
  const std::unique_ptr<std::FILE, Close> stream(std::fopen(file.c_str(), "rb"));
  check_read(stream != nullptr, file);

  std::string content;
  for (std::size_t n = chunk_size; n == chunk_size;) {  // fewer only at the end, or after an error
    const std::size_t size = content.size();
    content.resize(size + chunk_size);
    n = std::fread(content.data() + size, 1, chunk_size, stream.get());
    content.resize(size + n);
  }
  check_read(!std::ferror(stream.get()), file);  // a directory opens well and fails here
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

// What to reserve for a gzip stream: the size in its trailer, lowest byte first. That may be a lie, or another
// member's, so it is trusted only up to what a file of this length may reasonably hold.
std::size_t expected_size(std::string_view packed) {
  std::size_t size = 0;
  for (std::size_t i = 1; i <= std::min<std::size_t>(packed.size(), 4); ++i)
    size = size << 8 | static_cast<unsigned char>(packed[packed.size() - i]);
  return std::min(size, 16 * packed.size());
}

std::string gunzip(const std::string& file, std::string_view packed) {
  Inflater inflater;
  z_stream& z = inflater.z;
  std::string content;
  content.reserve(expected_size(packed) + chunk_size);  // growing would touch and copy every page again
  std::size_t written = 0;

  for (int status = Z_OK;;) {
    // zlib counts input in 32 bits; larger files are fed piece by piece.
    constexpr std::size_t most = std::numeric_limits<uInt>::max();
    const std::size_t offered = std::min(packed.size(), most);
    content.resize(written + chunk_size);
    z.next_in = reinterpret_cast<const Bytef*>(packed.data());
    z.avail_in = static_cast<uInt>(offered);
    z.next_out = reinterpret_cast<Bytef*>(content.data() + written);
    z.avail_out = chunk_size;
    status = inflate(&z, Z_NO_FLUSH);
    packed.remove_prefix(offered - z.avail_in);
    written += chunk_size - z.avail_out;

    if (status == Z_MEM_ERROR) throw std::bad_alloc();
    // Z_BUF_ERROR: no progress, for more input was needed and there is none.
    check_file(status != Z_BUF_ERROR, file, "the gzip stream is truncated; copy or download the file again");
    check_file(status == Z_OK || status == Z_STREAM_END, file,
               "the gzip stream is corrupt ({}); copy or download the file again", z.msg ? z.msg : "bad data");
    if (status == Z_STREAM_END) {
      if (packed.empty()) break;
      check_file(packed.starts_with(gzip_magic), file,
                 "{} bytes that are not gzip follow the gzip stream; cut them off", packed.size());
      inflateReset(&z);
    }
  }
  content.resize(written);
  return content;
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const std::string file = path.string();
  std::string content = read_raw(file);
  return content.starts_with(gzip_magic) ? gunzip(file, content) : content;
}

}  // namespace xtgrad
