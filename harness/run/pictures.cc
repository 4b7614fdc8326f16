#include "harness/run/pictures.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "harness/io/image/processor.h"
#include "harness/io/safetensors.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

std::string grid_text(const Grid& grid) {
  return fmt::format("{} x {} x {}", grid[0], grid[1], grid[2]);
}

[[noreturn]] void fail(std::string code, std::string what, std::string where, std::string expected,
                       std::string actual, std::string hint = "") {
  throw Error({.code = std::move(code),
               .what = std::move(what),
               .where = std::move(where),
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

/// The values of a stored tensor [rows, cols], widened; they must be numbers.
std::vector<float> stored_patches(const PixelValuesRef& ref, const Shape& expected) {
  const SafetensorsFile file = SafetensorsFile::open(ref.file);
  const std::vector<SafetensorsRecord>& records = file.header().records;
  const auto record =
      std::find_if(records.begin(), records.end(),
                   [&](const SafetensorsRecord& each) { return each.name == ref.tensor; });
  const std::string where = ref.file.string() + ", " + ref.tensor;
  if (record == records.end()) {
    fail("suite.pixel-values", "the file has no tensor of this name", where, ref.tensor,
         records.empty() ? "no tensor" : records.front().name + ", ...");
  }
  const bool number =
      record->dtype == DType::kF32 || record->dtype == DType::kF16 || record->dtype == DType::kBF16;
  if (!number || record->shape != expected) {
    fail("suite.pixel-values", "pixel values are not what the grids say", where,
         "F32, F16 or BF16 of shape " + to_string(expected),
         fmt::format("{} of shape {}", dtype_name(record->dtype), to_string(record->shape)),
         "rows are patches, columns channels * frames * patch size squared");
  }
  const TensorView view = file.view(*record);
  std::vector<float> values(static_cast<std::size_t>(view.elements()));
  widen_to_float(view.dtype, view.data, view.elements(), values.data());
  const auto bad = std::find_if_not(values.begin(), values.end(),
                                    [](float value) { return std::isfinite(value); });
  if (bad != values.end()) {
    fail("suite.pixel-values", "a pixel value is not finite", where, "finite numbers",
         fmt::format("{} at element {}", *bad, bad - values.begin()));
  }
  return values;
}

/// Checks the grids and takes their patches: `ready`, or those of the file.
std::vector<BatchPicture> read_pictures(const std::vector<Grid>& grids,
                                        const std::optional<PixelValuesRef>& ref, bool video,
                                        const std::vector<double>& seconds,
                                        const std::vector<float>* ready, const VisionConfig& vision,
                                        const std::string& where) {
  std::vector<BatchPicture> pictures;
  std::int64_t rows = 0;
  for (std::size_t i = 0; i < grids.size(); ++i) {
    const Grid& grid = grids[i];
    const std::optional<std::int64_t> patches = element_count({grid[0], grid[1], grid[2]});
    const std::int64_t merge = vision.spatial_merge_size;
    constexpr std::int64_t kMostPatches = 1 << 24;
    if (grid[1] % merge != 0 || grid[2] % merge != 0 || !patches || *patches > kMostPatches) {
      fail("suite.image-grid", "a grid cannot be merged into tokens", where,
           fmt::format("height and width that are multiples of {}, at most {} patches", merge,
                       kMostPatches),
           grid_text(grid));
    }
    rows += *patches;
    BatchPicture& picture = pictures.emplace_back();
    picture.picture = {
        .video = video, .grid = grid, .seconds_per_frame = seconds.empty() ? 1.0 : seconds[i]};
    picture.rows = tokens_of(picture.picture, vision);
  }
  if (pictures.empty()) {
    return pictures;
  }
  const std::int64_t width =
      vision.in_channels * vision.temporal_patch_size * vision.patch_size * vision.patch_size;
  const std::vector<float> stored =
      ready == nullptr ? stored_patches(*ref, {rows, width}) : std::vector<float>{};
  const std::vector<float>& all = ready == nullptr ? stored : *ready;
  MG_CHECK(static_cast<std::int64_t>(all.size()) == rows * width, "patches are those of the grids");
  auto first = all.begin();
  for (BatchPicture& picture : pictures) {
    const auto last = first + picture.picture.patches() * width;
    picture.patches = std::make_shared<const std::vector<float>>(first, last);
    first = last;
  }
  return pictures;
}

/// Images and clips in the order of their placeholders.
std::vector<BatchPicture> in_order(std::span<const std::int32_t> ids,
                                   std::vector<BatchPicture> images,
                                   std::vector<BatchPicture> videos, const VisionConfig& vision) {
  std::vector<BatchPicture> ordered;
  auto image = images.begin();
  auto video = videos.begin();
  for (std::size_t at = 0; at < ids.size();) {
    const std::int64_t id = ids[at];
    std::ptrdiff_t step = 1;
    if (id == vision.image_token_id && image != images.end()) {
      step = image->rows;
      ordered.push_back(std::move(*image++));
    } else if (id == vision.video_token_id && video != videos.end()) {
      step = video->rows;
      ordered.push_back(std::move(*video++));
    }
    at += static_cast<std::size_t>(step);
  }
  // Those without a placeholder come last: their check fails.
  std::move(image, images.end(), std::back_inserter(ordered));
  std::move(video, videos.end(), std::back_inserter(ordered));
  return ordered;
}

[[noreturn]] void fail_no_vision(const std::string& where) {
  fail("suite.no-vision", "a prompt has an image and the model has no vision tower", where,
       "a model with a vision_config", "none", "use a suite without images");
}

ImageSettings settings_of(std::span<const std::filesystem::path> folders,
                          const VisionConfig& vision, const std::string& where) {
  for (const std::filesystem::path& folder : folders) {
    const std::optional<ImageSettings> settings =
        folder.empty() ? std::nullopt : read_image_settings(folder);
    if (!settings) {
      continue;
    }
    const std::array given = {settings->patch_size, settings->temporal_patch_size,
                              settings->merge_size, std::int64_t{3}};
    const std::array expected = {vision.patch_size, vision.temporal_patch_size,
                                 vision.spatial_merge_size, vision.in_channels};
    if (given != expected) {
      fail("image.settings", "the image processor's patches are not the vision tower's",
           folder.string(),
           fmt::format("patch, frames, merge size, colours: {}", fmt::join(expected, ", ")),
           fmt::format("{}", fmt::join(given, ", ")),
           "take preprocessor_config.json from the base model");
    }
    return *settings;
  }
  fail("image.no-settings", "no folder of this run says how images are prepared", where,
       "preprocessor_config.json", "none", "copy it from the base model");
}

/// Repeats the placeholders that the template wrote once for each picture; spans move along.
void expand_placeholders(SuitePrompt& prompt, const VisionConfig& vision,
                         const std::string& where) {
  std::size_t image = 0;
  std::size_t video = 0;
  std::vector<std::int32_t> ids;
  std::vector<std::int64_t> moved;  // where each id of the prompt begins now
  for (const std::int32_t id : prompt.input_ids) {
    moved.push_back(static_cast<std::int64_t>(ids.size()));
    std::int64_t count = 1;
    if (id == vision.image_token_id && image++ < prompt.image_grid_thw.size()) {
      count = tokens_of({.grid = prompt.image_grid_thw[image - 1]}, vision);
    } else if (id == vision.video_token_id && video++ < prompt.video_grid_thw.size()) {
      count = tokens_of({.video = true, .grid = prompt.video_grid_thw[video - 1]}, vision);
    }
    ids.insert(ids.end(), static_cast<std::size_t>(count), id);
  }
  moved.push_back(static_cast<std::int64_t>(ids.size()));
  if (image != prompt.image_grid_thw.size() || video != prompt.video_grid_thw.size()) {
    fail("suite.image-tokens", "the chat template wrote other placeholders than a chat has images",
         where,
         fmt::format("{} images (token {}), {} videos (token {})", prompt.image_grid_thw.size(),
                     vision.image_token_id, prompt.video_grid_thw.size(), vision.video_token_id),
         fmt::format("{}, {}", image, video),
         "is the template a vision model's, and does it take images of this role?");
  }
  prompt.input_ids = std::move(ids);
  for (TokenSpan& span : prompt.spans) {
    span.range.begin = moved[static_cast<std::size_t>(span.range.begin)];
    span.range.end = moved[static_cast<std::size_t>(span.range.end)];
  }
}

void decode_images(SuitePrompt& prompt, const ImageSettings& settings) {
  auto patches = std::make_shared<std::vector<float>>();
  for (const SuiteImage& image : prompt.images) {
    const std::string name = image.file.string();
    const Image pixels = image.bytes.empty()
                             ? read_image(image.file)
                             : decode_image(std::as_bytes(std::span(image.bytes)), name);
    ImagePatches made = make_patches(pixels, settings, name);
    prompt.image_grid_thw.push_back(made.grid);
    patches->insert(patches->end(), made.values.begin(), made.values.end());
  }
  prompt.patches = std::move(patches);
}

}  // namespace

void prepare_pictures(Suite& suite, const VisionConfig* vision,
                      std::span<const std::filesystem::path> folders) {
  std::optional<ImageSettings> settings;
  for (SuitePrompt& prompt : suite.prompts) {
    const bool ready = !prompt.image_grid_thw.empty() || !prompt.video_grid_thw.empty();
    if (!prompt.messages || (prompt.images.empty() && !ready)) {
      continue;
    }
    const std::string where = fmt::format("suite {}, prompt \"{}\"", suite.name, prompt.id);
    if (vision == nullptr) {
      fail_no_vision(where);
    }
    if (!prompt.images.empty()) {
      if (!settings) {
        settings = settings_of(folders, *vision, where);
      }
      decode_images(prompt, *settings);
    }
    expand_placeholders(prompt, *vision, where);
  }
}

PromptContent content_of(const SuitePrompt& prompt, const VisionConfig* vision) {
  PromptContent content{.ids = prompt.input_ids, .positions = {}, .pictures = {}};
  if (prompt.image_grid_thw.empty() && prompt.video_grid_thw.empty()) {
    return content;
  }
  const std::string where = fmt::format("prompt \"{}\"", prompt.id);
  if (vision == nullptr) {
    fail_no_vision(where);
  }
  content.pictures = in_order(content.ids,
                              read_pictures(prompt.image_grid_thw, prompt.pixel_values, false, {},
                                            prompt.patches.get(), *vision, where),
                              read_pictures(prompt.video_grid_thw, prompt.pixel_values_videos, true,
                                            prompt.second_per_grid_ts, nullptr, *vision, where),
                              *vision);
  std::vector<Picture> pictures;
  for (const BatchPicture& each : content.pictures) {
    pictures.push_back(each.picture);
  }
  try {
    const std::vector<std::int64_t> starts = placeholder_starts(content.ids, pictures, *vision);
    for (std::size_t i = 0; i < starts.size(); ++i) {
      content.pictures[i].row = starts[i];
    }
    content.positions = prompt_positions(content.ids, pictures, *vision);
  } catch (const Error& error) {
    ErrorParts parts = error.parts();
    parts.where = where;
    throw Error(std::move(parts));
  }
  return content;
}

}  // namespace mg
