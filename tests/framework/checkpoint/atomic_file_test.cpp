#include "xtgrad/checkpoint/atomic_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <functional>
#include <set>
#include <system_error>

#include "../support.hpp"
#include "files.hpp"

// The calls of the system that write_file makes come by here: the linker is told so.
namespace {

// The calls on their way to the system, and the one of them that fails, counted from 0; none by default.
struct Faults {
  int at = -1, error = EIO;
  int calls = 0;
  std::string failed = {};        // the name of the call that did
  std::size_t longest_write = 0;  // if not 0
  bool interrupt = false;         // every second write, flock and fsync says EINTR
  std::vector<std::string> log = {};
};
Faults* faults = nullptr;

bool interrupts() {
  if (faults == nullptr || !faults->interrupt || faults->calls % 2 != 0) return false;
  errno = EINTR;
  return true;
}

bool fails(const char* call, const std::string& what = "") {
  if (faults == nullptr) return false;
  faults->log.push_back(call + what);
  if (faults->calls++ != faults->at) return false;
  faults->failed = call + what;
  errno = faults->error;
  return true;
}

}  // namespace

extern "C" {
int __real_open(const char*, int, ...);
ssize_t __real_write(int, const void*, size_t);
int __real_fsync(int);
int __real_close(int);
int __real_rename(const char*, const char*);
int __real_link(const char*, const char*);
int __real_fchmod(int, mode_t);
int __real_flock(int, int);

int __wrap_open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  const char* const kind = (flags & O_DIRECTORY) != 0 ? " folder" : (flags & O_EXCL) != 0 ? " new" : "";
  return fails("open", kind) ? -1 : __real_open(path, flags, mode);
}
// What a descriptor is of.
std::string kind_of(int fd) {
  struct stat status = {};
  return ::fstat(fd, &status) == 0 && S_ISDIR(status.st_mode) ? " folder" : " new";
}
ssize_t __wrap_write(int fd, const void* data, size_t size) {
  if (fails("write", kind_of(fd)) || interrupts()) return -1;
  return __real_write(fd, data,
                      faults != nullptr && faults->longest_write > 0 ? std::min(size, faults->longest_write) : size);
}
int __wrap_fsync(int fd) { return fails("fsync", kind_of(fd)) || interrupts() ? -1 : __real_fsync(fd); }
int __wrap_close(int fd) {
  const std::string kind = kind_of(fd);
  const int result = __real_close(fd);  // a descriptor is gone also where close fails
  return fails("close", kind) ? -1 : result;
}
int __wrap_rename(const char* from, const char* to) { return fails("rename") ? -1 : __real_rename(from, to); }
int __wrap_link(const char* from, const char* to) { return fails("link") ? -1 : __real_link(from, to); }
int __wrap_fchmod(int fd, mode_t mode) { return fails("fchmod") ? -1 : __real_fchmod(fd, mode); }
int __wrap_flock(int fd, int operation) {
  return fails("flock", kind_of(fd)) || interrupts() ? -1 : __real_flock(fd, operation);
}
}

