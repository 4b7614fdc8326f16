#include "harness/lanes/batch.h"

#include <algorithm>
#include <utility>

namespace mg {

void Batch::add(std::string id, const std::vector<std::int32_t>& input_ids) {
  prompts.push_back({std::move(id), tokens(), static_cast<std::int64_t>(input_ids.size())});
  ids.insert(ids.end(), input_ids.begin(), input_ids.end());
}

namespace {

void append_prompt(const Batch& batch, const BatchPrompt& prompt, PlacedChunk& placed) {
  Chunk& chunk = placed.chunk;
  chunk.segments.push_back({.q_begin = chunk.tokens,
                            .q_len = prompt.length,
                            .k_begin = chunk.tokens,
                            .k_len = prompt.length});
  chunk.lengths.push_back(prompt.length);
  const auto first = batch.ids.begin() + prompt.begin;
  chunk.ids.insert(chunk.ids.end(), first, first + prompt.length);
  for (std::int64_t i = 0; i < prompt.length; ++i) {
    chunk.positions.push_back(i);
  }
  chunk.tokens += prompt.length;
}

}  // namespace

std::vector<PlacedChunk> plan_chunks(const Batch& batch, std::int64_t target) {
  const std::int64_t least = std::max(target, kMinStableRows);
  std::vector<PlacedChunk> chunks;
  std::int64_t left = batch.tokens();
  for (const BatchPrompt& prompt : batch.prompts) {
    const bool full = !chunks.empty() && chunks.back().chunk.tokens >= least;
    if (chunks.empty() || (full && left >= kMinStableRows)) {
      chunks.push_back({prompt.begin, {}});
    }
    append_prompt(batch, prompt, chunks.back());
    left -= prompt.length;
  }
  return chunks;
}

std::vector<std::pair<std::int64_t, std::int64_t>> plan_rows(std::int64_t total,
                                                             std::int64_t target) {
  const std::int64_t step = std::max(target, kMinStableRows);
  std::vector<std::pair<std::int64_t, std::int64_t>> pieces;
  for (std::int64_t begin = 0; begin < total;) {
    std::int64_t count = std::min(step, total - begin);
    if (total - begin - count < kMinStableRows) {
      count = total - begin;
    }
    pieces.emplace_back(begin, count);
    begin += count;
  }
  return pieces;
}

}  // namespace mg
