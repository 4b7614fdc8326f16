#include "harness/lanes/tower.h"

#include <algorithm>
#include <utility>

#include "kernels/core/error.h"

namespace mg {
namespace {

void require_same_towers(std::span<const Lane> lanes, std::size_t reference) {
  const auto sizes = [](const VisionConfig& v) {
    return Shape{v.depth,       v.embed_dim,  v.num_heads,           v.intermediate_size,
                 v.in_channels, v.patch_size, v.temporal_patch_size, v.spatial_merge_size};
  };
  for (const Lane& lane : lanes) {
    if (!lane.source->config().vision) {
      throw Error({.code = "lanes.no-vision",
                   .what = "a prompt has an image and the model has no vision tower",
                   .where = lane.name,
                   .expected = "a vision_config",
                   .actual = "none",
                   .hint = "use a suite without images"});
    }
  }
  const VisionConfig& expected = *lanes[reference].source->config().vision;
  for (const Lane& lane : lanes) {
    const VisionConfig& vision = *lane.source->config().vision;
    if (sizes(vision) != sizes(expected)) {
      throw Error({.code = "lanes.shape",
                   .what = "two vision towers have different sizes and cannot run side by side",
                   .where = lane.name + " beside " + lanes[reference].name,
                   .expected = to_string(sizes(expected)),
                   .actual = to_string(sizes(vision)),
                   .hint =
                       "sizes are blocks, width, heads, MLP, channels, patch, frames of a patch, "
                       "merge size: compare the two config.json"});
    }
  }
}

}  // namespace

void TowerTokens::put(const Batch& batch, const std::function<Mat(std::size_t)>& hidden) const {
  MG_CHECK(pictures.size() == batch.pictures.size(), "every picture went through the tower");
  for (std::size_t lane = 0; lane < tokens.size(); ++lane) {
    for (const PictureRows& picture : pictures) {
      const auto count = static_cast<std::int64_t>(picture.tower_rows.size());
      backends[lane]->gather_rows(tokens[lane], picture.tower_rows,
                                  hidden(lane).row_range(picture.row, count));
    }
  }
}

double tower_share_of(const ModelConfig& config, const Batch& batch) {
  double patches = 0;
  for (const BatchPicture& picture : batch.pictures) {
    patches += static_cast<double>(picture.picture.patches());
  }
  if (patches == 0 || !config.vision) {
    return 0.0;
  }
  const VisionConfig& vision = *config.vision;
  const double block = static_cast<double>(vision.embed_dim) *
                       static_cast<double>(4 * vision.embed_dim + 2 * vision.intermediate_size);
  const double layer = static_cast<double>(config.hidden_size) *
                       static_cast<double>(4 * config.hidden_size + 3 * config.intermediate_size);
  const double tower = patches * block * static_cast<double>(vision.depth);
  const double text =
      static_cast<double>(batch.tokens()) * layer * static_cast<double>(config.num_hidden_layers);
  return tower / (tower + text);
}

Tower::Tower(ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
             const LockstepOptions& options, LockstepResult& result)
    : lanes_(lanes),
      batch_(batch),
      options_(options),
      result_(result),
      vision_((require_same_towers(lanes, options.reference),
               *lanes[options.reference].source->config().vision)),
      merged_(vision_.spatial_merge_size * vision_.spatial_merge_size) {
  StackPlan plan;
  plan.stack = Stack::kVision;
  plan.batch = &frames_;
  plan.first_layer = lanes[options.reference].source->config().num_hidden_layers;
  for (const Lane& lane : lanes_) {
    configs_.push_back(tower_config(lane.source->config()));
  }
  for (const ModelConfig& config : configs_) {
    plan.configs.push_back(&config);
  }
  lay_out();
  plan.prompt_rows = prompt_rows_;
  stack_ = std::make_unique<LayerStack>(pool, lanes, options, std::move(plan), result);
}

void Tower::lay_out() {
  prompt_rows_.resize(batch_.prompts.size());
  for (std::size_t p = 0; p < batch_.pictures.size(); ++p) {
    const BatchPicture& each = batch_.pictures[p];
    const FrameLayout layout = frame_layout(each.picture, vision_);
    const auto frame_tokens = static_cast<std::int64_t>(layout.tokens.size());
    const std::int64_t first_token = frames_.tokens() / merged_;
    TowerTokens::PictureRows rows{.row = each.row, .tower_rows = {}};
    rows.tower_rows.resize(static_cast<std::size_t>(tokens_of(each.picture, vision_)));
    for (std::int64_t frame = 0; frame < each.picture.grid[0]; ++frame) {
      frames_.prompts.push_back({.id = batch_.prompts[each.prompt].id,
                                 .begin = frames_.tokens(),
                                 .length = frame_tokens * merged_,
                                 .parts = layout.windows});
      frames_.positions.insert(frames_.positions.end(), layout.positions.begin(),
                               layout.positions.end());
      for (std::int64_t i = 0; i < frame_tokens; ++i) {
        const std::int64_t token =
            frame * frame_tokens + layout.tokens[static_cast<std::size_t>(i)];
        rows.tower_rows[static_cast<std::size_t>(token)] =
            static_cast<std::int32_t>(first_token + frame * frame_tokens + i);
        for (std::int64_t patch = 0; patch < merged_; ++patch) {
          patch_of_row_.emplace_back(p, token * merged_ + patch);
        }
      }
    }
    rows.tower_rows.resize(static_cast<std::size_t>(each.rows));
    pictures_.push_back(std::move(rows));
    prompt_rows_[each.prompt].second += each.picture.patches();
  }
  std::int64_t begin = 0;
  for (auto& [first, count] : prompt_rows_) {
    first = begin;
    begin += count;
  }
}

void Tower::embed_frames() {
  const std::int64_t values =
      vision_.in_channels * vision_.temporal_patch_size * vision_.patch_size * vision_.patch_size;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    Backend& backend = *lanes_[i].backend;
    for (const PlacedChunk& placed : stack_->chunks()) {
      const std::int64_t count = placed.chunk.tokens;
      std::vector<float> pixels;
      pixels.reserve(static_cast<std::size_t>(count * values));
      for (std::int64_t row = placed.begin; row < placed.begin + count; ++row) {
        const auto& [picture, patch] = patch_of_row_[static_cast<std::size_t>(row)];
        const auto first = batch_.pictures[picture].patches->begin() + patch * values;
        pixels.insert(pixels.end(), first, first + values);
      }
      const std::unique_ptr<Buffer> uploaded = backend.allocate(count * values);
      const Mat rows = whole(*uploaded, count, values);
      backend.upload(pixels, rows);
      embed_patches(backend, lanes_[i].source->globals(), rows,
                    stack_->hidden(i).row_range(placed.begin, count));
    }
  }
}

