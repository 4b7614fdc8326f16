#include "harness/model/vision.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>

#include "harness/model/lane_ops.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

[[noreturn]] void fail_placeholders(std::string expected, std::string actual) {
  throw Error({.code = "suite.image-tokens",
               .what = "the placeholders of a prompt do not match its images",
               .where = {},
               .expected = std::move(expected),
               .actual = std::move(actual),
               .hint = "an image takes time * height * width / merge size squared placeholders"});
}

std::string kind_of(const Picture& picture) {
  return picture.video ? "video" : "image";
}

/// Where the run of placeholders that begins at `at` is a picture's: the index of the first.
std::int64_t take_placeholders(std::span<const std::int32_t> ids, std::int64_t at,
                               const Picture& picture, const VisionConfig& vision) {
  const auto count = static_cast<std::int64_t>(ids.size());
  const auto id = [&](std::int64_t i) {
    return static_cast<std::int64_t>(ids[static_cast<std::size_t>(i)]);
  };
  const std::int64_t wanted = picture.video ? vision.video_token_id : vision.image_token_id;
  std::int64_t begin = at;
  while (begin < count && id(begin) != vision.image_token_id &&
         id(begin) != vision.video_token_id) {
    ++begin;
  }
  std::int64_t end = begin;
  while (end < count && end - begin < tokens_of(picture, vision) && id(end) == wanted) {
    ++end;
  }
  if (end - begin != tokens_of(picture, vision)) {
    fail_placeholders(
        fmt::format("{} tokens {} for the {} of grid {} x {} x {}", tokens_of(picture, vision),
                    wanted, kind_of(picture), picture.grid[0], picture.grid[1], picture.grid[2]),
        fmt::format("{} from position {}", end - begin, begin));
  }
  return begin;
}

void append_text(std::vector<Position>& positions, std::int64_t count, std::int64_t& next) {
  for (std::int64_t i = 0; i < count; ++i, ++next) {
    positions.push_back({next, next, next});
  }
}

void append_picture(std::vector<Position>& positions, const Picture& picture,
                    const VisionConfig& vision, std::int64_t& next) {
  const auto [time, height, width] = picture.grid;
  const std::int64_t merge = vision.spatial_merge_size;
  // In float32 and truncated, as the reference; only clips have an interval.
  const float interval = picture.video && vision.tokens_per_second > 0
                             ? static_cast<float>(vision.tokens_per_second) *
                                   static_cast<float>(picture.seconds_per_frame)
                             : 1.0F;
  for (std::int64_t t = 0; t < time; ++t) {
    const auto step = static_cast<std::int64_t>(static_cast<float>(t) * interval);
    for (std::int64_t h = 0; h < height / merge; ++h) {
      for (std::int64_t w = 0; w < width / merge; ++w) {
        positions.push_back({next + step, next + h, next + w});
      }
    }
  }
  next += std::max(height, width) / merge;
}

/// [begin, end) cut into pieces of `size`, the last one shorter.
std::vector<std::pair<std::int64_t, std::int64_t>> pieces(std::int64_t end, std::int64_t size) {
  std::vector<std::pair<std::int64_t, std::int64_t>> result;
  for (std::int64_t begin = 0; begin < end; begin += size) {
    result.emplace_back(begin, std::min(end, begin + size));
  }
  return result;
}

}  // namespace

std::int64_t tokens_of(const Picture& picture, const VisionConfig& vision) {
  return picture.patches() / (vision.spatial_merge_size * vision.spatial_merge_size);
}

ModelConfig tower_config(const ModelConfig& config) {
  MG_CHECK(config.vision.has_value(), "the model has a vision tower");
  const VisionConfig& vision = *config.vision;
  ModelConfig tower;
  tower.model_type = config.model_type + " vision tower";
  tower.hidden_size = vision.embed_dim;
  tower.intermediate_size = vision.intermediate_size;
  tower.num_hidden_layers = vision.depth;
  tower.num_attention_heads = vision.num_heads;
  tower.num_key_value_heads = vision.num_heads;
  tower.head_dim = vision.embed_dim / vision.num_heads;
  if (tower.head_dim % 4 != 0) {  // rows and columns each turn pairs
    throw Error({.code = "config.unsupported",
                 .what = "a head of the vision tower cannot be turned by rows and columns",
                 .where = "config.json, vision_config",
                 .expected = "heads of a multiple of 4",
                 .actual = std::to_string(tower.head_dim),
                 .hint = "take vision_config from the base model's config.json"});
  }
  tower.norm = vision.norm;
  tower.norm_eps = 1e-6;  // written in the reference's code, no key of the config
  tower.activation = vision.activation;
  tower.gated_mlp = vision.gated_mlp;
  tower.packed_qkv = true;
  tower.causal = false;
  tower.attention_scale = 1.0 / std::sqrt(static_cast<double>(tower.head_dim));
  RopeConfig rope;
  rope.kind = RopeConfig::Kind::kAxial;
  rope.theta = vision.rope_theta;
  tower.ropes = {rope};
  tower.layers.resize(static_cast<std::size_t>(vision.depth));
  for (std::int64_t block = 0; block < vision.depth; ++block) {
    const std::vector<std::int64_t>& full = vision.full_attention_blocks;
    tower.layers[static_cast<std::size_t>(block)].in_parts =
        vision.window_size > 0 && std::find(full.begin(), full.end(), block) == full.end();
  }
  return tower;
}

