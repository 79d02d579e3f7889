#include "xtgrad/checkpoint/atomic_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <string>
#include <system_error>

#include "xtgrad/check_file.hpp"

namespace xtgrad {
namespace {

namespace fs = std::filesystem;

// A file descriptor that is closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  bool is_open() const noexcept { return fd_ >= 0; }
  // Whether all went well: a network file system may report a failed write only here.
  bool close() noexcept { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

bool write_all(int fd, std::string_view content) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n == 0) errno = EIO;
    if (n == 0 || (n < 0 && errno != EINTR)) return false;
    if (n > 0) content.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

// "FILE.1234-0.tmp": a name that no other call has.
fs::path temporary_name(const fs::path& file) {
  static std::atomic<unsigned> calls = 0;
  return file.string() + fmt::format(".{}-{}.tmp", ::getpid(), calls++);
}

// Removes the temporary files of processes that are gone: those alive hold a lock on theirs.
void remove_leftovers(const fs::path& file) {
  const std::string begin = file.filename().string() + ".";
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(file.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(begin) || !name.ends_with(".tmp")) continue;
    const Descriptor fd(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (fd.is_open() && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) ::unlink(entry.path().c_str());
  }
}

// Removes a name at the end, if it is still there: a rename between two names of one file does nothing.
struct Temporary {
  fs::path path;
  bool made = false;

  ~Temporary() {
    if (made) ::unlink(path.c_str());
  }
  bool become(const fs::path& file) const { return ::rename(path.c_str(), file.c_str()) == 0; }
};

}  // namespace

void write_file(const fs::path& path, std::string_view content, WriteOptions options) {
  const std::string name = path.string();
  // Judges what has just been done: errno says why it failed.
  const auto must = [&name](bool done, const std::string& otherwise) {
    if (!done) fail_file(name, "{}: {}", otherwise, std::generic_category().message(errno));
  };
  std::error_code error;
  fs::path file = fs::absolute(path);
  if (fs::is_symlink(file, error)) file = fs::weakly_canonical(file, error);
  struct stat old = {};
  const bool is_new = ::stat(file.c_str(), &old) != 0;
  check_file(is_new || S_ISREG(old.st_mode), name, "cannot be written: it is not a file");
  remove_leftovers(file);

  Temporary fresh{temporary_name(file)};
  Descriptor fd(::open(fresh.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  must(fd.is_open(), "cannot be written");
  fresh.made = true;
  must(::flock(fd.get(), LOCK_EX) == 0 && (is_new || ::fchmod(fd.get(), old.st_mode & 07777) == 0) &&
           write_all(fd.get(), content) && ::fsync(fd.get()) == 0 && fd.close(),
       "cannot be written, and is as it was");
  if (options.keep_previous && !is_new) {
    // A second name for the old file, so that there is no moment without one.
    Temporary link{temporary_name(file)};
    link.made = ::link(file.c_str(), link.path.c_str()) == 0;
    must(link.made && link.become(name_of_previous(file)),
         fmt::format("cannot be kept as {}, and is as it was", name_of_previous(path).string()));
  }
  must(fresh.become(file), "cannot be replaced, and is as it was");
  const Descriptor folder(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  must(folder.is_open() && ::fsync(folder.get()) == 0, "is written, but a power failure may bring back the one before");
}

fs::path name_of_previous(const fs::path& path) { return path.string() + ".previous"; }

}  // namespace xtgrad
