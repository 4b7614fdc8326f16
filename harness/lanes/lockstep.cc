#include "harness/lanes/lockstep.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "harness/lanes/drift.h"
#include "harness/lanes/rope_tables.h"
#include "kernels/core/error.h"
#include "kernels/core/hash.h"

namespace mg {
namespace {

/// Rows of the MLP in work at once: its inner buffers, [lanes * rows, 2 * I], should stay within 64
/// MB.
std::int64_t mlp_rows(const ModelConfig& config, std::int64_t lanes, std::int64_t chunk_tokens) {
  const std::int64_t width = 2 * std::max(config.intermediate_size, config.moe_intermediate_size);
  const std::int64_t fitting = (std::int64_t{64} << 20) / (lanes * width * 4);
  return std::min(chunk_tokens, std::max<std::int64_t>(256, fitting));
}

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

/// Some prompts, spread over the batch, that subjects also run on the reference's own inputs.
struct ForcedSample {
  Batch batch;
  std::vector<std::int64_t> source_row;  // per prompt of `batch`: its first row in the whole batch
};

ForcedSample sample_prompts(const Batch& batch, std::int64_t budget) {
  ForcedSample sample;
  if (budget <= 0 || batch.prompts.empty()) {
    return sample;
  }
  const auto count = static_cast<std::int64_t>(batch.prompts.size());
  // Every stride-th prompt gives about `budget` tokens; whole prompts only, and at least one.
  const std::int64_t stride =
      std::clamp<std::int64_t>(batch.tokens() / std::max<std::int64_t>(budget, 1), 1, count);
  for (std::int64_t i = 0; i < count; i += stride) {
    const BatchPrompt& prompt = batch.prompts[static_cast<std::size_t>(i)];
    const bool enough = sample.batch.tokens() >= kMinStableRows;
    if (enough && sample.batch.tokens() + prompt.length > budget) {
      continue;
    }
    const auto first = batch.ids.begin() + prompt.begin;
    sample.batch.add(prompt.id, {first, first + prompt.length});
    sample.source_row.push_back(prompt.begin);
  }
  return sample;
}

/// One run: the lanes' hidden states and everything that passes over them.
class Run {
 public:
  Run(Backend& backend, ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
      const LockstepOptions& options, Observer& observer)
      : backend_(backend),
        pool_(pool),
        lanes_(lanes),
        batch_(batch),
        options_(options),
        observer_(observer),
        config_(lanes[options.reference].source->config()),
        width_(config_.hidden_size),
        chunks_(plan_chunks(batch, options.chunk_tokens)),
        forced_(sample_prompts(batch, options.subjects.empty() ? 0 : options.forced_tokens)),
        forced_chunks_(plan_chunks(forced_.batch, options.chunk_tokens)),
        ropes_(backend, configs(), batch),
        forced_ropes_(backend, configs(), forced_.batch),
        work_(backend, config_, lane_count(), longest_chunk(), mlp_tokens()) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      hidden_.push_back(backend_.allocate(batch_.tokens() * width_));
    }
    for (std::size_t i = 0; i < options_.subjects.size(); ++i) {
      forced_hidden_.push_back(backend_.allocate(forced_.batch.tokens() * width_));
    }
    result_.drift.resize(options_.subjects.size());
    result_.non_finite.resize(lanes_.size());
    result_.forced_rows = forced_.batch.tokens();
  }