std::vector<std::int64_t> placeholder_starts(std::span<const std::int32_t> ids,
                                             std::span<const Picture> pictures,
                                             const VisionConfig& vision) {
  std::vector<std::int64_t> starts;
  std::int64_t at = 0;
  for (const Picture& picture : pictures) {
    starts.push_back(take_placeholders(ids, at, picture, vision));
    at = starts.back() + tokens_of(picture, vision);
  }
  for (; !pictures.empty() && at < static_cast<std::int64_t>(ids.size()); ++at) {
    const std::int64_t id = ids[static_cast<std::size_t>(at)];
    if (id == vision.image_token_id || id == vision.video_token_id) {
      fail_placeholders(fmt::format("no placeholder after those of {} images", pictures.size()),
                        fmt::format("token {} at position {}", id, at));
    }
  }
  return starts;
}

std::vector<Position> prompt_positions(std::span<const std::int32_t> ids,
                                       std::span<const Picture> pictures,
                                       const VisionConfig& vision) {
  const std::vector<std::int64_t> starts = placeholder_starts(ids, pictures, vision);
  std::vector<Position> positions;
  positions.reserve(ids.size());
  std::int64_t next = 0;
  for (std::size_t i = 0; i < pictures.size(); ++i) {
    append_text(positions, starts[i] - static_cast<std::int64_t>(positions.size()), next);
    append_picture(positions, pictures[i], vision, next);
  }
  append_text(positions, static_cast<std::int64_t>(ids.size() - positions.size()), next);
  return positions;
}

FrameLayout frame_layout(const Picture& picture, const VisionConfig& vision) {
  const std::int64_t merge = vision.spatial_merge_size;
  const std::int64_t rows = picture.grid[1] / merge;  // of tokens
  const std::int64_t cols = picture.grid[2] / merge;
  // Windows are squares of tokens; one as large as the frame where there are none.
  const std::int64_t side = vision.window_size > 0 ? vision.window_size / vision.patch_size / merge
                                                   : std::max(rows, cols);
  FrameLayout layout;
  for (const auto& [top, bottom] : pieces(rows, side)) {
    for (const auto& [left, right] : pieces(cols, side)) {
      for (std::int64_t row = top; row < bottom; ++row) {
        for (std::int64_t col = left; col < right; ++col) {
          layout.tokens.push_back(row * cols + col);
          for (std::int64_t patch = 0; patch < merge * merge; ++patch) {
            layout.positions.push_back(
                {0, row * merge + patch / merge, col * merge + patch % merge});
          }
        }
      }
      layout.windows.push_back((bottom - top) * (right - left) * merge * merge);
    }
  }
  return layout;
}

void embed_patches(Backend& backend, const GlobalWeights& weights, Mat pixels, Mat hidden) {
  const LaneLinear lane{&weights.patch_embed, 0, pixels.rows};
  lanes_linear(backend, std::span(&lane, 1), pixels, hidden);
}

void merge_patches(Backend& backend, std::span<const LaneMerger> lanes, std::int64_t merged) {
  const std::int64_t patches = lanes.front().hidden.rows;  // P
  const std::int64_t width = lanes.front().hidden.cols;    // E
  const std::int64_t tokens = patches / merged;            // P / m / m
  const auto count = static_cast<std::int64_t>(lanes.size());
  const std::int64_t outputs = lanes.front().tokens.cols;  // H
  const std::unique_ptr<Buffer> normed = backend.allocate(count * patches * width);
  const std::unique_ptr<Buffer> inner = backend.allocate(count * patches * width);
  const std::unique_ptr<Buffer> last = backend.allocate(count * tokens * outputs);
  const Mat x = whole(*normed, count * patches, width);               // [lanes*P, E]
  const Mat beside = whole(*normed, count * tokens, merged * width);  // [lanes*P/m/m, m*m*E]
  const Mat up = whole(*inner, count * tokens, merged * width);       // [lanes*P/m/m, m*m*E]
  const Mat out = whole(*last, count * tokens, outputs);              // [lanes*P/m/m, H]
  std::vector<LaneLinear> ups;
  std::vector<LaneLinear> downs;
  for (std::int64_t i = 0; i < count; ++i) {
    const LaneMerger& lane = lanes[static_cast<std::size_t>(i)];
    normalise(backend, *lane.tower, lane.weights->merger_norm, lane.hidden,
              x.row_range(i * patches, patches));
    ups.push_back({&lane.weights->merger_up, i * tokens, tokens});
    downs.push_back({&lane.weights->merger_down, i * tokens, tokens});
  }
  lanes_linear(backend, ups, beside, up);
  backend.activation(ActivationKind::kGeluErf, up);
  lanes_linear(backend, downs, up, out);
  for (std::int64_t i = 0; i < count; ++i) {
    backend.copy(out.row_range(i * tokens, tokens), lanes[static_cast<std::size_t>(i)].tokens);
  }
}

}  // namespace mg
