#include "suites/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>
#include <cstddef>

#include "kernels/core/error.h"

namespace mg {

std::string text_digest(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int size = 0;
  const int ok =
      EVP_Digest(text.data(), text.size(), bytes.data(), &size, EVP_sha256(), /*impl=*/nullptr);
  MG_CHECK(ok == 1, "SHA-256 failed");
  std::string digest = "sha256:";
  for (std::size_t i = 0; i < size; ++i) {
    digest += fmt::format("{:02x}", bytes[i]);
  }
  return digest;
}

}  // namespace mg
