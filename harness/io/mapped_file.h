// A file mapped read-only.  Reading past a truncation made by someone else does not kill the
// process: the fault is absorbed and reported by check_intact().  Tested in
// tests/io/mapped_file_test.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>

namespace mg {

class MappedFile {
 public:
  /// Maps `path`, following symbolic links (the Hub cache is made of them).  Throws Error "file.*"
  /// when it is absent, a directory, unreadable or cannot be mapped.  An empty file gives an empty
  /// span.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }

  /// Asks the kernel to read a range ahead / to drop it from this process (resident memory falls).
  void prefetch(const std::byte* begin, std::size_t bytes) const;
  void release(const std::byte* begin, std::size_t bytes) const;

  /// Throws Error "file.shrank" when the file is shorter than when it was mapped, or a read already
  /// hit the hole; "file.changed" when it was written to since. Call after using bytes and before
  /// trusting results computed from them.
  void check_intact() const;

 private:
  MappedFile() = default;
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int fd_ = -1;
  int slot_ = -1;                 // in the fault handler's table
  std::int64_t modified_ns_ = 0;  // time of the last write when it was mapped
};

}  // namespace mg
