#include "harness/lanes/lockstep.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "harness/lanes/announced.h"
#include "harness/lanes/drift.h"
#include "harness/lanes/rope_tables.h"
#include "kernels/core/error.h"
#include "kernels/core/hash.h"
#include "kernels/row_statistics.h"

namespace mg {
namespace {

/// Rows of the MLP in work at once: its inner buffers, [lanes * rows, 2 * I], should stay within 64
/// MB.
std::int64_t mlp_rows(const ModelConfig& config, std::int64_t lanes, std::int64_t chunk_tokens) {
  const std::int64_t width = 2 * std::max(config.intermediate_size, config.moe_intermediate_size);
  const std::int64_t fitting = (std::int64_t{64} << 20) / (lanes * width * 4);
  return std::min(chunk_tokens, std::max<std::int64_t>(256, fitting));
}

/// Some prompts, spread over the batch, that subjects also run on the reference's own inputs.
struct ForcedSample {
  Batch batch;
  std::vector<std::int64_t> source_row;  // per prompt of `batch`: its first row in the whole batch
  std::vector<std::int32_t> rows;        // each row's place in the whole batch
};

ForcedSample sample_of(const Batch& batch, const std::vector<std::size_t>& prompts) {
  ForcedSample sample;
  for (const std::size_t i : prompts) {
    const BatchPrompt& prompt = batch.prompts[i];
    const auto first = batch.ids.begin() + prompt.begin;
    sample.batch.add(prompt.id, {first, first + prompt.length});
    sample.source_row.push_back(prompt.begin);
    for (std::int64_t row = 0; row < prompt.length; ++row) {
      sample.rows.push_back(static_cast<std::int32_t>(prompt.begin + row));
    }
  }
  return sample;
}

ForcedSample sample_for(const Batch& batch, const LockstepOptions& options) {
  if (options.subjects.empty()) {
    return {};
  }
  return sample_of(batch, options.forced_prompts ? *options.forced_prompts
                                                 : forced_prompts(batch, options.forced_tokens));
}

/// Consecutive lanes on one backend: what they share.
struct Group {
  Backend* backend = nullptr;
  std::size_t first = 0;  // lanes [first, first + count)
  std::size_t count = 0;
  std::unique_ptr<RopeTables> ropes;
  std::unique_ptr<RopeTables> forced_ropes;
  std::unique_ptr<Workspace> work;
};

/// One run: the lanes' hidden states and everything that passes over them.
class Run {
 public:
  Run(ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
      const LockstepOptions& options, Observer& observer)
      : lanes_(lanes),
        batch_(batch),
        options_(options),
        observer_(observer),
        config_(lanes[options.reference].source->config()),
        width_(config_.hidden_size),
        mlp_rows_(mlp_rows(config_, static_cast<std::int64_t>(lanes.size()), options.chunk_tokens)),
        chunks_(plan_chunks(batch, options.chunk_tokens)),
        forced_(sample_for(batch, options)),
        forced_chunks_(plan_chunks(forced_.batch, options.chunk_tokens)),
        states_(pool) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      hidden_.push_back(lanes_[i].backend->allocate(batch_.tokens() * width_));
    }
    for (const std::size_t lane : options_.subjects) {
      forced_hidden_.push_back(lanes_[lane].backend->allocate(forced_.batch.tokens() * width_));
    }
    make_groups();
    result_.drift.resize(options_.subjects.size());
    result_.rows.resize(options_.keep_rows ? options_.subjects.size() : 0);
    result_.non_finite.resize(lanes_.size());
    result_.forced_rows = forced_.batch.tokens();
  }

  LockstepResult run() {
    embed_all();
    for (std::int64_t l = 0; l < config_.num_hidden_layers; ++l) {
      layer(l);
    }
    for (std::size_t i = 0; options_.fingerprints && i < lanes_.size(); ++i) {
      const std::span<const float> values = lanes_[i].backend->read(hidden(i), staging_);
      result_.fingerprints.push_back(fingerprint(values.data(), values.size_bytes()));
    }
    heads();
    for (const Lane& lane : lanes_) {
      lane.source->check_intact();
    }
    observer_.progress(1.0);
    return std::move(result_);
  }

