#include "reports/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, std::string_view step, int code) {
  throw Error({.code = "output.cannot-write",
               .what = "a file cannot be written",
               .where = path.string(),
               .expected = "",
               .actual = fmt::format("{}: {}", step, std::generic_category().message(code)),
               .hint = "the file, if there was one, is unchanged"});
}

/// The temporary file; removed unless it was renamed to its place.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) : target_(target) {
    // The process id keeps two runs apart; O_EXCL finds what a killed run of the same id left
    // behind.
    for (int attempt = 0; attempt < 100 && fd_ < 0; ++attempt) {
      path_ = target.parent_path() /
              fmt::format(".{}.{}-{}.tmp", target.filename().string(), getpid(), attempt);
      fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ < 0 && errno != EEXIST) {
        break;
      }
    }
    if (fd_ < 0) {
      fail(target_, "creating a temporary file beside it", errno);
    }
  }

  ~TemporaryFile() {
    if (fd_ >= 0) {
      close(fd_);
    }
    if (!renamed_) {
      unlink(path_.c_str());
    }
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write_all(std::string_view content) {
    while (!content.empty()) {
      const ssize_t written = write(fd_, content.data(), content.size());
      if (written < 0 && errno == EINTR) {
        continue;
      }
      if (written < 0) {
        fail(target_, "writing", errno);
      }
      content.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  void rename_to_target() {
    if (fsync(fd_) != 0) {
      fail(target_, "flushing", errno);
    }
    const int closed = close(fd_);
    fd_ = -1;
    if (closed != 0) {
      fail(target_, "closing", errno);
    }
    if (rename(path_.c_str(), target_.c_str()) != 0) {
      fail(target_, "renaming the temporary file to it", errno);
    }
    renamed_ = true;
  }

 private:
  const fs::path& target_;
  fs::path path_;
  int fd_ = -1;
  bool renamed_ = false;
};

}  // namespace

void write_file_atomically(const fs::path& path, std::string_view content) {
  std::error_code code;
  if (path.has_parent_path()) {
    fs::create_directories(path.parent_path(), code);
    if (code) {
      fail(path, "making its folder", code.value());
    }
  }
  TemporaryFile file(path);
  file.write_all(content);
  file.rename_to_target();
}

}  // namespace mg
