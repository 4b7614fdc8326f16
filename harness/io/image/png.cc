#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <optional>

#include "harness/io/image/image.h"

namespace mg {
namespace {

/// What libpng's callbacks know.  libpng leaves a failed call by longjmp, so that no object with a
/// destructor may live in a function that calls it.
struct PngReader {
  const unsigned char* data = nullptr;
  std::size_t size = 0;
  std::size_t at = 0;
  char message[200] = {};
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::int64_t width = 0;
  std::int64_t height = 0;
  png_byte colour = 0;
  png_byte depth = 0;
  bool wide_grey = false;  // 16-bit grey: [height, width] of two bytes
  bool deep_rows = false;
};

[[noreturn]] void on_error(png_structp png, png_const_charp text) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::strncpy(reader->message, text, sizeof(reader->message) - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp /*png*/, png_const_charp /*text*/) {}

void on_read(png_structp png, png_bytep out, std::size_t count) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (count > reader->size - reader->at) {
    png_error(png, "the file ends before the image does");
  }
  std::memcpy(out, reader->data + reader->at, count);
  reader->at += count;
}

/// The header; false with a message where it is wrong.
bool read_header(PngReader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) {  // NOLINT(cert-err52-cpp): libpng's only way out
    return false;
  }
  png_set_read_fn(reader.png, &reader, on_read);
  png_set_user_limits(reader.png, 0x7FFFFFFF, 0x7FFFFFFF);  // check_image_size() has the limit
  png_read_info(reader.png, reader.info);
  reader.width = png_get_image_width(reader.png, reader.info);
  reader.height = png_get_image_height(reader.png, reader.info);
  reader.colour = png_get_color_type(reader.png, reader.info);
  reader.depth = png_get_bit_depth(reader.png, reader.info);
  reader.wide_grey = reader.colour == PNG_COLOR_TYPE_GRAY && reader.depth == 16;
  return true;
}

/// The pixels: three bytes each; 16-bit grey as stored.  As Pillow: no gamma, no transparency, the
/// upper byte of 16-bit colours, grey of few bits spread to 8.
bool read_pixels(PngReader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) {  // NOLINT(cert-err52-cpp)
    return false;
  }
  png_read_image(reader.png, rows);
  png_read_end(reader.png, nullptr);
  return true;
}

bool set_transforms(PngReader& reader) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) {  // NOLINT(cert-err52-cpp)
    return false;
  }

  if (!reader.wide_grey) {
    png_set_strip_16(reader.png);
    if (reader.colour == PNG_COLOR_TYPE_PALETTE) {
      png_set_palette_to_rgb(reader.png);
    } else if (reader.depth < 8) {
      png_set_expand_gray_1_2_4_to_8(reader.png);
    }
    if ((reader.colour & PNG_COLOR_MASK_COLOR) == 0) {
      png_set_gray_to_rgb(reader.png);
    }
    png_set_strip_alpha(reader.png);
  }
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  const std::size_t expected =
      static_cast<std::size_t>(reader.width) * (reader.wide_grey ? 2U : 3U);
  reader.deep_rows = png_get_rowbytes(reader.png, reader.info) != expected;
  return true;
}

class PngHandle {
 public:
  explicit PngHandle(PngReader& reader) : reader_(reader) {
    reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
    reader.info = reader.png == nullptr ? nullptr : png_create_info_struct(reader.png);
  }
  PngHandle(const PngHandle&) = delete;
  PngHandle& operator=(const PngHandle&) = delete;
  ~PngHandle() { png_destroy_read_struct(&reader_.png, &reader_.info, nullptr); }

 private:
  PngReader& reader_;
};

int orientation_of(PngReader& reader) {
  png_uint_32 size = 0;
  png_bytep exif = nullptr;
  if (png_get_eXIf_1(reader.png, reader.info, &size, &exif) == 0 || exif == nullptr) {
    return 1;
  }
  return exif_orientation(std::as_bytes(std::span(exif, size)));
}