TowerTokens Tower::run(const std::function<void(double)>& progress) {
  embed_frames();
  stack_->measure_embedding();
  stack_->run(progress);
  TowerTokens out;
  merge(out);
  measure_merger(out);
  out.pictures = std::move(pictures_);
  return out;
}

void Tower::merge(TowerTokens& out) {
  const std::int64_t width = vision_.hidden_size;
  const std::int64_t tokens = frames_.tokens() / merged_;
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    out.backends.push_back(lanes_[lane].backend);
    out.values.push_back(lanes_[lane].backend->allocate(tokens * width));
    out.tokens.push_back(whole(*out.values[lane], tokens, width));
  }
  for (const LaneGroup& group : stack_->groups()) {
    for (const auto& [begin, count] : plan_rows(tokens, options_.chunk_tokens / merged_)) {
      std::vector<LaneMerger> mergers;
      for (std::size_t lane = group.first; lane < group.first + group.count; ++lane) {
        mergers.push_back(
            {.tower = &configs_[lane],
             .weights = &lanes_[lane].source->globals(),
             .hidden = stack_->hidden(lane).row_range(begin * merged_, count * merged_),
             .tokens = out.tokens[lane].row_range(begin, count)});
      }
      merge_patches(*group.backend, mergers, merged_);
    }
  }
}

void Tower::measure_merger(const TowerTokens& out) {
  const std::int64_t width = vision_.hidden_size;
  std::vector<std::unique_ptr<Buffer>> forced;
  const std::int64_t sampled = stack_->forced_rows() / merged_;
  MeasuredPart measured{.stack = Stack::kVision,
                        .layer = vision_.depth,
                        .part = Part::kMerger,
                        .placed =
                            [&](std::size_t lane) {
                              return PlacedRows{out.backends[lane], out.tokens[lane]};
                            },
                        .forced = nullptr,
                        .forced_rows = stack_->forced_places(merged_),
                        .prompt_rows = prompt_rows_};
  for (auto& [first, count] : measured.prompt_rows) {
    first /= merged_;
    count /= merged_;
  }
  if (stack_->has_forced()) {
    stack_->copy_reference_to_forced();
    for (std::size_t s = 0; s < options_.subjects.size(); ++s) {
      const std::size_t lane = options_.subjects[s];
      forced.push_back(lanes_[lane].backend->allocate(sampled * width));
      const LaneMerger merger{.tower = &configs_[lane],
                              .weights = &lanes_[lane].source->globals(),
                              .hidden = stack_->forced(s),
                              .tokens = whole(*forced[s], sampled, width)};
      merge_patches(*lanes_[lane].backend, std::span(&merger, 1), merged_);
    }
    measured.forced = [&](std::size_t s) {
      return PlacedRows{lanes_[options_.subjects[s]].backend, whole(*forced[s], sampled, width)};
    };
  }
  measure_part(stack_->states(), options_, measured, result_);
}

}  // namespace mg
