// The "decoder" of tokenizer.json: tokens back to text.
// Known: ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, Sequence.  Without a decoder the
// tokens are joined with spaces, as in the reference.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "harness/io/tokenizer/component.h"
#include "harness/io/tokenizer/pattern.h"

namespace mg {

struct ByteLevelDecoder {};  // all tokens' bytes as one text, U+FFFD for what is not UTF-8
struct ByteFallbackDecoder {
};  // runs of <0x..> tokens as text, one U+FFFD each where they are not UTF-8
struct FuseDecoder {};
struct ReplaceDecoder {
  Pattern pattern;
  std::string content;
};
struct StripDecoder {
  std::string content;  // one character
  std::int64_t start;   // how many at most
  std::int64_t stop;
};
struct MetaspaceDecoder {
  std::string replacement;
  bool drops_first;  // the marks of the first token were put there by the pre-tokenizer
};

using DecoderStep = std::variant<ByteLevelDecoder, ByteFallbackDecoder, FuseDecoder, ReplaceDecoder,
                                 StripDecoder, MetaspaceDecoder>;

class TokenDecoder {
 public:
  /// Reads the member "decoder" (null: none).  Throws Error "tokenizer.unknown-component" and as
  /// Pattern::read.
  static TokenDecoder read(const Component& component);

  std::string decode(std::vector<std::string> tokens, RegexScratch& scratch) const;

 private:
  void add(const Component& component, int depth);
  std::vector<DecoderStep> steps_;  // sequences flattened
  bool present_ = false;
};

}  // namespace mg
