#include "harness/lanes/layer_stack.h"

#include <algorithm>
#include <utility>

#include "harness/lanes/drift.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

/// Rows of the MLP in work at once: its inner buffers, [lanes * rows, 2 * I], should stay within 64
/// MB.
std::int64_t mlp_rows_of(const ModelConfig& config, std::int64_t lanes, std::int64_t chunk_tokens) {
  const std::int64_t width = 2 * std::max(config.intermediate_size, config.moe_intermediate_size);
  const std::int64_t fitting = (std::int64_t{64} << 20) / (lanes * width * 4);
  return std::min(chunk_tokens, std::max<std::int64_t>(256, fitting));
}

/// The angles of a block's rows; kept alive by the caller.
void rotate_by(const RopeTables& tables, std::int64_t begin, LaneBlock& block, RopeRows& rows) {
  if (block.layer->use_rope && !block.config->ropes.empty()) {
    rows = tables.rows(*block.config, block.layer->rope, begin, block.hidden.rows);
    block.rope = &rows;
  }
}

}  // namespace

void measure_part(HiddenStates& states, const LockstepOptions& options,
                  const MeasuredPart& measured, LockstepResult& result) {
  for (std::size_t i = 0; i < result.non_finite.size(); ++i) {
    if (result.non_finite[i]) {
      continue;
    }
    if (const auto bad = states.non_finite(measured.placed(i))) {
      const auto prompt =
          std::find_if(measured.prompt_rows.begin(), measured.prompt_rows.end(),
                       [&](const auto& rows) { return bad->first < rows.first + rows.second; });
      result.non_finite[i] = {
          .stack = measured.stack,
          .layer = measured.layer,
          .part = measured.part,
          .row = bad->first - prompt->first,
          .rows = bad->second,
          .prompt = static_cast<std::size_t>(prompt - measured.prompt_rows.begin())};
    }
  }
  const HalfDrift place{.stack = measured.stack,
                        .layer = measured.layer,
                        .part = measured.part,
                        .free_rel = 0,
                        .forced_rel = std::nullopt,
                        .prompt_rel = {}};
  for (std::size_t s = 0; s < options.subjects.size(); ++s) {
    const PlacedRows reference = measured.placed(options.reference_of(s));
    HalfRows rows{states.drift(measured.placed(options.subjects[s]), reference), {}};
    if (measured.part == Part::kPatchEmbed) {
      rows.forced = rows.free;  // pixels are everyone's input
    } else if (measured.forced) {
      rows.forced = states.drift(measured.forced(s), reference, measured.forced_rows);
    }
    result.drift[s].push_back(half_drift(place, rows, measured.prompt_rows));
    if (options.keep_rows) {
      result.rows[s].push_back(std::move(rows));
    }
  }
}

LayerStack::ForcedSample LayerStack::sample_of(const StackPlan& plan,
                                               const LockstepOptions& options) {
  ForcedSample sample;
  if (options.subjects.empty()) {
    return sample;
  }
  // A tower's frames are not the prompts that the option names.
  const bool chosen = options.forced_prompts && plan.stack == Stack::kLanguage;
  for (const std::size_t i :
       chosen ? *options.forced_prompts : forced_prompts(*plan.batch, options.forced_tokens)) {
    const BatchPrompt& prompt = plan.batch->prompts[i];
    sample.batch.add_rows(*plan.batch, prompt);
    sample.source_row.push_back(prompt.begin);
  }
  return sample;
}

LayerStack::LayerStack(ThreadPool& pool, std::span<const Lane> lanes,
                       const LockstepOptions& options, StackPlan plan, LockstepResult& result)
    : lanes_(lanes),
      options_(options),
      plan_(std::move(plan)),
      result_(result),
      width_(config().hidden_size),
      mlp_rows_(
          mlp_rows_of(config(), static_cast<std::int64_t>(lanes.size()), options.chunk_tokens)),
      forced_(sample_of(plan_, options)),
      chunks_(plan_chunks(*plan_.batch, options.chunk_tokens)),
      part_chunks_(plan_chunks(*plan_.batch, options.chunk_tokens, true)),
      forced_chunks_(plan_chunks(forced_.batch, options.chunk_tokens)),
      forced_part_chunks_(plan_chunks(forced_.batch, options.chunk_tokens, true)),
      states_(pool) {
  for (const Lane& lane : lanes_) {
    hidden_.push_back(lane.backend->allocate(rows() * width_));
  }
  for (const std::size_t lane : options_.subjects) {
    forced_hidden_.push_back(lanes_[lane].backend->allocate(forced_.batch.tokens() * width_));
  }
  make_groups();
}