 private:
  void make_groups() {
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
    for (Group& group : groups_) {
      std::vector<const ModelConfig*> configs;
      for (std::size_t i = group.first; i < group.first + group.count; ++i) {
        configs.push_back(&lanes_[i].source->config());
      }
      group.ropes = std::make_unique<RopeTables>(*group.backend, configs, batch_);
      group.forced_ropes = std::make_unique<RopeTables>(*group.backend, configs, forced_.batch);
      // plan_rows may add up to kMinStableRows - 1 rows to its last piece.
      group.work = std::make_unique<Workspace>(*group.backend, config_,
                                               static_cast<std::int64_t>(group.count),
                                               longest_chunk(), mlp_rows_ + kMinStableRows);
    }
  }

  const Group& group_of(std::size_t lane) const {
    return *std::find_if(groups_.begin(), groups_.end(), [&](const Group& group) {
      return lane >= group.first && lane < group.first + group.count;
    });
  }

  std::int64_t longest_chunk() const {
    std::int64_t longest = kMinStableRows;
    for (const PlacedChunk& placed : chunks_) {
      longest = std::max(longest, placed.chunk.tokens);
    }
    for (const PlacedChunk& placed : forced_chunks_) {
      longest = std::max(longest, placed.chunk.tokens);
    }
    return longest;
  }

  Mat hidden(std::size_t lane) const { return whole(*hidden_[lane], batch_.tokens(), width_); }
  Mat forced(std::size_t subject) const {
    return whole(*forced_hidden_[subject], forced_.batch.tokens(), width_);
  }
  PlacedRows placed(std::size_t lane) const { return {lanes_[lane].backend, hidden(lane)}; }

