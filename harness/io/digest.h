// SHA-256 of files, for provenance: which bytes a report is about.
// Not for: fingerprints of activations (kernels/core/hash.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "kernels/core/parallel.h"

namespace mg {

struct FileDigest {
  std::filesystem::path path;
  std::uint64_t bytes = 0;
  std::string sha256;  // 64 hexadecimal digits, lower case, as `sha256sum` prints them
};

/// Called with the bytes read since the last call, from any thread.
using DigestProgress = std::function<void(std::uint64_t bytes)>;

/// Reads a file once, dropping its pages behind it.  Throws Error "file.*", "file.shrank" when it
/// became shorter meanwhile.
FileDigest digest_file(const std::filesystem::path& path, const DigestProgress& progress = {});

/// One file a thread, the largest first; results in the order of `paths`.
std::vector<FileDigest> digest_files(std::span<const std::filesystem::path> paths, ThreadPool& pool,
                                     const DigestProgress& progress = {});

/// SHA-256 of bytes in memory, as above.
std::string digest_bytes(std::span<const std::byte> bytes);

}  // namespace mg