void LayerStack::make_groups() {
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    if (groups_.empty() || groups_.back().backend != lanes_[i].backend) {
      groups_.push_back({.backend = lanes_[i].backend,
                         .first = i,
                         .count = 0,
                         .ropes = nullptr,
                         .forced_ropes = nullptr,
                         .work = nullptr});
    }
    ++groups_.back().count;
  }
  for (LaneGroup& group : groups_) {
    const std::vector<const ModelConfig*> configs(
        plan_.configs.begin() + static_cast<std::ptrdiff_t>(group.first),
        plan_.configs.begin() + static_cast<std::ptrdiff_t>(group.first + group.count));
    group.ropes = std::make_unique<RopeTables>(*group.backend, configs, *plan_.batch);
    group.forced_ropes = std::make_unique<RopeTables>(*group.backend, configs, forced_.batch);
    // plan_rows may add up to kMinStableRows - 1 rows to its last piece.
    group.work = std::make_unique<Workspace>(*group.backend, config(),
                                             static_cast<std::int64_t>(group.count),
                                             longest_chunk(), mlp_rows_ + kMinStableRows);
  }
}

const LaneGroup& LayerStack::group_of(std::size_t lane) const {
  return *std::find_if(groups_.begin(), groups_.end(), [&](const LaneGroup& group) {
    return lane >= group.first && lane < group.first + group.count;
  });
}

std::int64_t LayerStack::longest_chunk() const {
  std::int64_t longest = kMinStableRows;
  for (const std::vector<PlacedChunk>* all : {&chunks_, &forced_chunks_}) {
    for (const PlacedChunk& placed : *all) {
      longest = std::max(longest, placed.chunk.tokens);
    }
  }
  return longest;
}

void LayerStack::run(const std::function<void(double)>& progress) {
  const std::int64_t count = config().num_hidden_layers;
  for (std::int64_t l = 0; l < count; ++l) {
    layer(l);
    progress(static_cast<double>(l + 1) / static_cast<double>(count));
  }
}

void LayerStack::layer(std::int64_t l) {
  const std::int64_t stored = plan_.first_layer + l;
  std::vector<const LayerWeights*> weights;
  std::vector<Announced> in_use = std::exchange(ahead_, std::vector<Announced>(lanes_.size()));
  in_use.resize(lanes_.size());
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    WeightSource& source = *lanes_[i].source;
    weights.push_back(&layer_for(*lanes_[i].backend, source, stored));
    if (in_use[i].empty()) {
      in_use[i] = Announced(*lanes_[i].backend, source, *weights[i]);
    }
  }
  for (std::size_t i = 0; i < lanes_.size() && l + 1 < config().num_hidden_layers; ++i) {
    WeightSource& source = *lanes_[i].source;
    source.prefetch_layer(stored + 1);
    if (const LayerWeights* next = ahead_for(*lanes_[i].backend, source, stored + 1)) {
      ahead_[i] = Announced(*lanes_[i].backend, source, *next);
    }
  }
  copy_reference_to_forced();
  for (const PlacedChunk& placed : in_parts(l) ? part_chunks_ : chunks_) {
    attention(l, weights, placed);
  }
  forced_attention(l, weights);
  measure(l, Part::kAttention);
  copy_reference_to_forced();
  for (const auto& [begin, count] : plan_rows(rows(), mlp_rows_)) {
    mlp(l, weights, begin, count);
  }
  forced_mlp(l, weights);
  measure(l, Part::kMlp);
  in_use.clear();  // before their bytes go
  for (const Lane& lane : lanes_) {
    lane.source->release_layer(stored);
  }
}

LaneBlock LayerStack::block(std::size_t lane, std::int64_t l, const LayerWeights& weights,
                            Mat rows) const {
  const ModelConfig& config = *plan_.configs[lane];
  return {.config = &config,
          .layer = &config.layers[static_cast<std::size_t>(l)],
          .weights = &weights,
          .hidden = rows,
          .rope = nullptr,
          .cache = {}};
}

