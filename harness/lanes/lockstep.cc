#include "harness/lanes/lockstep.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "harness/lanes/layer_stack.h"
#include "harness/lanes/tower.h"
#include "kernels/core/error.h"
#include "kernels/core/hash.h"
#include "kernels/row_statistics.h"

namespace mg {
namespace {

StackPlan text_plan(std::span<const Lane> lanes, const Batch& batch) {
  StackPlan plan;
  plan.batch = &batch;
  for (const Lane& lane : lanes) {
    plan.configs.push_back(&lane.source->config());
  }
  plan.prompt_rows = prompt_ranges(batch);
  return plan;
}

/// The text's run: embeddings with the images' tokens among them, the layers, the heads.
class Run {
 public:
  Run(ThreadPool& pool, std::span<const Lane> lanes, const Batch& batch,
      const LockstepOptions& options, Observer& observer, LockstepResult& result)
      : lanes_(lanes),
        batch_(batch),
        options_(options),
        observer_(observer),
        result_(result),
        stack_(pool, lanes, options, text_plan(lanes, batch), result) {}

  std::int64_t forced_rows() const { return stack_.forced_rows(); }

  /// `begun`: the share of the work that was done before.
  void run(const TowerTokens& pictures, double begun) {
    embed_all();
    pictures.put(batch_, [this](std::size_t lane) { return stack_.hidden(lane); });
    const double layers = begun + (1.0 - begun) * layer_share();
    stack_.run([&](double done) { observer_.progress(begun + (layers - begun) * done); });
    for (std::size_t i = 0; options_.fingerprints && i < lanes_.size(); ++i) {
      const std::span<const float> values = lanes_[i].backend->read(stack_.hidden(i), staging_);
      result_.fingerprints.push_back(fingerprint(values.data(), values.size_bytes()));
    }
    heads(layers);
    for (const Lane& lane : lanes_) {
      lane.source->check_intact();
    }
    observer_.progress(1.0);
  }

 private:
  void embed_all() {
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      WeightSource& source = *lanes_[i].source;
      for (const PlacedChunk& placed : stack_.chunks()) {
        embed(*lanes_[i].backend, source.config(), source.globals(), placed.chunk,
              stack_.group_of(i).work->output(placed.chunk.tokens),
              stack_.hidden(i).row_range(placed.begin, placed.chunk.tokens));
      }
    }
  }

  /// Roughly, by multiplications: the layers' part of the whole.
  double layer_share() const {
    const ModelConfig& config = stack_.config();
    const double inner = static_cast<double>(config.num_experts > 0 ? config.moe_intermediate_size *
                                                                          config.num_experts_per_tok
                                                                    : config.intermediate_size);
    const double layer = 4.0 * static_cast<double>(config.hidden_size) + 3.0 * inner;
    const double layers = layer * static_cast<double>(config.num_hidden_layers);
    return layers / (layers + static_cast<double>(config.vocab_size));
  }

  void heads(double begun) {
    std::int64_t row_elements = 0;
    LogitChunk out;
    for (const Lane& lane : lanes_) {
      out.vocab.push_back(lane.source->globals().lm_head.weight.outputs());
      row_elements += out.vocab.back();
    }
    const auto budget = static_cast<std::int64_t>(options_.logits_bytes / sizeof(float));
    const auto pieces =
        plan_rows(batch_.tokens(), std::min(budget / row_elements, stack_.mlp_rows()));
    std::int64_t most = 0;
    for (const auto& [begin, count] : pieces) {
      most = std::max(most, count);
    }
    std::vector<std::unique_ptr<Buffer>> logits;
    for (const LaneGroup& group : stack_.groups()) {
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
      observer_.progress(begun + (1.0 - begun) * done);
    }
  }

  void head_rows(const std::vector<std::unique_ptr<Buffer>>& logits, std::int64_t begin,
                 std::int64_t count, std::vector<std::vector<float>>& staging, LogitChunk& out) {
    PlacedLogits placed{.first_row = begin, .rows = count, .lanes = {}, .statistics = nullptr};
    for (std::size_t g = 0; g < stack_.groups().size(); ++g) {
      const LaneGroup& group = stack_.groups()[g];
      std::vector<LaneHead> heads;
      std::int64_t offset = 0;
      for (std::size_t i = group.first; i < group.first + group.count; ++i) {
        WeightSource& source = *lanes_[i].source;
        const std::int64_t vocab = out.vocab[i];
        heads.push_back({.config = &source.config(),
                         .weights = &source.globals(),
                         .hidden = stack_.hidden(i).row_range(begin, count),
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
  LockstepResult& result_;
  LayerStack stack_;
  std::vector<float> staging_;
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

PromptRowRanges prompt_ranges(const Batch& batch) {
  PromptRowRanges ranges;
  for (const BatchPrompt& prompt : batch.prompts) {
    ranges.emplace_back(prompt.begin, prompt.length);
  }
  return ranges;
}

HalfDrift half_drift(const HalfDrift& place, const HalfRows& rows, const PromptRowRanges& prompts) {
  const auto count = [](const RowDrift& drift) {
    return static_cast<std::int64_t>(drift.difference.size());
  };
  HalfDrift drift = place;
  drift.free_rel = rows.free.relative(0, count(rows.free));
  drift.forced_rel.reset();
  if (count(rows.forced) > 0) {
    drift.forced_rel = rows.forced.relative(0, count(rows.forced));
  }
  drift.prompt_rel.clear();
  for (const auto& [begin, length] : prompts) {
    drift.prompt_rel.push_back(rows.free.relative(begin, length));
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
  LockstepResult result;
  result.drift.resize(options.subjects.size());
  result.rows.resize(options.keep_rows ? options.subjects.size() : 0);
  result.non_finite.resize(lanes.size());
  LockstepOptions fitting = options;
  // `make` takes all the memory that depends on chunk_tokens, before any work.
  const auto with_fitting_chunks = [&](const auto& make) {
    while (true) {
      try {
        make();
        return;
      } catch (const Error& error) {
        const std::int64_t half = fitting.chunk_tokens / 2;
        if (error.parts().code != "device.out-of-memory" || half < kMinStableRows) {
          throw;
        }
        result.notes = {"device memory was short: chunks of " + std::to_string(half) +
                        " tokens instead of " + std::to_string(options.chunk_tokens)};
        fitting.chunk_tokens = half;
      }
    }
  };
  TowerTokens pictures;
  const double tower_share = tower_share_of(lanes[options.reference].source->config(), batch);
  if (!batch.pictures.empty()) {
    std::optional<Tower> tower;
    with_fitting_chunks([&] { tower.emplace(pool, lanes, batch, fitting, result); });
    pictures = tower->run([&](double done) { observer.progress(done * tower_share); });
  }
  std::optional<Run> run;
  with_fitting_chunks([&] { run.emplace(pool, lanes, batch, fitting, observer, result); });
  result.forced_rows = run->forced_rows();
  run->run(pictures, tower_share);
  return result;
}

}  // namespace mg
