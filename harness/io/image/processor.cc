#include "harness/io/image/processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/io/image/resample.h"
#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

class SettingsReader {
 public:
  SettingsReader(const nlohmann::json& config, std::string file)
      : config_(config), file_(std::move(file)) {}

  void flag(const char* key, bool& value) {
    if (const nlohmann::json* found = find(key)) {
      if (!found->is_boolean()) {
        fail(key, "true or false", *found);
      }
      value = found->get<bool>();
    }
  }

  void size(const char* key, std::int64_t& value) { size(config_, key, value); }

  void size(const nlohmann::json& object, const char* key, std::int64_t& value) {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) {
      return;
    }
    constexpr std::int64_t kMost = std::int64_t{1} << 32;
    if (!found->is_number_integer() || found->get<std::int64_t>() < 1 ||
        found->get<std::int64_t>() > kMost) {
      fail(key, "a positive whole number", *found);
    }
    value = found->get<std::int64_t>();
  }

  void factor(const char* key, double& value) {
    if (const nlohmann::json* found = find(key)) {
      if (!found->is_number() || !std::isfinite(found->get<double>())) {
        fail(key, "a number", *found);
      }
      value = found->get<double>();
    }
  }

  void colours(const char* key, std::array<double, 3>& values, bool divisor) {
    const nlohmann::json* found = find(key);
    if (found == nullptr) {
      return;
    }
    const auto good = [&](const nlohmann::json& each) {
      return each.is_number() && std::isfinite(each.get<double>()) &&
             (!divisor || each.get<double>() > 0);
    };
    if (!found->is_array() || found->size() != values.size() ||
        !std::all_of(found->begin(), found->end(), good)) {
      fail(key, divisor ? "three positive numbers" : "three numbers", *found);
    }
    values = found->get<std::array<double, 3>>();
  }

  const nlohmann::json* find(const char* key) const {
    const auto found = config_.find(key);
    return found == config_.end() || found->is_null() ? nullptr : &*found;
  }

  [[noreturn]] void fail(const char* key, std::string expected,
                         const nlohmann::json& actual) const {
    throw Error({.code = "image.settings",
                 .what = "the image processor's settings are not supported",
                 .where = file_ + ", key " + key,
                 .expected = std::move(expected),
                 .actual = actual.dump(),
                 .hint = "take preprocessor_config.json from the base model"});
  }

 private:
  const nlohmann::json& config_;
  std::string file_;
};

/// Python's round(): halves to even.
std::int64_t rounded(double value) {
  return static_cast<std::int64_t>(std::nearbyint(value));
}

}  // namespace

ImageSettings parse_image_settings(const nlohmann::json& config, const std::string& file) {
  SettingsReader reader(config, file);
  ImageSettings settings;
  reader.flag("do_resize", settings.do_resize);
  reader.flag("do_rescale", settings.do_rescale);
  reader.flag("do_normalize", settings.do_normalize);
  if (const nlohmann::json* size = reader.find("size"); size != nullptr && size->is_object()) {
    for (const char* key : {"shortest_edge", "min_pixels"}) {
      reader.size(*size, key, settings.min_pixels);
    }
    for (const char* key : {"longest_edge", "max_pixels"}) {
      reader.size(*size, key, settings.max_pixels);
    }
  }
  reader.size("min_pixels", settings.min_pixels);
  reader.size("max_pixels", settings.max_pixels);
  reader.size("patch_size", settings.patch_size);
  reader.size("temporal_patch_size", settings.temporal_patch_size);
  reader.size("merge_size", settings.merge_size);
  constexpr std::int64_t kMostSide = 4096;
  for (const auto& [key, value] : {std::pair{"patch_size", settings.patch_size},
                                   {"temporal_patch_size", settings.temporal_patch_size},
                                   {"merge_size", settings.merge_size}}) {
    if (value > kMostSide) {
      reader.fail(key, fmt::format("at most {}", kMostSide), value);
    }
  }
  if (settings.min_pixels > settings.max_pixels) {
    reader.fail("min_pixels", fmt::format("at most max_pixels = {}", settings.max_pixels),
                settings.min_pixels);
  }
  reader.factor("rescale_factor", settings.rescale_factor);
  reader.colours("image_mean", settings.mean, false);
  reader.colours("image_std", settings.deviation, true);
  constexpr int kBicubic = 3;  // PIL.Image.Resampling.BICUBIC
  if (const nlohmann::json* filter = reader.find("resample");
      filter != nullptr && *filter != kBicubic) {
    reader.fail("resample", "3: bicubic", *filter);
  }
  return settings;
}