void LayerStack::attention(std::int64_t l, const std::vector<const LayerWeights*>& weights,
                           const PlacedChunk& placed) {
  for (const LaneGroup& group : groups_) {
    std::vector<LaneBlock> blocks;
    std::vector<RopeRows> ropes(group.count);
    for (std::size_t i = 0; i < group.count; ++i) {
      const std::size_t lane = group.first + i;
      blocks.push_back(block(lane, l, *weights[lane],
                             hidden(lane).row_range(placed.begin, placed.chunk.tokens)));
      rotate_by(*group.ropes, placed.begin, blocks[i], ropes[i]);
    }
    attention_block(*group.backend, blocks, placed.chunk, *group.work);
  }
}

void LayerStack::forced_attention(std::int64_t l, const std::vector<const LayerWeights*>& weights) {
  for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
    const std::size_t lane = options_.subjects[s];
    const LaneGroup& group = group_of(lane);
    for (const PlacedChunk& placed : in_parts(l) ? forced_part_chunks_ : forced_chunks_) {
      LaneBlock subject =
          block(lane, l, *weights[lane], forced(s).row_range(placed.begin, placed.chunk.tokens));
      RopeRows rope;
      rotate_by(*group.forced_ropes, placed.begin, subject, rope);
      attention_block(*group.backend, std::span(&subject, 1), placed.chunk, *group.work);
    }
  }
}

void LayerStack::mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights,
                     std::int64_t begin, std::int64_t count) {
  for (const LaneGroup& group : groups_) {
    std::vector<LaneBlock> blocks;
    for (std::size_t lane = group.first; lane < group.first + group.count; ++lane) {
      blocks.push_back(block(lane, l, *weights[lane], hidden(lane).row_range(begin, count)));
    }
    mlp_block(*group.backend, blocks, *group.work);
  }
}

void LayerStack::forced_mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights) {
  for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
    const std::size_t lane = options_.subjects[s];
    const LaneGroup& group = group_of(lane);
    for (const auto& [begin, count] : plan_rows(forced_.batch.tokens(), mlp_rows_)) {
      LaneBlock subject = block(lane, l, *weights[lane], forced(s).row_range(begin, count));
      mlp_block(*group.backend, std::span(&subject, 1), *group.work);
    }
  }
}

void LayerStack::copy_reference_to_forced() {
  for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
    const std::size_t source = options_.reference_of(s);
    Backend& reference = *lanes_[source].backend;
    Backend& backend = *lanes_[options_.subjects[s]].backend;
    for (std::size_t p = 0; p < forced_.source_row.size(); ++p) {
      const BatchPrompt& prompt = forced_.batch.prompts[p];
      const Mat from = hidden(source).row_range(forced_.source_row[p], prompt.length);
      const Mat to = forced(s).row_range(prompt.begin, prompt.length);
      if (&backend == &reference) {
        backend.copy(from, to);
      } else {
        backend.upload(reference.read(from, staging_), to);
      }
    }
  }
}

std::vector<std::int32_t> LayerStack::forced_places(std::int64_t per) const {
  std::vector<std::int32_t> places;
  for (std::size_t p = 0; p < forced_.source_row.size(); ++p) {
    const std::int64_t first = forced_.source_row[p] / per;
    for (std::int64_t row = 0; row < forced_.batch.prompts[p].length / per; ++row) {
      places.push_back(static_cast<std::int32_t>(first + row));
    }
  }
  return places;
}

void LayerStack::measure(std::int64_t l, Part part) {
  MeasuredPart measured{.stack = plan_.stack,
                        .layer = l,
                        .part = part,
                        .placed = [this](std::size_t lane) { return placed(lane); },
                        .forced = nullptr,
                        .forced_rows = forced_places(),
                        .prompt_rows = plan_.prompt_rows};
  if (has_forced() && part != Part::kPatchEmbed) {
    measured.forced = [this](std::size_t s) {
      return PlacedRows{lanes_[options_.subjects[s]].backend, forced(s)};
    };
  }
  measure_part(states_, options_, measured, result_);
}

void LayerStack::measure_embedding() {
  measure(0, Part::kPatchEmbed);
}

}  // namespace mg
