// Image files against Pillow and transformers' image processor (make.py), and hostile files.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/io/image/processor.h"
#include "harness/io/image/resample.h"
#include "harness/io/safetensors.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

const fs::path kData = fs::path(MG_TEST_DATA) / "io" / "image" / "data";

/// make.py's SETTINGS.
ImageSettings small_settings() {
  ImageSettings settings;
  settings.patch_size = 4;
  settings.min_pixels = 256;
  settings.max_pixels = 1536;
  return settings;
}

TEST(ImageTest, PixelsAreTheReferencesAfterDecodingAndResizing) {
  const SafetensorsFile expected = SafetensorsFile::open(kData / "expected.safetensors");
  int images = 0;
  int exact = 0;
  for (const SafetensorsRecord& record : expected.header().records) {
    if (record.dtype != DType::kU8) {
      continue;
    }
    ++images;
    const Image image = read_image(kData / record.name);
    const auto [height, width] =
        resized_shape(image.height, image.width, small_settings(), record.name);
    ASSERT_EQ((Shape{height, width, 3}), record.shape) << record.name;
    const Image resized = resample_bicubic(image, width, height);
    const TensorView view = expected.view(record);
    int worst = 0;
    for (std::size_t i = 0; i < resized.rgb.size(); ++i) {
      worst = std::max(
          worst, std::abs(static_cast<int>(resized.rgb[i]) - std::to_integer<int>(view.data[i])));
    }
    // A PNG must be Pillow's to the level.  A JPEG may differ by one: Pillow brings a decoder of
    // its own, and its inverse transform is not the one of every libjpeg.
    EXPECT_LE(worst, record.name.ends_with(".png") ? 0 : 1) << record.name;
    exact += worst == 0 ? 1 : 0;
  }
  EXPECT_EQ(images, 52);
  std::printf("%d of %d images equal to the level\n", exact, images);
}

TEST(ImageTest, PatchesAreTheReferences) {
  const SafetensorsFile expected = SafetensorsFile::open(kData / "expected.safetensors");
  int compared = 0;
  for (const SafetensorsRecord& record : expected.header().records) {
    if (record.dtype != DType::kF32) {
      continue;
    }
    ++compared;
    const std::string name = record.name.substr(0, record.name.find(".pixel_values"));
    const ImagePatches patches = make_patches(read_image(kData / name), small_settings(), name);
    const TensorView view = expected.view(record);
    ASSERT_EQ(view.elements(), static_cast<std::int64_t>(patches.values.size()));
    EXPECT_EQ(patches.grid[0] * patches.grid[1] * patches.grid[2], view.dim(0));
    // One grey level, rescaled and divided by the smallest deviation, where the decoder may differ.
    const float level = name.ends_with(".png") ? 0.0F : 1.0F / 255.0F / 0.26130258F + 1e-6F;
    for (std::size_t i = 0; i < patches.values.size(); ++i) {
      float value = 0;
      std::memcpy(&value, view.data + i * sizeof(float), sizeof(float));
      ASSERT_NEAR(patches.values[i], value, level) << name << " " << i;
    }
  }
  EXPECT_EQ(compared, 2);
}

TEST(ImageTest, ShapesAreTheReferences) {
  std::ifstream stream(kData / "sizes.jsonl");
  int lines = 0;
  for (std::string text; std::getline(stream, text); ++lines) {
    const auto line = nlohmann::json::parse(text).get<std::vector<std::int64_t>>();
    ImageSettings settings;
    settings.patch_size = line[2] / 2;
    settings.min_pixels = line[3];
    settings.max_pixels = line[4];
    EXPECT_EQ(resized_shape(line[0], line[1], settings, ""),
              (std::array<std::int64_t, 2>{line[5], line[6]}))
        << text;
  }
  EXPECT_EQ(lines, 300);
}

std::vector<std::byte> bytes_of(const char* name) {
  std::ifstream stream(kData / name, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(stream)), {});
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