  void embed_all() {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      WeightSource& source = *lanes_[i].source;
      for (const PlacedChunk& placed : chunks_) {
        embed(*lanes_[i].backend, source.config(), source.globals(), placed.chunk,
              group_of(i).work->output(placed.chunk.tokens),
              hidden(i).row_range(placed.begin, placed.chunk.tokens));
      }
    }
  }

  void layer(std::int64_t l) {
    std::vector<const LayerWeights*> weights;
    std::vector<Announced> in_use = std::exchange(ahead_, std::vector<Announced>(lanes_.size()));
    in_use.resize(lanes_.size());
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      WeightSource& source = *lanes_[i].source;
      weights.push_back(&source.layer(l));
      if (in_use[i].empty()) {
        in_use[i] = Announced(*lanes_[i].backend, *weights[i]);
      }
    }
    for (std::size_t i = 0; i < lanes_.size() && l + 1 < config_.num_hidden_layers; ++i) {
      lanes_[i].source->prefetch_layer(l + 1);
      if (const LayerWeights* next = lanes_[i].source->ahead(l + 1)) {
        ahead_[i] = Announced(*lanes_[i].backend, *next);
      }
    }
    copy_reference_to_forced();
    for (const PlacedChunk& placed : chunks_) {
      attention(l, weights, placed);
    }
    forced_attention(l, weights);
    measure(l, false);
    copy_reference_to_forced();
    for (const auto& [begin, count] : plan_rows(batch_.tokens(), mlp_rows_)) {
      mlp(l, weights, begin, count);
    }
    forced_mlp(l, weights);
    measure(l, true);
    in_use.clear();  // before their bytes go
    for (const Lane& lane : lanes_) {
      lane.source->release_layer(l);
    }
    observer_.progress(layer_share() * static_cast<double>(l + 1) /
                       static_cast<double>(config_.num_hidden_layers));
  }

  /// Roughly, by multiplications: the layers' part of the whole.
  double layer_share() const {
    const double inner = static_cast<double>(
        config_.num_experts > 0 ? config_.moe_intermediate_size * config_.num_experts_per_tok
                                : config_.intermediate_size);
    const double layer = 4.0 * static_cast<double>(width_) + 3.0 * inner;
    const double layers = layer * static_cast<double>(config_.num_hidden_layers);
    return layers / (layers + static_cast<double>(config_.vocab_size));
  }

  LaneBlock block(std::size_t lane, std::int64_t l, const LayerWeights& weights, Mat rows) const {
    const ModelConfig& config = lanes_[lane].source->config();
    return {.config = &config,
            .layer = &config.layers[static_cast<std::size_t>(l)],
            .weights = &weights,
            .hidden = rows,
            .rope = nullptr,
            .cache = {}};
  }

  /// The angles of a block's rows; kept alive by the caller.
  static void rotate_by(const RopeTables& tables, std::int64_t begin, LaneBlock& block,
                        RopeRows& rows) {
    if (block.layer->use_rope && !block.config->ropes.empty()) {
      rows = tables.rows(*block.config, block.layer->rope, begin, block.hidden.rows);
      block.rope = &rows;
    }
  }

  void attention(std::int64_t l, const std::vector<const LayerWeights*>& weights,
                 const PlacedChunk& placed) {
    for (const Group& group : groups_) {
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

  void forced_attention(std::int64_t l, const std::vector<const LayerWeights*>& weights) {
    for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
      const std::size_t lane = options_.subjects[s];
      const Group& group = group_of(lane);
      for (const PlacedChunk& placed : forced_chunks_) {
        LaneBlock subject =
            block(lane, l, *weights[lane], forced(s).row_range(placed.begin, placed.chunk.tokens));
        RopeRows rope;
        rotate_by(*group.forced_ropes, placed.begin, subject, rope);
        attention_block(*group.backend, std::span(&subject, 1), placed.chunk, *group.work);
      }
    }
  }

  void mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights, std::int64_t begin,
           std::int64_t count) {
    for (const Group& group : groups_) {
      std::vector<LaneBlock> blocks;
      for (std::size_t lane = group.first; lane < group.first + group.count; ++lane) {
        blocks.push_back(block(lane, l, *weights[lane], hidden(lane).row_range(begin, count)));
      }
      mlp_block(*group.backend, blocks, *group.work);
    }
  }

  void forced_mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights) {
    for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
      const std::size_t lane = options_.subjects[s];
      const Group& group = group_of(lane);
      for (const auto& [begin, count] : plan_rows(forced_.batch.tokens(), mlp_rows_)) {
        LaneBlock subject = block(lane, l, *weights[lane], forced(s).row_range(begin, count));
        mlp_block(*group.backend, std::span(&subject, 1), *group.work);
      }
    }
  }

  /// Every subject's forced rows start a half of a layer from the reference's hidden states, bit
  /// for bit where both are on one backend.
  void copy_reference_to_forced() {
    for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
      Backend& backend = *lanes_[options_.subjects[s]].backend;
      Backend& reference = *lanes_[options_.reference].backend;
      for (std::size_t p = 0; p < forced_.source_row.size(); ++p) {
        const BatchPrompt& prompt = forced_.batch.prompts[p];
        const Mat from = hidden(options_.reference).row_range(forced_.source_row[p], prompt.length);
        const Mat to = forced(s).row_range(prompt.begin, prompt.length);
        if (&backend == &reference) {
          backend.copy(from, to);
        } else {
          backend.upload(reference.read(from, staging_), to);
        }
      }
    }
  }

  void measure(std::int64_t l, bool mlp) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      if (!result_.non_finite[i]) {
        const auto bad = states_.non_finite(placed(i));
        if (bad) {
          result_.non_finite[i] = {.layer = l, .mlp = mlp, .row = bad->first, .rows = bad->second};
        }
      }
    }
    for (std::size_t s = 0; s < options_.subjects.size(); ++s) {
      HalfRows rows{states_.drift(placed(options_.subjects[s]), placed(options_.reference)),
                    forced_rows(s)};
      result_.drift[s].push_back(half_drift(l, mlp, rows, batch_));
      if (options_.keep_rows) {
        result_.rows[s].push_back(std::move(rows));
      }
    }
  }

  RowDrift forced_rows(std::size_t s) {
    if (forced_.batch.prompts.empty()) {
      return {};
    }
    Backend* backend = lanes_[options_.subjects[s]].backend;
    return states_.drift({backend, forced(s)}, placed(options_.reference), forced_.rows);
  }

  void heads() {
    std::int64_t row_elements = 0;
    LogitChunk out;
    for (const Lane& lane : lanes_) {
      out.vocab.push_back(lane.source->globals().lm_head.weight.outputs());
      row_elements += out.vocab.back();
    }
    const auto budget = static_cast<std::int64_t>(options_.logits_bytes / sizeof(float));
    const auto pieces = plan_rows(batch_.tokens(), std::min(budget / row_elements, mlp_rows_));
    std::int64_t most = 0;
    for (const auto& [begin, count] : pieces) {
      most = std::max(most, count);
    }
    std::vector<std::unique_ptr<Buffer>> logits;
    for (const Group& group : groups_) {
      group.work->keep_for_head();
      std::int64_t elements = 0;
      for (std::size_t i = group.first; i < group.first + group.count; ++i) {
        elements += most * out.vocab[i];
      }
      logits.push_back(group.backend->allocate(elements));
    }
    std::vector<Announced> in_use;
    for (const Lane& lane : lanes_) {
      const Weight& weight = lane.source->globals().lm_head.weight;
      in_use.emplace_back(*lane.backend, std::vector<Weight>{weight});
    }
    std::vector<std::vector<float>> staging(lanes_.size());
    for (const auto& [begin, count] : pieces) {
      head_rows(logits, begin, count, staging, out);
      const double done = static_cast<double>(begin + count) / static_cast<double>(batch_.tokens());
      observer_.progress(layer_share() + (1.0 - layer_share()) * done);
    }
  }

  void head_rows(const std::vector<std::unique_ptr<Buffer>>& logits, std::int64_t begin,
                 std::int64_t count, std::vector<std::vector<float>>& staging, LogitChunk& out) {
    PlacedLogits placed{.first_row = begin, .rows = count, .lanes = {}, .statistics = nullptr};
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const Group& group = groups_[g];
      std::vector<LaneHead> heads;
      std::int64_t offset = 0;
      for (std::size_t i = group.first; i < group.first + group.count; ++i) {
        WeightSource& source = *lanes_[i].source;
        const std::int64_t vocab = out.vocab[i];
        heads.push_back({.config = &source.config(),
                         .weights = &source.globals(),
                         .hidden = hidden(i).row_range(begin, count),
                         .logits = {logits[g].get(), offset, count, vocab, vocab}});
        placed.lanes.push_back(heads.back().logits);
        offset += count * vocab;
      }
      head(*group.backend, heads, *group.work);
    }
    placed.statistics = statistics_of(placed.lanes);
    if (placed.statistics != nullptr && observer_.placed_logits(placed)) {
      return;
    }
    out.first_row = begin;
    out.rows = count;
    out.lanes.clear();
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      out.lanes.push_back(lanes_[i].backend->read(placed.lanes[i], staging[i]));
    }
    observer_.logits(out);
  }

  /// Those that reach every lane, or null.
  RowStatistics* statistics_of(const std::vector<Mat>& lanes) const {
    RowStatistics* found = lanes_[options_.reference].backend->row_statistics();
    const auto reached = [&](const Mat& lane) { return found->reaches(lane); };
    return found != nullptr && std::all_of(lanes.begin(), lanes.end(), reached) ? found : nullptr;
  }

  std::span<const Lane> lanes_;
  const Batch& batch_;
  const LockstepOptions& options_;
  Observer& observer_;
  const ModelConfig& config_;
  std::int64_t width_;     // H
  std::int64_t mlp_rows_;  // rows of a lane in the MLP at once
  std::vector<PlacedChunk> chunks_;
  ForcedSample forced_;
  std::vector<PlacedChunk> forced_chunks_;
  std::vector<Group> groups_;
  std::vector<std::unique_ptr<Buffer>> hidden_;         // [lane]: [T, H]
  std::vector<std::unique_ptr<Buffer>> forced_hidden_;  // [subject]: [forced rows, H]
  std::vector<Announced> ahead_;                        // [lane]: the next layer, where it is known
  std::vector<float> staging_;
  HiddenStates states_;
  LockstepResult result_;
};

}  // namespace

