#include "harness/io/image/image.h"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <system_error>
#include <utility>

#include "kernels/core/error.h"

namespace mg {
namespace {

template <std::size_t N>
bool starts_with(std::span<const std::byte> bytes, const std::array<unsigned char, N>& magic) {
  for (std::size_t i = 0; i < N; ++i) {
    if (i >= bytes.size() || std::to_integer<unsigned char>(bytes[i]) != magic[i]) {
      return false;
    }
  }
  return true;
}

constexpr std::array<unsigned char, 8> kPng = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
constexpr std::array<unsigned char, 3> kJpeg = {0xFF, 0xD8, 0xFF};

}  // namespace

void fail_image(std::string_view code, const std::string& name, std::string what,
                std::string expected, std::string actual) {
  throw Error({.code = "image." + std::string(code),
               .what = std::move(what),
               .where = name,
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = ""});
}

void check_image_size(std::int64_t width, std::int64_t height, const std::string& name) {
  if (width < 1 || height < 1 || width > kMostPixels / height) {
    fail_image("too-large", name, "the image has too many pixels to be read",
               fmt::format("at most {} pixels", kMostPixels),
               fmt::format("{} x {}", width, height));
  }
}

int exif_orientation(std::span<const std::byte> tiff) {
  constexpr std::size_t kHeader = 8;
  constexpr std::size_t kEntry = 12;
  constexpr std::uint32_t kOrientation = 0x0112;
  constexpr std::uint32_t kShort = 3;
  if (tiff.size() < kHeader) {
    return 1;
  }
  const bool big = std::to_integer<char>(tiff[0]) == 'M';
  const auto number = [&](std::size_t at, std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::size_t place = at + (big ? i : size - 1 - i);
      value = value << 8U | std::to_integer<std::uint32_t>(tiff[place]);
    }
    return value;
  };
  const std::size_t directory = number(4, 4);
  if (directory > tiff.size() - 2) {
    return 1;
  }
  const std::size_t count = number(directory, 2);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t entry = directory + 2 + i * kEntry;
    if (entry + kEntry > tiff.size()) {
      return 1;
    }
    if (number(entry, 2) == kOrientation && number(entry + 2, 2) == kShort) {
      const std::uint32_t value = number(entry + 8, 2);
      return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
    }
  }
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1) {
    return image;
  }
  // Where the upright image's pixel (x, y) lies in the stored one: by orientation, whether the axes
  // are swapped, and which of the stored axes runs backwards.
  const bool swapped = orientation >= 5;
  const bool back_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool back_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image out{.width = swapped ? image.height : image.width,
            .height = swapped ? image.width : image.height,
            .rgb = std::vector<std::uint8_t>(image.rgb.size())};
  auto* to = out.rgb.data();
  for (std::int64_t y = 0; y < out.height; ++y) {
    for (std::int64_t x = 0; x < out.width; ++x) {
      std::int64_t column = swapped ? y : x;
      std::int64_t row = swapped ? x : y;
      column = back_x ? image.width - 1 - column : column;
      row = back_y ? image.height - 1 - row : row;
      const std::uint8_t* from = image.rgb.data() + (row * image.width + column) * 3;
      *to++ = from[0];
      *to++ = from[1];
      *to++ = from[2];
    }
  }
  return out;
}

Image decode_image(std::span<const std::byte> bytes, const std::string& name) {
  int orientation = 1;
  if (starts_with(bytes, kPng)) {
    Image image = decode_png(bytes, name, orientation);
    return upright(std::move(image), orientation);
  }
  if (starts_with(bytes, kJpeg)) {
    Image image = decode_jpeg(bytes, name, orientation);
    return upright(std::move(image), orientation);
  }
  fail_image("format", name, "the file is no image that can be read", "PNG or JPEG",
             bytes.empty() ? "an empty file" : "other first bytes");
}

Image read_image(const std::filesystem::path& path) {
  std::error_code code;
  const bool regular = std::filesystem::is_regular_file(path, code);
  std::vector<char> bytes;
  std::ifstream file(path, std::ios::binary);
  if (regular && file) {
    bytes.resize(std::filesystem::file_size(path, code));
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  if (!regular || code || !file) {
    fail_image("unreadable", path.string(), "the image's file cannot be read", "a readable file",
               regular ? "reading failed" : "no regular file there");
  }
  return decode_image(std::as_bytes(std::span(bytes)), path.string());
}

}  // namespace mg