/// The colour that a file calls transparent: of a palette one entry that is, the others not at all.
/// Pillow keeps it through the conversion to RGB, and transformers paints its pixels white; any
/// other transparency is dropped.
std::optional<std::array<int, 3>> transparent_colour(PngReader& reader) {
  png_bytep alpha = nullptr;
  int count = 0;
  png_color_16p value = nullptr;
  if (png_get_tRNS(reader.png, reader.info, &alpha, &count, &value) == 0 || reader.wide_grey) {
    return std::nullopt;
  }
  if (reader.colour == PNG_COLOR_TYPE_PALETTE) {
    const std::span entries(alpha, static_cast<std::size_t>(count));
    png_colorp palette = nullptr;
    int colours = 0;
    png_get_PLTE(reader.png, reader.info, &palette, &colours);
    const auto clear = std::find(entries.begin(), entries.end(), 0);
    const auto opaque = std::count(entries.begin(), entries.end(), 255);
    const auto index = clear - entries.begin();
    if (clear == entries.end() || opaque != count - 1 || index >= colours) {
      return std::nullopt;
    }
    return std::array<int, 3>{palette[index].red, palette[index].green, palette[index].blue};
  }
  if (reader.colour == PNG_COLOR_TYPE_GRAY) {
    const int grey = reader.depth == 1 ? (value->gray != 0 ? 255 : 0) : value->gray;
    return std::array<int, 3>{grey, grey, grey};
  }
  return std::array<int, 3>{value->red, value->green, value->blue};
}

void paint_white(const std::array<int, 3>& colour, std::vector<std::uint8_t>& rgb) {
  for (std::size_t i = 0; i + 2 < rgb.size(); i += 3) {
    if (rgb[i] == colour[0] && rgb[i + 1] == colour[1] && rgb[i + 2] == colour[2]) {
      std::fill_n(rgb.begin() + static_cast<std::ptrdiff_t>(i), 3, std::uint8_t{255});
    }
  }
}

/// Grey of 16 bits to RGB as Pillow converts it: clipped, not scaled.
void spread_grey(const std::vector<std::uint8_t>& wide, std::vector<std::uint8_t>& rgb) {
  for (std::size_t i = 0; i < wide.size() / 2; ++i) {
    const std::uint8_t grey = wide[2 * i] != 0 ? std::uint8_t{255} : wide[2 * i + 1];
    std::fill_n(rgb.begin() + static_cast<std::ptrdiff_t>(3 * i), 3, grey);
  }
}

}  // namespace

Image decode_png(std::span<const std::byte> bytes, const std::string& name, int& orientation) {
  PngReader reader;
  reader.data = reinterpret_cast<const unsigned char*>(bytes.data());
  reader.size = bytes.size();
  const PngHandle handle(reader);
  const auto corrupt = [&] {
    fail_image("corrupt", name, "the PNG cannot be decoded", "a whole PNG", reader.message);
  };
  if (reader.info == nullptr || !read_header(reader)) {
    corrupt();
  }
  check_image_size(reader.width, reader.height, name);
  orientation = orientation_of(reader);
  // Before libpng is told what to make of the rows: it forgets then.
  const std::optional<std::array<int, 3>> transparent = transparent_colour(reader);
  if (!set_transforms(reader) || reader.deep_rows) {
    corrupt();
  }
  Image image{.width = reader.width, .height = reader.height, .rgb = {}};
  const auto pixels = static_cast<std::size_t>(image.width * image.height);
  image.rgb.resize(pixels * 3);
  std::vector<std::uint8_t> wide(reader.wide_grey ? pixels * 2 : 0);
  std::uint8_t* first = reader.wide_grey ? wide.data() : image.rgb.data();
  std::vector<png_bytep> rows;
  for (std::int64_t y = 0; y < image.height; ++y) {
    rows.push_back(first + y * image.width * (reader.wide_grey ? 2 : 3));
  }
  if (!read_pixels(reader, rows.data())) {
    corrupt();
  }
  if (reader.wide_grey) {
    spread_grey(wide, image.rgb);
  }
  if (transparent) {
    paint_white(*transparent, image.rgb);
  }
  return image;
}

}  // namespace mg