void require_same_sizes(std::span<const Lane> lanes, std::size_t reference) {
  const ModelConfig& expected = lanes[reference].source->config();
  const auto sizes = [](const ModelConfig& c) {
    return Shape{c.num_hidden_layers,   c.hidden_size,          c.intermediate_size,
                 c.num_attention_heads, c.num_key_value_heads,  c.head_dim,
                 c.num_experts,         c.moe_intermediate_size};
  };
  for (const Lane& lane : lanes) {
    const ModelConfig& config = lane.source->config();
    if (sizes(config) != sizes(expected)) {
      throw Error({.code = "lanes.shape",
                   .what = "two lanes have different sizes and cannot run side by side",
                   .where = lane.name + " beside " + lanes[reference].name,
                   .expected = to_string(sizes(expected)),
                   .actual = to_string(sizes(config)),
                   .hint = "sizes are layers, hidden, intermediate, heads, key/value heads, head "
                           "size, experts, expert width: compare the two config.json"});
    }
  }
}

HalfDrift half_drift(std::int64_t layer, bool mlp, const HalfRows& rows, const Batch& batch) {
  const auto count = static_cast<std::int64_t>(rows.forced.difference.size());
  HalfDrift drift{.layer = layer,
                  .mlp = mlp,
                  .free_rel = rows.free.relative(0, batch.tokens()),
                  .forced_rel = std::nullopt,
                  .prompt_rel = {}};
  if (count > 0) {
    drift.forced_rel = rows.forced.relative(0, count);
  }
  for (const BatchPrompt& prompt : batch.prompts) {
    drift.prompt_rel.push_back(rows.free.relative(prompt.begin, prompt.length));
  }
  return drift;
}

