#include "harness/io/safetensors.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "harness/io/safetensors_header.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::uint64_t kMaxHeader =
    100'000'000;  // as the reference: safetensors tensor.rs, MAX_HEADER_SIZE

std::uint64_t header_length(std::span<const std::byte> bytes, std::string_view file) {
  if (bytes.size() < 8) {
    throw Error({.code = "safetensors.too-small",
                 .what = "the file is too small to be a safetensors file",
                 .where = std::string(file),
                 .expected = "at least 8 bytes",
                 .actual = fmt::format("{} bytes", bytes.size()),
                 .hint = "an interrupted download or save: fetch or export the file again"});
  }
  std::uint64_t length = 0;
  for (std::size_t i = 8; i-- > 0;) {
    length = length << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  }
  if (length > kMaxHeader) {
    const bool lfs = std::memcmp(bytes.data(), "version ", 8) == 0;
    const bool gguf = std::memcmp(bytes.data(), "GGUF", 4) == 0;
    const bool zip = std::memcmp(bytes.data(), "PK\x03\x04", 4) == 0;
    throw Error({.code = "safetensors.header-too-large",
                 .what = "the header's length is beyond what the format allows",
                 .where = std::string(file),
                 .expected = fmt::format("at most {} bytes", kMaxHeader),
                 .actual = fmt::format("{} bytes", length),
                 .hint = lfs    ? "this is a Git LFS pointer, not the file: run `git lfs pull`"
                         : gguf ? "this is a GGUF file under another name"
                         : zip  ? "this is a PyTorch pickle (zip) under another name"
                               : "this is not a safetensors file, or its first bytes are damaged"});
  }
  if (length > bytes.size() - 8) {
    throw Error({.code = "safetensors.header-truncated",
                 .what = "the file ends inside its header",
                 .where = std::string(file),
                 .expected = fmt::format("{} bytes or more", length + 8),
                 .actual = fmt::format("{} bytes", bytes.size()),
                 .hint = "an interrupted download or save: fetch or export the file again"});
  }
  return length;
}

}  // namespace

SafetensorsHeader parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  const std::uint64_t length = header_length(bytes, file);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8, length);
  SafetensorsHeader header = parse_header_json(text, file);
  header.data_begin = 8 + length;
  validate_layout(header, bytes.size() - header.data_begin, file);
  return header;
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile opened;
  opened.file_ = MappedFile::open(path);
  opened.header_ = parse_safetensors(opened.file_->bytes(), path.string());
  opened.file_->check_intact();
  return opened;
}

TensorView SafetensorsFile::view(const SafetensorsRecord& record) const {
  const std::span<const std::byte> bytes = file_->bytes();
  return {.dtype = record.dtype,
          .shape = record.shape,
          .data = bytes.data() + header_.data_begin + record.begin,
          .bytes = record.end - record.begin};
}

}  // namespace mg