  LockstepResult run() {
    embed_all();
    for (std::int64_t l = 0; l < config_.num_hidden_layers; ++l) {
      layer(l);
    }
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      const std::span<const float> values = backend_.read(hidden(i), staging_);
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
  std::int64_t lane_count() const { return static_cast<std::int64_t>(lanes_.size()); }

  std::vector<const ModelConfig*> configs() const {
    std::vector<const ModelConfig*> all;
    for (const Lane& lane : lanes_) {
      all.push_back(&lane.source->config());
    }
    return all;
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

  std::int64_t mlp_tokens() const {
    // plan_rows may add up to kMinStableRows - 1 rows to its last piece.
    return mlp_rows(config_, lane_count(), options_.chunk_tokens) + kMinStableRows;
  }

  Mat hidden(std::size_t lane) const { return whole(*hidden_[lane], batch_.tokens(), width_); }
  Mat forced(std::size_t subject) const {
    return whole(*forced_hidden_[subject], forced_.batch.tokens(), width_);
  }

  void embed_all() {
    for (const PlacedChunk& placed : chunks_) {
      for (std::size_t i = 0; i < lanes_.size(); ++i) {
        WeightSource& source = *lanes_[i].source;
        embed(backend_, source.config(), source.globals(), placed.chunk,
              work_.output(placed.chunk.tokens),
              hidden(i).row_range(placed.begin, placed.chunk.tokens));
      }
    }
  }

  void layer(std::int64_t l) {
    std::vector<const LayerWeights*> weights;
    for (const Lane& lane : lanes_) {
      if (l + 1 < config_.num_hidden_layers) {
        lane.source->prefetch_layer(l + 1);
      }
      weights.push_back(&lane.source->layer(l));
    }
    copy_reference_to_forced();
    for (const PlacedChunk& placed : chunks_) {
      attention(l, weights, placed);
    }
    forced_attention(l, weights);
    measure(l, false);
    copy_reference_to_forced();
    for (const auto& [begin, count] : plan_rows(batch_.tokens(), mlp_tokens() - kMinStableRows)) {
      mlp(l, weights, begin, count);
    }
    forced_mlp(l, weights);
    measure(l, true);
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

  static bool rotates(const LaneBlock& lane) {
    return lane.layer->use_rope && !lane.config->ropes.empty();
  }

  void attention(std::int64_t l, const std::vector<const LayerWeights*>& weights,
                 const PlacedChunk& placed) {
    std::vector<LaneBlock> blocks;
    std::vector<RopeRows> ropes(lanes_.size());
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      blocks.push_back(
          block(i, l, *weights[i], hidden(i).row_range(placed.begin, placed.chunk.tokens)));
      if (rotates(blocks[i])) {
        ropes[i] = ropes_.rows(*blocks[i].config, blocks[i].layer->rope, placed.begin,
                               placed.chunk.tokens);
        blocks[i].rope = &ropes[i];
      }
    }
    attention_block(backend_, blocks, placed.chunk, work_);
  }

  void forced_attention(std::int64_t l, const std::vector<const LayerWeights*>& weights) {
    for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
      const std::size_t lane = options_.subjects[s];
      for (const PlacedChunk& placed : forced_chunks_) {
        LaneBlock subject =
            block(lane, l, *weights[lane], forced(s).row_range(placed.begin, placed.chunk.tokens));
        RopeRows rope;
        if (rotates(subject)) {
          rope = forced_ropes_.rows(*subject.config, subject.layer->rope, placed.begin,
                                    placed.chunk.tokens);
          subject.rope = &rope;
        }
        attention_block(backend_, std::span(&subject, 1), placed.chunk, work_);
      }
    }
  }

  void mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights, std::int64_t begin,
           std::int64_t count) {
    std::vector<LaneBlock> blocks;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      blocks.push_back(block(i, l, *weights[i], hidden(i).row_range(begin, count)));
    }
    mlp_block(backend_, blocks, work_);
  }

  void forced_mlp(std::int64_t l, const std::vector<const LayerWeights*>& weights) {
    for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
      const std::size_t lane = options_.subjects[s];
      for (const auto& [begin, count] :
           plan_rows(forced_.batch.tokens(), mlp_tokens() - kMinStableRows)) {
        LaneBlock subject = block(lane, l, *weights[lane], forced(s).row_range(begin, count));
        mlp_block(backend_, std::span(&subject, 1), work_);
      }
    }
  }

  /// Every subject's forced rows start a half of a layer from the reference's hidden states.
  void copy_reference_to_forced() {
    const Mat reference = hidden(options_.reference);
    for (std::size_t s = 0; s < forced_hidden_.size(); ++s) {
      for (std::size_t p = 0; p < forced_.source_row.size(); ++p) {
        const BatchPrompt& prompt = forced_.batch.prompts[p];
        backend_.copy(reference.row_range(forced_.source_row[p], prompt.length),
                      forced(s).row_range(prompt.begin, prompt.length));
      }
    }
  }

  void measure(std::int64_t l, bool mlp) {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      if (!result_.non_finite[i]) {
        const auto bad = non_finite_rows(pool_, backend_.read(hidden(i), staging_), width_);
        if (bad) {
          result_.non_finite[i] = {.layer = l, .mlp = mlp, .row = bad->first, .rows = bad->second};
        }
      }
    }
    const std::span<const float> reference = backend_.read(hidden(options_.reference), staging_);
    for (std::size_t s = 0; s < options_.subjects.size(); ++s) {
      const RowDrift free = row_drift(
          pool_, backend_.read(hidden(options_.subjects[s]), subject_staging_), reference, width_);
      HalfDrift drift{.layer = l,
                      .mlp = mlp,
                      .free_rel = free.relative(0, batch_.tokens()),
                      .forced_rel = forced_relative(s, reference),
                      .prompt_rel = {}};
      for (const BatchPrompt& prompt : batch_.prompts) {
        drift.prompt_rel.push_back(free.relative(prompt.begin, prompt.length));
      }
      result_.drift[s].push_back(std::move(drift));
    }
  }

  std::optional<double> forced_relative(std::size_t s, std::span<const float> reference) {
    if (forced_.batch.prompts.empty()) {
      return std::nullopt;
    }
    // The reference's rows of the sampled prompts, gathered in the sample's order.
    std::vector<float> rows;
    for (std::size_t p = 0; p < forced_.source_row.size(); ++p) {
      const auto first = reference.begin() + forced_.source_row[p] * width_;
      rows.insert(rows.end(), first, first + forced_.batch.prompts[p].length * width_);
    }
    const std::span<const float> subject = backend_.read(forced(s), subject_staging_);
    return row_drift(pool_, subject, rows, width_).relative(0, forced_.batch.tokens());
  }

  void heads() {
    std::int64_t row_bytes = 0;
    LogitRows out;
    for (const Lane& lane : lanes_) {
      out.vocab.push_back(lane.source->globals().lm_head.weight.outputs());
      row_bytes += out.vocab.back() * std::int64_t{sizeof(float)};
    }
    const std::int64_t fitting = static_cast<std::int64_t>(options_.logits_bytes) / row_bytes;
    const std::int64_t target = std::min(fitting, mlp_tokens() - kMinStableRows);
    const auto pieces = plan_rows(batch_.tokens(), target);
    std::int64_t most = 0;
    for (const auto& [begin, count] : pieces) {
      most = std::max(most, count);
    }
    const std::unique_ptr<Buffer> logits =
        backend_.allocate(most * row_bytes / std::int64_t{sizeof(float)});
    std::vector<std::vector<float>> staging(lanes_.size());
    for (const auto& [begin, count] : pieces) {
      head_rows(*logits, begin, count, staging, out);
      const double done = static_cast<double>(begin + count) / static_cast<double>(batch_.tokens());
      observer_.progress(layer_share() + (1.0 - layer_share()) * done);
    }
  }

  void head_rows(Buffer& logits, std::int64_t begin, std::int64_t count,
                 std::vector<std::vector<float>>& staging, LogitRows& out) {
    std::vector<LaneHead> heads;
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      WeightSource& source = *lanes_[i].source;
      const std::int64_t vocab = out.vocab[i];
      heads.push_back({.config = &source.config(),
                       .weights = &source.globals(),
                       .hidden = hidden(i).row_range(begin, count),
                       .logits = {&logits, offset, count, vocab, vocab}});
      offset += count * vocab;
    }
    head(backend_, heads, work_);
    out.first_row = begin;
    out.rows = count;
    out.lanes.clear();
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      out.lanes.push_back(backend_.read(heads[i].logits, staging[i]));
    }
    observer_.logits(out);
  }

  Backend& backend_;
  ThreadPool& pool_;
  std::span<const Lane> lanes_;
  const Batch& batch_;
  const LockstepOptions& options_;
  Observer& observer_;
  const ModelConfig& config_;
  std::int64_t width_;  // H
  std::vector<PlacedChunk> chunks_;
  ForcedSample forced_;
  std::vector<PlacedChunk> forced_chunks_;
  RopeTables ropes_;
  RopeTables forced_ropes_;
  Workspace work_;
  std::vector<std::unique_ptr<Buffer>> hidden_;         // [lane]: [T, H]
  std::vector<std::unique_ptr<Buffer>> forced_hidden_;  // [subject]: [forced rows, H]
  std::vector<float> staging_;
  std::vector<float> subject_staging_;
  LockstepResult result_;
};

}  // namespace

LockstepResult run_lockstep(Backend& backend, ThreadPool& pool, std::span<const Lane> lanes,
                            const Batch& batch, const LockstepOptions& options,
                            Observer& observer) {
  MG_CHECK(!lanes.empty() && options.reference < lanes.size(), "there is a reference lane");
  MG_CHECK(batch.tokens() > 0, "there are tokens");
  require_same_sizes(lanes, options.reference);
  return Run(backend, pool, lanes, batch, options, observer).run();
}

}  // namespace mg
