#include "reports/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "kernels/core/error.h"

namespace mg {
namespace {

using Digest = std::array<unsigned char, 32>;

Digest sha256(std::string_view text) {
  Digest digest{};
  if (EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr) != 1) {
    throw Error({.code = "internal.digest",
                 .what = "OpenSSL could not compute a SHA-256",
                 .where = {},
                 .expected = {},
                 .actual = {},
                 .hint = {}},
                ErrorKind::kInternal);
  }
  return digest;
}

}  // namespace

std::string text_digest(std::string_view text) {
  std::string out = "sha256:";
  for (const unsigned char byte : sha256(text)) {
    out += fmt::format("{:02x}", static_cast<unsigned>(byte));
  }
  return out;
}

std::string policy_digest(std::string_view text) {
  const Digest digest = sha256(text);
  std::array<unsigned char, 45> base64{};  // 44 characters and a zero byte
  const int size = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(digest.size()));
  std::string out = "sha256-";
  for (int i = 0; i < size; ++i) {
    out += static_cast<char>(base64[static_cast<std::size_t>(i)]);
  }
  return out;
}

}  // namespace mg
