// The prompts of a run as packed tokens, with their images, and their division into chunks of whole
// prompts.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "harness/model/forward.h"
#include "harness/model/rope.h"
#include "harness/model/vision.h"

namespace mg {

struct BatchPrompt {
  std::string id;
  std::int64_t begin = 0;   // first row
  std::int64_t length = 0;  // rows
  // Lengths of the parts within which some layers attend (the windows of a tower's frame); empty:
  // one part.
  std::vector<std::int64_t> parts = {};
};

/// A picture in a prompt and the rows that its features take.
struct BatchPicture {
  Picture picture;
  std::shared_ptr<const std::vector<float>> patches;  // [t * h * w, values of a patch]
  std::size_t prompt = 0;
  std::int64_t row = 0;   // first row in the batch (in a PromptContent: in the prompt)
  std::int64_t rows = 0;  // fewer than its tokens where the prompt was cut within it
};

/// What a prompt is made of.
struct PromptContent {
  std::vector<std::int32_t> ids;
  std::vector<Position> positions;     // empty: 0, 1, 2, ...
  std::vector<BatchPicture> pictures;  // by their first row
};

struct Batch {
  std::vector<BatchPrompt> prompts;
  std::vector<std::int32_t> ids;    // [T]; none in a batch of a tower's frames
  std::vector<Position> positions;  // [T]
  std::vector<BatchPicture> pictures;

  std::int64_t tokens() const { return static_cast<std::int64_t>(positions.size()); }
  void add(std::string id, const std::vector<std::int32_t>& input_ids);
  void add(std::string id, const PromptContent& content);
  /// A whole prompt of another batch, without its pictures.
  void add_rows(const Batch& other, const BatchPrompt& prompt);
  /// The first `length` tokens of a prompt, its pictures included.
  PromptContent content(std::size_t prompt, std::int64_t length) const;
};

/// A chunk and where its rows stand in the batch.
struct PlacedChunk {
  std::int64_t begin = 0;
  Chunk chunk;
};

/// Whole prompts, in order, until a chunk holds `target` tokens.  No chunk has fewer than
/// kMinStableRows rows unless the whole batch has, so that results do not depend on `target`.
/// `by_parts`: a segment for each part of a prompt.
std::vector<PlacedChunk> plan_chunks(const Batch& batch, std::int64_t target,
                                     bool by_parts = false);

/// [0, total) in pieces of `target` rows, none shorter than kMinStableRows unless total is.
std::vector<std::pair<std::int64_t, std::int64_t>> plan_rows(std::int64_t total,
                                                             std::int64_t target);

}  // namespace mg
