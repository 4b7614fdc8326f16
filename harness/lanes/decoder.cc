#include "harness/lanes/decoder.h"

#include <algorithm>
#include <utility>

#include "harness/model/forward.h"
#include "kernels/core/error.h"

namespace mg {

/// Rows of a step that are in work at once.
struct Decoder::Piece {
  std::int64_t begin = 0;                      // first row of the step
  Chunk chunk;                                 // ids left out
  std::vector<std::vector<std::int32_t>> ids;  // [lane]
  std::vector<CacheStep> steps;                // by kind of layer
};

namespace {

/// plan_rows() may add up to kMinStableRows - 1 rows to its last piece.
std::int64_t longest_piece(const DecoderOptions& options) {
  return std::max(options.chunk_tokens, kMinStableRows) + kMinStableRows - 1;
}

}  // namespace

Decoder::Decoder(std::span<const Lane> lanes, std::vector<std::int64_t> capacities,
                 const DecoderOptions& options)
    : lanes_(lanes.begin(), lanes.end()),
      backend_(*lanes.front().backend),
      config_(lanes.front().source->config()),
      options_(options),
      lengths_(capacities.size(), 0) {
  require_same_sizes(lanes, 0);
  for (const Lane& lane : lanes_) {
    MG_CHECK(lane.backend == &backend_, "the lanes of a decoder stand on one backend");
    const ModelConfig& config = lane.source->config();
    for (std::size_t l = 0; l < config.layers.size(); ++l) {
      MG_CHECK(config.layers[l].sliding_window == config_.layers[l].sliding_window,
               "the lanes of a decoder have the same windows");
    }
    for (const std::int64_t capacity : capacities) {
      MG_CHECK(!config.learned_positions || capacity <= config.max_position_embeddings,
               "every token has a learned position");
    }
  }
  for (const LayerConfig& layer : config_.layers) {
    const auto kind = std::find_if(slots_.begin(), slots_.end(), [&](const CacheSlots& known) {
      return known.window() == layer.sliding_window;
    });
    kind_of_layer_.push_back(static_cast<std::size_t>(kind - slots_.begin()));
    if (kind == slots_.end()) {
      slots_.emplace_back(capacities, layer.sliding_window, longest_piece(options));
    }
  }
  for (const Lane& lane : lanes_) {
    stores_.emplace_back(backend_, lane.source->config(), slots_, kind_of_layer_);
    const Weight& head = lane.source->globals().lm_head.weight;
    resident_.emplace_back(backend_, std::vector<Weight>{head});
    for (std::int64_t l = 0; l < config_.num_hidden_layers && !options_.streamed; ++l) {
      if (const LayerWeights* layer = ahead_for(backend_, *lane.source, l)) {
        resident_.emplace_back(backend_, *lane.source, *layer);
      }
    }
  }
}

std::uint64_t Decoder::cache_bytes() const {
  std::uint64_t bytes = 0;
  for (const KvStore& store : stores_) {
    bytes += store.bytes();
  }
  return bytes;
}

void Decoder::assume(std::size_t prompt, std::int64_t tokens) {
  if (!cleared_) {
    for (KvStore& store : stores_) {
      store.clear();
    }
    cleared_ = true;
  }
  for (CacheSlots& slots : slots_) {
    slots.assume(prompt, tokens);
  }
  lengths_[prompt] = tokens;
}

Mat Decoder::hidden(std::size_t lane) const {
  return whole(*hidden_[lane], rows_, config_.hidden_size).row_range(0, tokens_);
}

void Decoder::advance(std::span<const NewTokens> tokens, StepRows rows,
                      const std::function<void(const LogitChunk&)>& logits) {
  prepare(tokens);
  std::vector<RopePositions> positions;
  std::vector<std::int32_t> wanted;
  std::int64_t row = 0;
  for (const NewTokens& added : tokens) {
    const auto count = static_cast<std::int64_t>(added.ids.front().size());
    const std::int64_t from = lengths_[added.prompt];
    RopePositions prompt{.length = added.rope_length > 0 ? added.rope_length : from + count,
                         .positions = {}};
    for (std::int64_t i = 0; i < count; ++i, ++row) {
      prompt.positions.push_back({from + i, from + i, from + i});
      if (rows == StepRows::kAll || i + 1 == count) {
        wanted.push_back(static_cast<std::int32_t>(row));
      }
    }
    positions.push_back(std::move(prompt));
  }
  std::vector<const ModelConfig*> configs;
  for (const Lane& lane : lanes_) {
    configs.push_back(&lane.source->config());
  }
  const RopeTables ropes(backend_, configs, positions);
  run_layers(cut(tokens), ropes);
  run_head(wanted, logits);
  for (const Lane& lane : lanes_) {
    lane.source->check_intact();
  }
}

/// Counts the step's rows and makes room for them.
void Decoder::prepare(std::span<const NewTokens> tokens) {
  tokens_ = 0;
  for (const NewTokens& added : tokens) {
    MG_CHECK(added.ids.size() == 1 || added.ids.size() == lanes_.size(),
             "new tokens for every lane");
    MG_CHECK(!added.ids.front().empty(), "a prompt in a step has new tokens");
    for (const std::vector<std::int32_t>& ids : added.ids) {
      MG_CHECK(ids.size() == added.ids.front().size(), "as many new tokens in every lane");
    }
    tokens_ += static_cast<std::int64_t>(added.ids.front().size());
  }
  if (tokens_ <= rows_) {
    return;
  }
  rows_ = tokens_;
  hidden_.clear();
  work_.reset();
  for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
    hidden_.push_back(backend_.allocate(rows_ * config_.hidden_size));
  }
  const std::int64_t piece = std::clamp(rows_, kMinStableRows, longest_piece(options_));
  work_ = std::make_unique<Workspace>(backend_, config_, static_cast<std::int64_t>(lanes_.size()),
                                      piece, piece);
}

