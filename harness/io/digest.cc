#include "harness/io/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>

#include "harness/io/mapped_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) {
    MG_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
             "OpenSSL has SHA-256");
  }
  void update(std::span<const std::byte> bytes) {
    MG_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1,
             "SHA-256 takes any bytes");
  }
  std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    MG_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1, "SHA-256 ends");
    return fmt::format("{:02x}", fmt::join(digest.begin(), digest.begin() + size, ""));
  }

 private:
  std::unique_ptr<EVP_MD_CTX, FreeContext> context_;
};

}  // namespace

FileDigest digest_file(const std::filesystem::path& path, const DigestProgress& progress) {
  constexpr std::size_t kBlock = std::size_t{1} << 20;
  const auto file = MappedFile::open(path);
  std::span<const std::byte> rest = file->bytes();
  Sha256 sha;
  while (!rest.empty()) {
    const std::span<const std::byte> block = rest.first(std::min(kBlock, rest.size()));
    sha.update(block);
    // A 100 GB checkpoint must not become this process's resident memory.
    file->release(block.data(), block.size());
    rest = rest.subspan(block.size());
    if (progress) {
      progress(block.size());
    }
  }
  file->check_intact();
  return {path, file->bytes().size(), sha.hex()};
}

std::vector<FileDigest> digest_files(std::span<const std::filesystem::path> paths, ThreadPool& pool,
                                     const DigestProgress& progress) {
  std::vector<std::uint64_t> sizes;
  for (const std::filesystem::path& path : paths) {
    std::error_code ignored;
    const std::uintmax_t bytes = std::filesystem::file_size(path, ignored);
    sizes.push_back(ignored ? 0 : bytes);
  }
  std::vector<std::size_t> order(paths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t left, std::size_t right) { return sizes[left] > sizes[right]; });
  std::vector<FileDigest> digests(paths.size());
  pool.for_chunks(static_cast<std::int64_t>(paths.size()), 1,
                  [&](std::int64_t begin, std::int64_t) {
                    const std::size_t i = order[static_cast<std::size_t>(begin)];
                    digests[i] = digest_file(paths[i], progress);
                  });
  return digests;
}

std::string digest_bytes(std::span<const std::byte> bytes) {
  Sha256 sha;
  sha.update(bytes);
  return sha.hex();
}

}  // namespace mg
