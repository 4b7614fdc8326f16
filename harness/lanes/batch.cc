#include "harness/lanes/batch.h"

#include <algorithm>
#include <utility>

namespace mg {

void Batch::add(std::string id, const std::vector<std::int32_t>& input_ids) {
  add(std::move(id), PromptContent{.ids = input_ids, .positions = {}, .pictures = {}});
}

void Batch::add(std::string id, const PromptContent& content) {
  const std::int64_t begin = tokens();
  const auto length = static_cast<std::int64_t>(content.ids.size());
  prompts.push_back({std::move(id), begin, length});
  ids.insert(ids.end(), content.ids.begin(), content.ids.end());
  positions.insert(positions.end(), content.positions.begin(), content.positions.end());
  for (std::int64_t i = static_cast<std::int64_t>(content.positions.size()); i < length; ++i) {
    positions.push_back({i, i, i});
  }
  for (const BatchPicture& picture : content.pictures) {
    pictures.push_back(picture);
    pictures.back().prompt = prompts.size() - 1;
    pictures.back().row += begin;
  }
}

void Batch::add_rows(const Batch& other, const BatchPrompt& prompt) {
  prompts.push_back(prompt);
  prompts.back().begin = tokens();
  if (!other.ids.empty()) {
    const auto first = other.ids.begin() + prompt.begin;
    ids.insert(ids.end(), first, first + prompt.length);
  }
  const auto first = other.positions.begin() + prompt.begin;
  positions.insert(positions.end(), first, first + prompt.length);
}

PromptContent Batch::content(std::size_t prompt, std::int64_t length) const {
  const BatchPrompt& source = prompts[prompt];
  const auto first = ids.begin() + source.begin;
  const auto first_position = positions.begin() + source.begin;
  PromptContent result{.ids = {first, first + length},
                       .positions = {first_position, first_position + length},
                       .pictures = {}};
  for (const BatchPicture& picture : pictures) {
    const std::int64_t row = picture.row - source.begin;
    if (picture.prompt == prompt && row < length) {
      result.pictures.push_back(picture);
      result.pictures.back().row = row;
      result.pictures.back().rows = std::min(picture.rows, length - row);
    }
  }
  return result;
}

namespace {

void append_prompt(const Batch& batch, const BatchPrompt& prompt, bool by_parts,
                   PlacedChunk& placed) {
  Chunk& chunk = placed.chunk;
  std::int64_t row = chunk.tokens;
  const std::vector<std::int64_t> whole = {prompt.length};
  for (const std::int64_t length : by_parts && !prompt.parts.empty() ? prompt.parts : whole) {
    chunk.segments.push_back({.q_begin = row, .q_len = length, .k_begin = row, .k_len = length});
    chunk.lengths.push_back(length);
    row += length;
  }
  if (!batch.ids.empty()) {
    const auto first = batch.ids.begin() + prompt.begin;
    chunk.ids.insert(chunk.ids.end(), first, first + prompt.length);
  }
  for (std::int64_t i = 0; i < prompt.length; ++i) {
    chunk.positions.push_back(i);
  }
  chunk.tokens += prompt.length;
}

}  // namespace

std::vector<PlacedChunk> plan_chunks(const Batch& batch, std::int64_t target, bool by_parts) {
  const std::int64_t least = std::max(target, kMinStableRows);
  std::vector<PlacedChunk> chunks;
  std::int64_t left = batch.tokens();
  for (const BatchPrompt& prompt : batch.prompts) {
    const bool full = !chunks.empty() && chunks.back().chunk.tokens >= least;
    if (chunks.empty() || (full && left >= kMinStableRows)) {
      chunks.push_back({prompt.begin, {}});
    }
    append_prompt(batch, prompt, by_parts, chunks.back());
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