std::vector<Decoder::Piece> Decoder::cut(std::span<const NewTokens> tokens) {
  std::vector<Piece> pieces;
  std::size_t index = 0;  // of `tokens`
  std::size_t done = 0;   // of its ids
  for (const auto& [begin, count] : plan_rows(tokens_, options_.chunk_tokens)) {
    Piece piece;
    piece.begin = begin;
    piece.chunk.tokens = count;
    piece.ids.resize(lanes_.size());
    std::vector<NewRows> added;
    for (std::int64_t row = 0; row < count;) {
      const NewTokens& prompt = tokens[index];
      const std::size_t left = prompt.ids.front().size() - done;
      const std::size_t taken = std::min(left, static_cast<std::size_t>(count - row));
      for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
        const auto from = prompt.ids[prompt.ids.size() == 1 ? 0 : lane].begin() +
                          static_cast<std::ptrdiff_t>(done);
        piece.ids[lane].insert(piece.ids[lane].end(), from,
                               from + static_cast<std::ptrdiff_t>(taken));
      }
      added.push_back(
          {.prompt = prompt.prompt, .q_begin = row, .count = static_cast<std::int64_t>(taken)});
      for (std::size_t i = 0; i < taken; ++i) {
        piece.chunk.positions.push_back(lengths_[prompt.prompt]++);
      }
      row += static_cast<std::int64_t>(taken);
      done += taken;
      if (taken == left) {
        ++index;
        done = 0;
      }
    }
    for (CacheSlots& slots : slots_) {
      piece.steps.push_back(slots.advance(added));
    }
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

void Decoder::run_layers(std::vector<Piece> pieces, const RopeTables& ropes) {
  for (Piece& piece : pieces) {
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      WeightSource& source = *lanes_[lane].source;
      piece.chunk.ids = std::move(piece.ids[lane]);
      embed(backend_, source.config(), source.globals(), piece.chunk,
            work_->output(piece.chunk.tokens),
            hidden(lane).row_range(piece.begin, piece.chunk.tokens));
    }
  }
  for (std::int64_t l = 0; l < config_.num_hidden_layers; ++l) {
    run_layer(l, pieces, ropes);
  }
}

