#include "harness/io/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "harness/io/fault_guard.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// Closes on every early exit of open().
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int take() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

[[noreturn]] void fail_open(const std::filesystem::path& path, int error) {
  const std::string name = path.string();
  std::error_code ignored;
  if (error == ENOENT && std::filesystem::is_symlink(path, ignored)) {
    const auto target = std::filesystem::read_symlink(path, ignored);
    throw Error(
        {.code = "file.dangling-link",
         .what =
             fmt::format("{} is a link to a file that does not exist", path.filename().string()),
         .where = name,
         .expected = fmt::format("a file at {}", target.string()),
         .actual = "nothing there",
         .hint = "in a Hub cache this is an interrupted download or a copied snapshots folder "
                 "without its blobs: download it again, or copy with `cp -L`"});
  }
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      throw Error({.code = "file.not-found",
                   .what = "no such file",
                   .where = name,
                   .expected = {},
                   .actual = {},
                   .hint = {}});
    case EACCES:
    case EPERM:
      throw Error({.code = "file.permission",
                   .what = "the file cannot be read by this user",
                   .where = name,
                   .expected = {},
                   .actual = {},
                   .hint = "give yourself read permission (chmod u+r) or run as the file's owner"});
    case ELOOP:
      throw Error({.code = "file.link-loop",
                   .what = "symbolic links lead round in a circle",
                   .where = name,
                   .expected = {},
                   .actual = {},
                   .hint = {}});
    case EMFILE:
    case ENFILE:
      throw Error({.code = "file.too-many-open",
                   .what = "too many open files",
                   .where = name,
                   .expected = {},
                   .actual = {},
                   .hint = "raise the limit: ulimit -n 65536"});
    default:
      throw Error({.code = "file.unreadable",
                   .what = "the file cannot be opened",
                   .where = name,
                   .expected = {},
                   .actual = std::generic_category().message(error),
                   .hint = {}});
  }
}

void require_regular(const struct stat& info, const std::filesystem::path& path) {
  if (S_ISREG(info.st_mode)) {
    return;
  }
  const bool directory = S_ISDIR(info.st_mode);
  throw Error({.code = directory ? "file.is-directory" : "file.not-regular",
               .what = directory
                           ? "a file is needed here, this is a folder"
                           : "a regular file is needed here, this is a device, pipe or socket",
               .where = path.string(),
               .expected = {},
               .actual = {},
               .hint = {}});
}

std::int64_t modified_ns(const struct stat& info) {
  return static_cast<std::int64_t>(info.st_mtim.tv_sec) * 1'000'000'000 + info.st_mtim.tv_nsec;
}

struct PageRange {
  void* begin = nullptr;
  std::size_t bytes = 0;
};

// Pages of [begin, begin + bytes): the enclosing ones, or only those that lie fully inside.
PageRange pages_of(const std::byte* begin, std::size_t bytes, bool enclosing) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  const std::uintptr_t last = first + bytes;
  const std::uintptr_t down = enclosing ? first / page * page : (first + page - 1) / page * page;
  const std::uintptr_t up = enclosing ? (last + page - 1) / page * page : last / page * page;
  if (up <= down) {
    return {};
  }
  // Rounding needs the address as a number.  NOLINTNEXTLINE(performance-no-int-to-ptr)
  return {reinterpret_cast<void*>(down), up - down};
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a named pipe must not wait for a writer; it is refused just below.
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) {
    fail_open(path, errno);
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) {
    fail_open(path, errno);
  }
  require_regular(info, path);

  std::shared_ptr<MappedFile> file(new MappedFile());
  file->path_ = path;
  file->size_ = static_cast<std::size_t>(info.st_size);
  file->modified_ns_ = modified_ns(info);
  if (file->size_ > 0) {
    void* address = ::mmap(nullptr, file->size_, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (address == MAP_FAILED) {
      const std::string reason = std::generic_category().message(errno);
      file->size_ = 0;
      throw Error({.code = "file.map-failed",
                   .what = "the file cannot be mapped into memory",
                   .where = path.string(),
                   .expected = {},
                   .actual = reason,
                   .hint = "check `ulimit -v` and the kernel's vm.max_map_count"});
    }
    file->data_ = static_cast<const std::byte*>(address);
    file->slot_ = fault_guard::watch(address, file->size_);
  }
  file->fd_ = fd.take();
  return file;
}

MappedFile::~MappedFile() {
  if (slot_ >= 0) {
    fault_guard::forget(slot_);
  }
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), size_);
  }
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void MappedFile::prefetch(const std::byte* begin, std::size_t bytes) const {
  const PageRange range = pages_of(begin, bytes, /*enclosing=*/true);
  if (range.bytes > 0) {
    ::madvise(range.begin, range.bytes, MADV_WILLNEED);  // advice: a failure costs time only
  }
}

void MappedFile::release(const std::byte* begin, std::size_t bytes) const {
  const PageRange range = pages_of(begin, bytes, /*enclosing=*/false);
  if (range.bytes > 0) {
    ::madvise(range.begin, range.bytes, MADV_DONTNEED);
  }
}

void MappedFile::check_intact() const {
  struct stat info {};
  const bool known = fd_ >= 0 && ::fstat(fd_, &info) == 0;
  const auto now = known ? static_cast<std::size_t>(info.st_size) : 0;
  if (known && now < size_) {
    throw Error({.code = "file.shrank",
                 .what = "the file became shorter while it was being read",
                 .where = path_.string(),
                 .expected = fmt::format("{} bytes", size_),
                 .actual = fmt::format("{} bytes", now),
                 .hint = "something is writing to it: wait until that has finished and run again"});
  }
  if (slot_ >= 0 && fault_guard::faulted(slot_)) {
    throw Error({.code = "file.shrank",
                 .what = "a part of the file could not be read",
                 .where = path_.string(),
                 .expected = fmt::format("{} readable bytes", size_),
                 .actual = "a page that the system could not deliver",
                 .hint = "the file was cut and written again while it was being read, or its disk "
                         "fails (see dmesg): run again"});
  }
  if (known && modified_ns(info) != modified_ns_) {
    throw Error({.code = "file.changed",
                 .what = "the file was written to while it was being read",
                 .where = path_.string(),
                 .expected = {},
                 .actual = {},
                 .hint = "what was computed is of neither version: run again when it is complete"});
  }
}

}  // namespace mg