std::vector<std::size_t> forced_prompts(const Batch& batch, std::int64_t budget) {
  std::vector<std::size_t> chosen;
  if (budget <= 0 || batch.prompts.empty()) {
    return chosen;
  }
  const auto count = static_cast<std::int64_t>(batch.prompts.size());
  // Every stride-th prompt gives about `budget` tokens; whole prompts only, and at least one.
  const std::int64_t stride =
      std::clamp<std::int64_t>(batch.tokens() / std::max<std::int64_t>(budget, 1), 1, count);
  std::int64_t tokens = 0;
  for (std::int64_t i = 0; i < count; i += stride) {
    const std::int64_t length = batch.prompts[static_cast<std::size_t>(i)].length;
    if (tokens >= kMinStableRows && tokens + length > budget) {
      continue;
    }
    chosen.push_back(static_cast<std::size_t>(i));
    tokens += length;
  }
  return chosen;
}

LockstepResult run_lockstep(ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
                            const LockstepOptions& options, Observer& observer) {
  MG_CHECK(!lanes.empty() && options.reference < lanes.size(), "there is a reference lane");
  MG_CHECK(batch.tokens() > 0, "there are tokens");
  require_same_sizes(lanes, options.reference);
  LockstepOptions fitting = options;
  std::vector<std::string> notes;
  while (true) {
    std::optional<Run> run;  // takes all the memory that depends on chunk_tokens, before any work
    try {
      run.emplace(pool, lanes, batch, fitting, observer);
    } catch (const Error& error) {
      const std::int64_t half = fitting.chunk_tokens / 2;
      if (error.parts().code != "device.out-of-memory" || half < kMinStableRows) {
        throw;
      }
      notes = {"device memory was short: chunks of " + std::to_string(half) +
               " tokens instead of " + std::to_string(options.chunk_tokens)};
      fitting.chunk_tokens = half;
      continue;
    }
    LockstepResult result = run->run();
    result.notes = std::move(notes);
    return result;
  }
}

}  // namespace mg