std::optional<ImageSettings> read_image_settings(const std::filesystem::path& folder) {
  const std::filesystem::path plain = folder / "preprocessor_config.json";
  if (std::filesystem::is_regular_file(plain)) {
    return parse_image_settings(read_json(plain), plain.string());
  }
  const std::filesystem::path nested = folder / "processor_config.json";
  if (std::filesystem::is_regular_file(nested)) {
    const nlohmann::json config = read_json(nested);
    const auto found = config.find("image_processor");
    if (found != config.end() && found->is_object()) {
      return parse_image_settings(*found, nested.string());
    }
  }
  return std::nullopt;
}

std::array<std::int64_t, 2> resized_shape(std::int64_t height, std::int64_t width,
                                          const ImageSettings& settings, const std::string& name) {
  constexpr double kMostSlender = 200.0;
  const auto h = static_cast<double>(height);
  const auto w = static_cast<double>(width);
  const auto factor = static_cast<double>(settings.patch_size * settings.merge_size);
  const std::int64_t step = settings.patch_size * settings.merge_size;
  if (std::max(h, w) / std::min(h, w) > kMostSlender) {
    fail_image("shape", name, "the image is too slender for the model's processor",
               "sides of at most 200 to 1", fmt::format("{} x {}", width, height));
  }
  std::int64_t out_h = rounded(h / factor) * step;
  std::int64_t out_w = rounded(w / factor) * step;
  const auto least = static_cast<double>(settings.min_pixels);
  const auto most = static_cast<double>(settings.max_pixels);
  if (out_h * out_w > settings.max_pixels) {
    const double beta = std::sqrt(h * w / most);
    out_h = std::max(step, static_cast<std::int64_t>(std::floor(h / beta / factor)) * step);
    out_w = std::max(step, static_cast<std::int64_t>(std::floor(w / beta / factor)) * step);
  } else if (out_h * out_w < settings.min_pixels) {
    const double beta = std::sqrt(least / (h * w));
    out_h = static_cast<std::int64_t>(std::ceil(h * beta / factor)) * step;
    out_w = static_cast<std::int64_t>(std::ceil(w * beta / factor)) * step;
  }
  if (out_h < 1 || out_w < 1) {
    fail_image("shape", name, "the image is smaller than a token's patches",
               fmt::format("sides of {} or more, or a larger min_pixels", step / 2),
               fmt::format("{} x {}", width, height));
  }
  return {out_h, out_w};
}

ImagePatches make_patches(const Image& image, const ImageSettings& settings,
                          const std::string& name) {
  const std::int64_t step = settings.patch_size * settings.merge_size;
  std::array<std::int64_t, 2> shape = {image.height, image.width};
  if (settings.do_resize) {
    shape = resized_shape(image.height, image.width, settings, name);
  } else if (image.height % step != 0 || image.width % step != 0) {
    fail_image("shape", name, "do_resize is false and the image's sides fit no patches",
               fmt::format("multiples of {}", step),
               fmt::format("{} x {}", image.width, image.height));
  }
  const std::int64_t height = shape[0];
  const std::int64_t width = shape[1];
  const Image resized = resample_bicubic(image, width, height);
  // Of every grey level of every colour: rescaled in double and rounded, normalised in float32, as
  // NumPy does.
  std::array<std::array<float, 256>, 3> value_of{};
  for (std::size_t c = 0; c < 3; ++c) {
    const auto mean = static_cast<float>(settings.mean[c]);
    const auto deviation = static_cast<float>(settings.deviation[c]);
    for (std::size_t level = 0; level < value_of[c].size(); ++level) {
      auto value = static_cast<float>(level);
      if (settings.do_rescale) {
        value = static_cast<float>(static_cast<double>(level) * settings.rescale_factor);
      }
      value_of[c][level] = settings.do_normalize ? (value - mean) / deviation : value;
    }
  }
  const std::int64_t patch = settings.patch_size;
  const std::int64_t merge = settings.merge_size;
  ImagePatches out{.grid = {1, height / patch, width / patch}, .values = {}};
  out.values.reserve(static_cast<std::size_t>(height * width * 3 * settings.temporal_patch_size));
  const auto add_patch = [&](std::int64_t top, std::int64_t left) {
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::int64_t frame = 0; frame < settings.temporal_patch_size; ++frame) {
        for (std::int64_t y = top; y < top + patch; ++y) {
          const std::uint8_t* pixel =
              resized.rgb.data() + (y * width + left) * 3 + static_cast<std::ptrdiff_t>(c);
          for (std::int64_t x = 0; x < patch; ++x, pixel += 3) {
            out.values.push_back(value_of[c][*pixel]);
          }
        }
      }
    }
  };
  for (std::int64_t row = 0; row < height; row += step) {
    for (std::int64_t column = 0; column < width; column += step) {
      for (std::int64_t i = 0; i < merge * merge; ++i) {
        add_patch(row + i / merge * patch, column + i % merge * patch);
      }
    }
  }
  return out;
}

}  // namespace mg