namespace xtgrad {
namespace {

using test::content_of;
using test::error;
using test::expect_parts;
using test::TemporaryFolder;
using Names = std::vector<std::string>;

// The message of write_file with these faults, or "no error".
std::string write_with(Faults& f, const std::string& path, const std::string& content, WriteOptions options = {}) {
  faults = &f;
  const std::string message = error<std::runtime_error>([&] { write_file(path, content, options); });
  faults = nullptr;
  return message;
}

TEST(WriteFile, WritesANewFileAndReplacesAnOldOne) {
  const TemporaryFolder folder;
  const std::string path = folder.path("file");
  write_file(path, "first");
  EXPECT_EQ(content_of(path), "first");
  write_file(path, "");
  EXPECT_EQ(content_of(path), "");
  EXPECT_EQ(folder.names(), (Names{"file"}));
}

TEST(WriteFile, KeepsThePreviousOne) {
  const TemporaryFolder folder;
  const std::string path = folder.path("file");
  for (const char* content : {"1", "2", "3"}) write_file(path, content, {.keep_previous = true});
  EXPECT_EQ(content_of(path), "3");
  EXPECT_EQ(content_of(path + ".previous"), "2");
  EXPECT_EQ(folder.names(), (Names{"file", "file.previous"}));
}

TEST(WriteFile, KeepsPermissionsAndFollowsLinks) {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old"), link = folder.path("link");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  ASSERT_EQ(::symlink("file", link.c_str()), 0);
  write_file(link, "new");
  EXPECT_EQ(content_of(path), "new");
  struct stat status = {};
  ASSERT_EQ(::lstat(link.c_str(), &status), 0);
  EXPECT_TRUE(S_ISLNK(status.st_mode));
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0640U);
}

TEST(WriteFile, TakesShortAndInterruptedWrites) {
  const TemporaryFolder folder;
  const std::string content(1000, 'x');
  Faults f{.longest_write = 7, .interrupt = true};
  EXPECT_EQ(write_with(f, folder.path("file"), content), "no error");
  EXPECT_GT(f.calls, 1000 / 7);
  EXPECT_EQ(content_of(folder.path("file")), content);
}

TEST(WriteFile, RefusesWhatIsNoFile) {
  const TemporaryFolder folder;
  expect_parts(error<std::runtime_error>([&] { write_file("/dev/null", "x"); }), {"/dev/null: ", "not a file"});
  expect_parts(error<std::runtime_error>([&] { write_file(folder.path("."), "x"); }), {"not a file"});
  expect_parts(error<std::runtime_error>([&] { write_file(folder.path("no/file"), "x"); }), {"No such file"});
}

// Every call fails once, in each of these ways.
TEST(WriteFile, LosesNothingWhicheverCallFails) {
  for (const int errno_value : {EIO, ENOSPC, EDQUOT, EROFS})
    for (const bool keep_previous : {false, true}) {
      std::set<std::string> failed;
      for (int at = 0;; ++at) {
        const TemporaryFolder folder;
        const std::string path = folder.write("file", "old");
        folder.write("file.previous", "older");
        Faults f{.at = at, .error = errno_value};
        const std::string message = write_with(f, path, "new", {.keep_previous = keep_previous});
        if (f.failed.empty()) {
          EXPECT_EQ(message, "no error");
          break;
        }
        failed.insert(f.failed);
        const std::string content = content_of(path), previous = content_of(path + ".previous");
        EXPECT_EQ(folder.names(), (Names{"file", "file.previous"})) << at << " " << f.failed;
        if (message == "no error") {
          // The descriptor of the folder has nothing more to say.
          EXPECT_EQ(f.failed, "close folder") << at;
          EXPECT_EQ(content, "new");
        } else {
          expect_parts(message, {path + ": ", std::generic_category().message(errno_value)});
          const bool is_written = message.find("is written, but a power failure") != std::string::npos;
          EXPECT_EQ(content, is_written ? "new" : "old") << at << " " << message;
        }
        EXPECT_TRUE(previous == "older" || (keep_previous && previous == "old")) << at << " " << previous;

        // And nothing stands in the way of the next call.
        write_file(path, "next", {.keep_previous = keep_previous});
        EXPECT_EQ(content_of(path), "next");
        EXPECT_EQ(content_of(path + ".previous"), keep_previous ? content : previous);
        EXPECT_EQ(folder.names(), (Names{"file", "file.previous"}));
      }
      std::set<std::string> all{"open folder", "flock folder", "open new", "fchmod",       "write new",
                                "fsync new",   "close new",    "rename",   "fsync folder", "close folder"};
      if (keep_previous) all.insert("link");
      EXPECT_EQ(failed, all);
    }
}

// Runs `body` in a process of its own and gives what it returned.
std::string in_a_child(const std::function<std::string()>& body) {
  int pipe[2];
  if (::pipe(pipe) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = body();
    const bool done = __real_write(pipe[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(done ? 0 : 1);
  }
  ::close(pipe[1]);
  std::string text;
  char buffer[256];
  for (ssize_t n; (n = ::read(pipe[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, static_cast<std::size_t>(n));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? text : "the child failed";
}

TEST(WriteFile, LosesNothingWhereNothingMoreCanBeWritten) {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  const std::string message = in_a_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10000, 10000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return error<std::runtime_error>([&] { write_file(path, std::string(20000, 'x')); });
  });
  expect_parts(message, {path, "as it was", "File too large"});
  EXPECT_EQ(content_of(path), "old");
  EXPECT_EQ(folder.names(), (Names{"file"}));
}

TEST(WriteFile, LosesNothingInAFolderThatCannotBeWritten) {
  const TemporaryFolder folder;
  const std::string path = folder.write("file", "old");
  const std::string parent = std::filesystem::path(path).parent_path().string();
  ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(parent.c_str(), 0555), 0);
  const std::string message = in_a_child([&] {
    if (::geteuid() == 0 && ::setuid(65534) != 0)
      return std::string("cannot become another user");  // root may write anywhere
    return error<std::runtime_error>([&] { write_file(path, "new"); });
  });
  ASSERT_EQ(::chmod(parent.c_str(), 0755), 0);
  expect_parts(message, {path, "cannot be written", "Permission denied"});
  EXPECT_EQ(content_of(path), "old");
}

// The order that makes it durable: what is in the file before its name, and the name before the return.
TEST(WriteFile, SyncsTheFileBeforeItsNameAndThenTheFolder) {
  const TemporaryFolder folder;
  const std::string path = folder.path("file");
  Faults first, second;
  EXPECT_EQ(write_with(first, path, "one"), "no error");
  EXPECT_EQ(first.log, (Names{"open folder", "flock folder", "open new", "write new", "fsync new", "close new",
                              "rename", "fsync folder", "close folder"}));
  EXPECT_EQ(write_with(second, path, "two", {.keep_previous = true}), "no error");
  EXPECT_EQ(second.log, (Names{"open folder", "flock folder", "open new", "fchmod", "write new", "fsync new",
                               "close new", "link", "rename", "rename", "fsync folder", "close folder"}));
}

TEST(WriteFile, DoesWithoutLocksWhereThereAreNone) {
  const TemporaryFolder folder;
  Faults f{.at = 1, .error = ENOLCK};
  EXPECT_EQ(write_with(f, folder.path("file"), "new"), "no error");
  EXPECT_EQ(f.failed, "flock folder");
  EXPECT_EQ(content_of(folder.path("file")), "new");
}

TEST(WriteFile, RemovesWhatADeadProcessLeftAndNothingElse) {
  const TemporaryFolder folder;
  for (const char* name :
       {"file.1-0.tmp", "file.22-13.tmp", "other.1-0.tmp", "file.notes.tmp", "file.x.1-0.tmp", "file.tmp"})
    folder.write(name, "");
  write_file(folder.path("file"), "new");
  EXPECT_EQ(folder.names(), (Names{"file", "file.notes.tmp", "file.tmp", "file.x.1-0.tmp", "other.1-0.tmp"}));
}

TEST(WriteFile, MayBeCalledByManyProcessesAtOnce) {
  const TemporaryFolder folder;
  const std::string path = folder.path("file");
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    children.push_back(::fork());
    if (children.back() > 0) continue;
    int failures = 0;
    for (int i = 0; i < 100; ++i)
      if (error<std::runtime_error>([&] { write_file(path, std::string(1000, 'x'), {.keep_previous = true}); }) !=
          "no error")
        ++failures;
    ::_exit(failures);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << WEXITSTATUS(status);
  }
  EXPECT_EQ(content_of(path), std::string(1000, 'x'));
  EXPECT_EQ(folder.names(), (Names{"file", "file.previous"}));
}

TEST(WriteFile, FollowsALinkToNothingAndRefusesACircle) {
  const TemporaryFolder folder;
  ASSERT_EQ(::symlink("later", folder.path("link").c_str()), 0);
  write_file(folder.path("link"), "new");
  EXPECT_EQ(content_of(folder.path("later")), "new");
  EXPECT_EQ(folder.names(), (Names{"later", "link"}));
  ASSERT_EQ(::symlink("circle", folder.path("circle").c_str()), 0);
  expect_parts(error<std::runtime_error>([&] { write_file(folder.path("circle"), "new"); }), {"circle: ", "links"});
  expect_parts(error<std::runtime_error>([&] { write_file("", "new"); }), {"not the name of a file"});
}

}  // namespace
}  // namespace xtgrad
