// Any bytes as an image file of a suite.
#include <cstdint>
#include <span>

#include "harness/io/image/image.h"
#include "tests/fuzz/expect_input_errors.h"

namespace {

/// Whether a PNG says that it is larger than this test has time for: the pixels stand in its header
/// at bytes 16 and 20.  A JPEG has no more than 65535 a side, in runs of a few bits a block.
bool takes_too_long(std::span<const std::uint8_t> data) {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 22;
  const auto big_endian = [&](std::size_t at) {
    std::uint64_t value = 0;
    for (std::size_t i = at; i < at + 4; ++i) {
      value = value << 8 | data[i];
    }
    return value;
  };
  if (data.size() >= 24 && data[0] == 0x89) {
    return big_endian(16) * big_endian(20) > kMost;
  }
  // A JPEG's frame header: FF C0..CF, length, precision, height, width.
  for (std::size_t i = 0; i + 9 <= data.size(); ++i) {
    if (data[i] == 0xFF && data[i + 1] >= 0xC0 && data[i + 1] <= 0xCF) {
      const auto height = static_cast<std::uint64_t>(data[i + 5] << 8 | data[i + 6]);
      const auto width = static_cast<std::uint64_t>(data[i + 7] << 8 | data[i + 8]);
      if (height * width > kMost) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (takes_too_long({data, size})) {
    return 0;
  }
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data), size);
  mg::expect_input_errors([&] {
    const mg::Image image = mg::decode_image(bytes, "fuzz");
    mg::require(image.width > 0 && image.height > 0);
    mg::require(image.rgb.size() == static_cast<std::size_t>(image.width * image.height * 3));
  });
  return 0;
}
