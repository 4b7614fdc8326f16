// The "normalizer" of tokenizer.json: what happens to a text before it is cut.
// Known: NFC, NFD, NFKC, NFKD, Replace, Prepend, Strip, ByteLevel, Sequence.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "harness/io/tokenizer/aligned_text.h"
#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/pattern.h"
#include "harness/io/tokenizer/unicode_forms.h"

namespace mg {

struct ReplaceNormalizer {
  Pattern pattern;
  std::string content;
};
struct PrependNormalizer {
  std::string prefix;  // put before a text that is not empty
};
struct StripNormalizer {
  bool left;
  bool right;
};
struct ByteLevelNormalizer {};  // spells every byte as its character

using NormalizerStep = std::variant<UnicodeForm, ReplaceNormalizer, PrependNormalizer,
                                    StripNormalizer, ByteLevelNormalizer>;

class Normalizer {
 public:
  /// Reads the member "normalizer" (null: none).  Throws Error "tokenizer.unknown-component" and as
  /// Pattern::read.
  static Normalizer read(const Component& component);

  bool empty() const { return steps_.empty(); }
  void apply(AlignedText& text, RegexScratch& scratch) const;

 private:
  void add(const Component& component, int depth);
  std::vector<NormalizerStep> steps_;  // sequences flattened
};

}  // namespace mg
