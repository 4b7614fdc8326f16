// The prompts of a run as packed tokens, and their division into chunks of whole prompts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "harness/model/forward.h"

namespace mg {

struct BatchPrompt {
  std::string id;
  std::int64_t begin = 0;   // first row
  std::int64_t length = 0;  // rows
};

struct Batch {
  std::vector<BatchPrompt> prompts;
  std::vector<std::int32_t> ids;  // [T]

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  void add(std::string id, const std::vector<std::int32_t>& input_ids);
};

/// A chunk and where its rows stand in the batch.
struct PlacedChunk {
  std::int64_t begin = 0;
  Chunk chunk;
};

/// Whole prompts, in order, until a chunk holds `target` tokens.  No chunk has fewer than
/// kMinStableRows rows unless the whole batch has, so that results do not depend on `target`.
std::vector<PlacedChunk> plan_chunks(const Batch& batch, std::int64_t target);

/// [0, total) in pieces of `target` rows, none shorter than kMinStableRows unless total is.
std::vector<std::pair<std::int64_t, std::int64_t>> plan_rows(std::int64_t total,
                                                             std::int64_t target);

}  // namespace mg
