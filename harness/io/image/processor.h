// What a Qwen-VL model makes of an image: size, resampling, normalisation, patches, as
// transformers' Pillow-based Qwen2VLImageProcessor does, by the folder's preprocessor_config.json.
#pragma once

#include <array>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/image/image.h"

namespace mg {

/// transformers' keys; values are the class's defaults.
struct ImageSettings {
  bool do_resize = true;
  bool do_rescale = true;
  bool do_normalize = true;
  std::int64_t min_pixels = 56 * 56;
  std::int64_t max_pixels = 28 * 28 * 1280;
  std::int64_t patch_size = 14;
  std::int64_t temporal_patch_size = 2;
  std::int64_t merge_size = 2;
  double rescale_factor = 1.0 / 255.0;
  std::array<double, 3> mean = {0.48145466, 0.4578275, 0.40821073};
  std::array<double, 3> deviation = {0.26862954, 0.26130258, 0.27577711};

  bool operator==(const ImageSettings&) const = default;
};

/// Throws Error "image.settings" for a key of another type or a value that is not supported
/// (another filter than bicubic).  `file` stands in errors.
ImageSettings parse_image_settings(const nlohmann::json& config, const std::string& file);

/// preprocessor_config.json of a model's folder, or "image_processor" in its processor_config.json;
/// nothing where it has neither.
std::optional<ImageSettings> read_image_settings(const std::filesystem::path& folder);

/// Height and width after resizing (the reference's smart_resize).  Throws Error "image.shape"
/// where one side is more than 200 times the other.
std::array<std::int64_t, 2> resized_shape(std::int64_t height, std::int64_t width,
                                          const ImageSettings& settings, const std::string& name);

struct ImagePatches {
  std::array<std::int64_t, 3> grid{};  // time, height, width in patches
  std::vector<float> values;  // [patches, 3 * temporal * patch * patch], merged ones side by side
};

ImagePatches make_patches(const Image& image, const ImageSettings& settings,
                          const std::string& name);

}  // namespace mg
