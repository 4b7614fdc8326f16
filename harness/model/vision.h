// A vision tower of the Qwen-VL kind: what stands before and after its blocks, where its patches
// and the tokens they become lie.  The blocks themselves are layers like the text's (forward.h),
// with the config that tower_config() gives.  transformers: models/qwen2_vl/modeling_qwen2_vl.py,
// models/qwen2_5_vl/modeling_qwen2_5_vl.py, vision_utils.py.  Not for: image files
// (harness/io/image).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/model/forward.h"
#include "harness/model/rope.h"

namespace mg {

/// Time, height and width in patches.
using Grid = std::array<std::int64_t, 3>;

/// An image, or a clip.  A model gets its patches frame by frame; within a frame the m * m patches
/// that become one token follow one another.
struct Picture {
  bool video = false;
  Grid grid{};
  double seconds_per_frame = 1.0;  // of a clip: between two of the grid's time steps

  std::int64_t patches() const { return grid[0] * grid[1] * grid[2]; }
  std::int64_t frame_patches() const { return grid[1] * grid[2]; }
  bool operator==(const Picture&) const = default;
};

/// The tokens that a picture becomes.
std::int64_t tokens_of(const Picture& picture, const VisionConfig& vision);

/// The tower's blocks as a stack of layers.  Needs config.vision.  Throws Error
/// "config.unsupported".
ModelConfig tower_config(const ModelConfig& config);

/// Positions of a prompt's tokens (get_rope_index): text counts on in all three axes, a picture's
/// tokens stand at their place in its grid, text after it goes on behind the largest.  `pictures`
/// in the order of their placeholders.  Throws Error "suite.image-tokens" where placeholders and
/// pictures do not match; without pictures placeholders are text, as in the reference.
std::vector<Position> prompt_positions(std::span<const std::int32_t> ids,
                                       std::span<const Picture> pictures,
                                       const VisionConfig& vision);

/// Index of the first placeholder of each picture in the prompt.  Throws as prompt_positions().
std::vector<std::int64_t> placeholder_starts(std::span<const std::int32_t> ids,
                                             std::span<const Picture> pictures,
                                             const VisionConfig& vision);

/// A frame's place in its tower: the order in which its patches stand there, in windows where the
/// tower has them.
struct FrameLayout {
  std::vector<std::int64_t> tokens;   // of the frame, [h * w / m / m], in the tower's order
  std::vector<Position> positions;    // of its patches, in the tower's order: 0, row, column
  std::vector<std::int64_t> windows;  // patches of each window; one without windows
};
FrameLayout frame_layout(const Picture& picture, const VisionConfig& vision);

/// hidden [P, E] = the convolution of pixels [P, C * temporal * patch * patch], which its stride
/// makes a product.
void embed_patches(Backend& backend, const GlobalWeights& weights, Mat pixels, Mat hidden);

/// A lane's part in the merger.
struct LaneMerger {
  const ModelConfig* tower = nullptr;
  const GlobalWeights* weights = nullptr;
  Mat hidden;  // [P, E]
  Mat tokens;  // [P / m / m, H]
};

/// tokens = mlp(norm(hidden)), m * m patches side by side; `merged` is m * m.
void merge_patches(Backend& backend, std::span<const LaneMerger> lanes, std::int64_t merged);

}  // namespace mg
