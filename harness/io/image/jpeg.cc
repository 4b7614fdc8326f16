#include <algorithm>
#include <csetjmp>
#include <cstdio>  // before jpeglib.h, which uses FILE

#include <jpeglib.h>

#include <jerror.h>

#include "harness/io/image/image.h"

namespace mg {
namespace {

constexpr int kMostScans = 500;  // of a progressive file; more only cost time

/// libjpeg leaves a failed call by longjmp: no object with a destructor may live in a function that
/// calls it.
struct JpegReader {
  jpeg_error_mgr errors = {};
  jpeg_progress_mgr progress = {};
  std::jmp_buf out = {};
  jpeg_decompress_struct jpeg = {};
  char message[JMSG_LENGTH_MAX] = {};
  bool created = false;
};

JpegReader& reader_of(j_common_ptr jpeg) {
  return *static_cast<JpegReader*>(jpeg->client_data);
}

[[noreturn]] void on_jpeg_error(j_common_ptr jpeg) {
  JpegReader& reader = reader_of(jpeg);
  reader.errors.format_message(jpeg, reader.message);
  std::longjmp(reader.out, 1);
}

/// Warnings: where data are missing the decoder would go on with grey; that is an error here.
void on_jpeg_message(j_common_ptr jpeg, int level) {
  const int code = jpeg->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) {
    on_jpeg_error(jpeg);
  }
}

void on_jpeg_progress(j_common_ptr jpeg) {
  const auto* decompress = reinterpret_cast<j_decompress_ptr>(jpeg);
  if (decompress->input_scan_number > kMostScans) {
    JpegReader& reader = reader_of(jpeg);
    std::snprintf(reader.message, sizeof(reader.message), "more than %d scans", kMostScans);
    std::longjmp(reader.out, 1);
  }
}

bool read_jpeg_header(JpegReader& reader, const unsigned char* data, std::size_t size) {
  if (setjmp(reader.out) != 0) {  // NOLINT(cert-err52-cpp): libjpeg's only way out
    return false;
  }
  reader.jpeg.err = jpeg_std_error(&reader.errors);
  reader.errors.error_exit = on_jpeg_error;
  reader.errors.emit_message = on_jpeg_message;
  reader.jpeg.client_data = &reader;
  jpeg_create_decompress(&reader.jpeg);
  reader.created = true;
  reader.progress.progress_monitor = on_jpeg_progress;
  reader.jpeg.progress = &reader.progress;
  jpeg_mem_src(&reader.jpeg, data, size);
  constexpr unsigned kMostBytes = 0xFFFF;
  jpeg_save_markers(&reader.jpeg, JPEG_APP0 + 1, kMostBytes);
  jpeg_read_header(&reader.jpeg, TRUE);
  return true;
}

/// rows: [height] of width * components bytes.
bool read_jpeg_pixels(JpegReader& reader, unsigned char* const* rows) {
  if (setjmp(reader.out) != 0) {  // NOLINT(cert-err52-cpp)
    return false;
  }
  jpeg_start_decompress(&reader.jpeg);
  while (reader.jpeg.output_scanline < reader.jpeg.output_height) {
    JSAMPROW row = rows[reader.jpeg.output_scanline];
    jpeg_read_scanlines(&reader.jpeg, &row, 1);
  }
  jpeg_finish_decompress(&reader.jpeg);
  return true;
}

class JpegHandle {
 public:
  explicit JpegHandle(JpegReader& reader) : reader_(reader) {}
  JpegHandle(const JpegHandle&) = delete;
  JpegHandle& operator=(const JpegHandle&) = delete;
  ~JpegHandle() {
    if (reader_.created) {
      jpeg_destroy_decompress(&reader_.jpeg);
    }
  }

 private:
  JpegReader& reader_;
};

int orientation_of(const jpeg_decompress_struct& jpeg) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  for (const jpeg_marker_struct* marker = jpeg.marker_list; marker != nullptr;
       marker = marker->next) {
    const std::span block(marker->data, marker->data_length);
    if (block.size() > kExif.size() && std::equal(kExif.begin(), kExif.end(), block.begin())) {
      return exif_orientation(std::as_bytes(block.subspan(kExif.size())));
    }
  }
  return 1;
}

/// a * b / 255, rounded, as Pillow's MULDIV255.
int times_255th(int a, int b) {
  const int product = a * b + 128;
  return ((product >> 8) + product) >> 8;
}

/// Four inks, stored inverted as Adobe does and Pillow assumes.
void cmyk_to_rgb(const std::uint8_t* inks, std::size_t pixels, std::uint8_t* rgb) {
  for (std::size_t i = 0; i < pixels; ++i, inks += 4) {
    const int light = inks[3];  // 255 - black
    for (std::size_t c = 0; c < 3; ++c) {
      *rgb++ = static_cast<std::uint8_t>(light - times_255th(255 - inks[c], light));
    }
  }
}

}  // namespace

Image decode_jpeg(std::span<const std::byte> bytes, const std::string& name, int& orientation) {
  JpegReader reader;
  const JpegHandle handle(reader);
  const auto corrupt = [&] {
    fail_image("corrupt", name, "the JPEG cannot be decoded", "a whole JPEG", reader.message);
  };
  if (!read_jpeg_header(reader, reinterpret_cast<const unsigned char*>(bytes.data()),
                        bytes.size())) {
    corrupt();
  }
  jpeg_decompress_struct& jpeg = reader.jpeg;
  check_image_size(jpeg.image_width, jpeg.image_height, name);
  orientation = orientation_of(jpeg);
  const std::size_t components = jpeg.num_components == 4 ? 4 : 3;
  jpeg.out_color_space = components == 4 ? JCS_CMYK : JCS_RGB;
  Image image{.width = jpeg.image_width, .height = jpeg.image_height, .rgb = {}};
  const auto pixels = static_cast<std::size_t>(image.width * image.height);
  image.rgb.resize(pixels * 3);
  std::vector<std::uint8_t> inks(components == 4 ? pixels * 4 : 0);
  std::uint8_t* first = components == 4 ? inks.data() : image.rgb.data();
  std::vector<unsigned char*> rows;
  for (std::size_t y = 0; y < jpeg.image_height; ++y) {
    rows.push_back(first + y * jpeg.image_width * components);
  }
  if (!read_jpeg_pixels(reader, rows.data())) {
    corrupt();
  }
  if (components == 4) {
    cmyk_to_rgb(inks.data(), pixels, image.rgb.data());
  }
  return image;
}

}  // namespace mg
