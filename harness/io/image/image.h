// Image files decoded to RGB as Pillow decodes them (transformers' load_image: turned upright by
// its EXIF tag, converted to RGB, alpha dropped).  PNG by libpng, JPEG by libjpeg-turbo, the
// libraries' defaults that Pillow uses.  Not for: what a model makes of an image (processor.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

struct Image {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> rgb;  // [height, width, 3]
};

/// Pixels of the largest image read: Pillow's own limit (Image.MAX_IMAGE_PIXELS).
inline constexpr std::int64_t kMostPixels = 1024LL * 1024 * 1024 / 4 / 3;

/// Throws Error "image.format" (neither PNG nor JPEG), "image.corrupt" (the decoder's own words;
/// truncated files included), "image.too-large".  `name` stands in errors.
Image decode_image(std::span<const std::byte> bytes, const std::string& name);

/// The same of a file; Error "image.unreadable" where it cannot be read.
Image read_image(const std::filesystem::path& path);

// Private to this folder.
[[noreturn]] void fail_image(std::string_view code, const std::string& name, std::string what,
                             std::string expected, std::string actual);
void check_image_size(std::int64_t width, std::int64_t height, const std::string& name);
/// `orientation`: set to the EXIF tag's value where the file has one.
Image decode_png(std::span<const std::byte> bytes, const std::string& name, int& orientation);
Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name, int& orientation);
/// The orientation tag of a TIFF block (EXIF 2.3, 4.6.4), 1 to 8; 1 where there is none.
int exif_orientation(std::span<const std::byte> tiff);
/// The image turned upright (PIL.ImageOps.exif_transpose).
Image upright(Image image, int orientation);

}  // namespace mg
