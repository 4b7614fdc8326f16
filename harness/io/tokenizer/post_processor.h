// The "post_processor" of tokenizer.json, for one sequence: which special tokens go around a text.
// Known: TemplateProcessing, ByteLevel (changes only offsets, which are not the reference's here),
// Sequence.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "harness/io/tokenizer/component.h"

namespace mg {

class PostProcessor {
 public:
  /// Reads the member "post_processor" (null: none).  Throws Error "tokenizer.unknown-component".
  static PostProcessor read(const Component& component);

  /// What the tokens of a text become: their own place is nullopt, special tokens are ids.
  std::vector<std::optional<std::int32_t>> layout() const;

 private:
  void add(const Component& component, int depth);
  void add_template(const Component& component);

  // One template after another; each holds ids and places for the sequence (nullopt).
  std::vector<std::vector<std::optional<std::int32_t>>> templates_;
};

}  // namespace mg