void Decoder::run_layer(std::int64_t l, const std::vector<Piece>& pieces, const RopeTables& ropes) {
  std::vector<const LayerWeights*> weights;
  std::vector<Announced> in_use;
  for (const Lane& lane : lanes_) {
    weights.push_back(&layer_for(backend_, *lane.source, l));
    if (options_.streamed || ahead_for(backend_, *lane.source, l) == nullptr) {
      in_use.emplace_back(backend_, *lane.source, *weights.back());
    }
    if (options_.streamed && l + 1 < config_.num_hidden_layers) {
      lane.source->prefetch_layer(l + 1);
    }
  }
  const std::size_t kind = kind_of_layer_[static_cast<std::size_t>(l)];
  for (const Piece& piece : pieces) {
    std::vector<LaneBlock> blocks;
    std::vector<RopeRows> angles(lanes_.size());
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      const ModelConfig& config = lanes_[lane].source->config();
      const LayerConfig& layer = config.layers[static_cast<std::size_t>(l)];
      stores_[lane].move(l, piece.steps[kind]);
      LaneBlock block{.config = &config,
                      .layer = &layer,
                      .weights = weights[lane],
                      .hidden = hidden(lane).row_range(piece.begin, piece.chunk.tokens),
                      .rope = nullptr,
                      .cache = stores_[lane].cache(l, piece.steps[kind])};
      if (layer.use_rope && !config.ropes.empty()) {
        angles[lane] = ropes.rows(config, layer.rope, piece.begin, piece.chunk.tokens);
        block.rope = &angles[lane];
      }
      blocks.push_back(block);
    }
    layer_block(backend_, blocks, piece.chunk, *work_);
  }
  in_use.clear();  // before their bytes go
  for (const Lane& lane : lanes_) {
    if (options_.streamed) {
      lane.source->release_layer(l);
    }
  }
}

void Decoder::run_head(std::span<const std::int32_t> rows,
                       const std::function<void(const LogitChunk&)>& logits) {
  LogitChunk out;
  std::int64_t row_elements = 0;
  for (const Lane& lane : lanes_) {
    out.vocab.push_back(lane.source->globals().lm_head.weight.outputs());
    row_elements += out.vocab.back();
  }
  const auto total = static_cast<std::int64_t>(rows.size());
  const std::int64_t fitting =
      static_cast<std::int64_t>(options_.logits_bytes / sizeof(float)) / row_elements;
  const auto lane_count = static_cast<std::int64_t>(lanes_.size());
  for (const auto& [begin, count] : plan_rows(total, std::min(fitting, options_.chunk_tokens))) {
    const std::unique_ptr<Buffer> gathered =
        backend_.allocate(lane_count * count * config_.hidden_size);
    const std::unique_ptr<Buffer> scores = backend_.allocate(count * row_elements);
    std::vector<LaneHead> heads;
    std::int64_t offset = 0;
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      WeightSource& source = *lanes_[lane].source;
      const Mat last = whole(*gathered, lane_count * count, config_.hidden_size)
                           .row_range(static_cast<std::int64_t>(lane) * count, count);
      backend_.gather_rows(
          hidden(lane),
          rows.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count)), last);
      const std::int64_t vocab = out.vocab[lane];
      heads.push_back({.config = &source.config(),
                       .weights = &source.globals(),
                       .hidden = last,
                       .logits = {scores.get(), offset, count, vocab, vocab}});
      offset += count * vocab;
    }
    head(backend_, heads, *work_);
    std::vector<std::vector<float>> staging(lanes_.size());
    out.first_row = begin;
    out.rows = count;
    out.lanes.clear();
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      out.lanes.push_back(backend_.read(heads[lane].logits, staging[lane]));
    }
    logits(out);
  }
}

}  // namespace mg
