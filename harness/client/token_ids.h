// Which id a server's token is.  Exactly: a token that may be two ids is none.  Not for: reading
// the server's answer (logprobs.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "harness/client/logprobs.h"
#include "harness/io/tokenizer/tokenizer.h"

namespace mg {

class TokenIds {
 public:
  /// Ids below `vocab`.  `tokenizer`: for tokens that come as text; null: there is none.
  /// `cleaned_up`: the server may take blanks from a token's text, as transformers' decode() does
  /// where "clean_up_tokenization_spaces" is set, so that " ." and "." are one text.
  TokenIds(const Tokenizer* tokenizer, std::int64_t vocab, bool cleaned_up)
      : tokenizer_(tokenizer), vocab_(vocab), cleaned_up_(cleaned_up) {}

  struct Found {
    std::optional<std::int32_t> id;
    std::string why;  // there is none
  };
  Found find(const TokenLogprob& token);

 private:
  /// Ids whose text this is, the first two.
  struct Meant {
    std::int32_t first = 0;
    std::optional<std::int32_t> second;
  };
  void read_vocabulary();
  void add(const std::string& text, std::int32_t id);

  const Tokenizer* tokenizer_;
  std::int64_t vocab_;
  bool cleaned_up_;
  std::unordered_map<std::string, Meant> by_text_;  // filled when first needed
};

}  // namespace mg
