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

// Whether a call of the system succeeded, made again where a signal came between.
template <class Call> bool retried(Call call) {
  int result;
  do result = call();
  while (result != 0 && errno == EINTR);
  return result == 0;
}

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

// Removes the temporary files of processes that are gone; those alive hold the folder's lock, which is now ours.
void remove_leftovers(const fs::path& file) {
  const std::string begin = file.filename().string() + ".", end = ".tmp";
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(file.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.size() <= begin.size() + end.size() || !name.starts_with(begin) || !name.ends_with(end)) continue;
    const std::string middle = name.substr(begin.size(), name.size() - begin.size() - end.size());
    if (middle.find_first_not_of("0123456789-") == middle.npos) ::unlink(entry.path().c_str());
  }
}

// The file that the name stands for: links are followed, also where they end at nothing. Empty if they never end.
fs::path followed(fs::path file) {
  std::error_code error;
  for (int links = 0; links < 40; ++links) {
    const fs::path target = fs::read_symlink(file, error);
    if (error) return file;
    file = file.parent_path() / target;
  }
  return {};
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
  check_file(path.has_filename(), name, "cannot be written: it is not the name of a file");
  const fs::path file = followed(fs::absolute(path));
  check_file(!file.empty(), name, "cannot be written: its links lead in a circle");
  struct stat old = {};
  const bool is_new = ::stat(file.c_str(), &old) != 0;
  check_file(is_new || S_ISREG(old.st_mode), name, "cannot be written: it is not a file");

  // One call at a time in a folder. Some network file systems have no locks, and do without.
  const Descriptor folder(::open(file.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  must(folder.is_open(), "cannot be written");
  const bool locked = retried([&] { return ::flock(folder.get(), LOCK_EX); });
  must(locked || errno == ENOSYS || errno == ENOLCK || errno == EOPNOTSUPP, "cannot be written");
  if (locked) remove_leftovers(file);

  Temporary fresh{temporary_name(file)};
  Descriptor fd(::open(fresh.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  must(fd.is_open(), "cannot be written");
  fresh.made = true;
  must((is_new || ::fchmod(fd.get(), old.st_mode & 07777) == 0) && write_all(fd.get(), content) &&
           retried([&] { return ::fsync(fd.get()); }) && fd.close(),
       "cannot be written, and is as it was");
  if (options.keep_previous && !is_new) {
    // A second name for the old file, so that there is no moment without one.
    Temporary link{temporary_name(file)};
    link.made = ::link(file.c_str(), link.path.c_str()) == 0;
    must(link.made && link.become(name_of_previous(file)),
         fmt::format("cannot be kept as {}, and is as it was", name_of_previous(path).string()));
  }
  must(fresh.become(file), "cannot be replaced, and is as it was");
  must(retried([&] { return ::fsync(folder.get()); }), "is written, but a power failure may bring back the one before");
}

fs::path name_of_previous(const fs::path& path) { return path.string() + ".previous"; }

}  // namespace xtgrad