std::string error_of(const std::vector<std::byte>& bytes) {
  try {
    decode_image(bytes, "it");
    return "";
  } catch (const Error& error) {
    return error.parts().code;
  }
}

TEST(ImageTest, FilesCutAnywhereAreErrors) {
  for (const char* name : {"rgb-07.png", "palette-2.png", "jpeg-1.jpg", "progressive-1.jpg"}) {
    const std::vector<std::byte> whole = bytes_of(name);
    EXPECT_EQ(error_of(whole), "");
    // A JPEG's last two bytes are a marker that tells nothing: without it all pixels are there.
    for (std::size_t size = 0; size + 3 < whole.size(); size += 1 + whole.size() / 97) {
      const std::string code = error_of({whole.begin(), whole.begin() + static_cast<long>(size)});
      EXPECT_TRUE(code == "image.corrupt" || code == "image.format") << name << " " << size << code;
    }
  }
}

TEST(ImageTest, HostileHeadersAreErrors) {
  std::vector<std::byte> png = bytes_of("rgb-07.png");
  for (int i = 16; i < 24; ++i) {  // width and height, 2^31 - 1 each; the checksum is wrong, too
    png[static_cast<std::size_t>(i)] = std::byte(i % 4 == 0 ? 0x7F : 0xFF);
  }
  EXPECT_EQ(error_of(png), "image.corrupt");
  std::vector<std::byte> jpeg = bytes_of("jpeg-1.jpg");
  for (std::size_t i = 0; i + 9 < jpeg.size(); ++i) {
    if (jpeg[i] == std::byte{0xFF} && jpeg[i + 1] == std::byte{0xC0}) {  // start of frame
      for (std::size_t k = i + 5; k < i + 9; ++k) {
        jpeg[k] = std::byte{0xFE};
      }
      break;
    }
  }
  EXPECT_EQ(error_of(jpeg), "image.too-large");
  EXPECT_EQ(error_of({}), "image.format");
  EXPECT_EQ(error_of(std::vector<std::byte>(100, std::byte{'G'})), "image.format");
  EXPECT_THROW(read_image(kData / "no-such.png"), Error);
}

TEST(ImageTest, ErrorsSayWhatAndWhere) {
  try {
    decode_image(std::vector<std::byte>(3, std::byte{'x'}), "cat.gif");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "error[image.format]: the file is no image that can be read\n"
              "  where:    cat.gif\n"
              "  expected: PNG or JPEG   actual: other first bytes");
  }
  try {
    resized_shape(3, 1000, small_settings(), "thin.png");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              "error[image.shape]: the image is too slender for the model's processor\n"
              "  where:    thin.png\n"
              "  expected: sides of at most 200 to 1   actual: 1000 x 3");
  }
}

TEST(ImageSettingsTest, ReadsTheKeysAndRefusesWhatItCannotDo) {
  const ImageSettings settings = parse_image_settings(
      nlohmann::json::parse(R"({"size": {"shortest_edge": 100, "longest_edge": 900},
                                "max_pixels": 800, "patch_size": 16, "merge_size": 1,
                                "image_mean": [0.5, 0.5, 0.5], "resample": 3})"),
      "p.json");
  EXPECT_EQ(settings.min_pixels, 100);
  EXPECT_EQ(settings.max_pixels, 800);
  EXPECT_EQ(settings.patch_size, 16);
  EXPECT_EQ(settings.merge_size, 1);
  EXPECT_EQ(settings.mean[2], 0.5);
  for (const char* text :
       {R"({"resample": 2})", R"({"image_std": [1, 1, 0]})", R"({"patch_size": 0})",
        R"({"do_resize": 1})", R"({"min_pixels": 9, "max_pixels": 8})", R"({"image_mean": [1]})"}) {
    EXPECT_THROW(parse_image_settings(nlohmann::json::parse(text), "p.json"), Error) << text;
  }
}

}  // namespace
}  // namespace mg
