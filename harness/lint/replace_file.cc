#include "harness/lint/replace_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::string& reason) {
  throw Error({.code = "fix.cannot-write",
               .what = "the file could not be replaced; it is as it was",
               .where = path.string(),
               .expected = "a folder that can be written to",
               .actual = reason,
               .hint = "give yourself write permission, or free some space"});
}

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor() {
    if (number_ >= 0) {
      ::close(number_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int number() const { return number_; }

 private:
  int number_;
};

void write_all(const fs::path& path, std::string_view text) {
  const Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (file.number() < 0) {
    fail(path, std::strerror(errno));
  }
  while (!text.empty()) {
    const ssize_t done = ::write(file.number(), text.data(), text.size());
    if (done < 0 && errno != EINTR) {
      fail(path, std::strerror(errno));
    }
    text.remove_prefix(done < 0 ? 0 : static_cast<std::size_t>(done));
  }
  if (::fsync(file.number()) != 0) {
    fail(path, std::strerror(errno));
  }
}

/// Keeps the old bytes under another name; the file itself stays in place until the rename.
void keep_backup(const fs::path& path) {
  const fs::path backup = path.string() + ".bak";
  std::error_code error;
  if (!fs::exists(path, error) || fs::exists(backup, error)) {
    return;
  }
  // A link of the Hub's cache keeps pointing to its blob: the backup is the link.
  if (fs::is_symlink(path, error)) {
    fs::copy_symlink(path, backup, error);
  } else {
    fs::create_hard_link(path, backup, error);
    if (error) {  // a file system without hard links
      error.clear();
      const fs::path partial = backup.string() + ".partial";
      fs::copy_file(path, partial, fs::copy_options::overwrite_existing, error);
      if (!error) {
        fs::rename(partial, backup, error);
      }
    }
  }
  if (error) {
    fail(path, error.message());
  }
}

}  // namespace

void replace_with(const fs::path& path, const fs::path& finished) {
  keep_backup(path);
  std::error_code error;
  fs::rename(finished, path, error);
  if (error) {
    fail(path, error.message());
  }
  // The rename itself has to reach the device before the next file depends on it.
  const Descriptor folder(::open(path.parent_path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.number() >= 0) {
    ::fsync(folder.number());
  }
}

void replace_text(const fs::path& path, std::string_view text) {
  const fs::path partial = path.string() + ".partial";
  try {
    write_all(partial, text);
    replace_with(path, partial);
  } catch (const Error&) {
    std::error_code ignored;
    fs::remove(partial, ignored);
    throw;
  }
}

void move_to(const fs::path& path, std::string_view subfolder) {
  const fs::path folder = path.parent_path() / subfolder;
  std::error_code error;
  fs::create_directories(folder, error);
  fs::path target = folder / path.filename();
  for (int i = 1; fs::exists(target); ++i) {
    target = folder / (path.filename().string() + "." + std::to_string(i));
  }
  if (!error) {
    fs::rename(path, target, error);
  }
  if (error) {
    fail(path, error.message());
  }
}

}  // namespace mg::lint
