// Text to token ids and back, as the Hugging Face tokenizers library does it with the same
// tokenizer.json. Truncation and padding of the file are ignored: transformers switches them off
// for what is measured here. Not for: chat templates and the settings of tokenizer_config.json
// (harness/cli). Tested in tests/tokenizer against recorded results
// of the reference; tests/tokenizer/reference has the scripts.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/tokenizer/added_tokens.h"

namespace mg {

/// Token ids and, for each, which bytes of the text it stands for.  Special tokens that were added
/// have empty ranges.
struct TokenizedText {
  std::vector<std::int32_t> ids;
  std::vector<TextRange> spans;
};

class Tokenizer {
 public:
  /// Reads a tokenizer.json.  Throws Error "tokenizer.*", "json.*", "file.*".
  static Tokenizer open(const std::filesystem::path& path);
  /// The same from text; `file` names it in errors.
  static Tokenizer parse(std::string_view json, std::string_view file);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Ids of `text`; `add_special` adds what the post-processor puts around it.  Throws Error
  /// "tokenizer.invalid-utf8". Safe to call from several threads (one works at a time).
  std::vector<std::int32_t> encode(std::string_view text, bool add_special) const;
  TokenizedText encode_with_spans(std::string_view text, bool add_special) const;

  /// Text of `ids`; ids that mean nothing are left out, as in the reference.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special) const;

  /// The token as the vocabulary spells it.
  std::optional<std::string> token_of(std::int32_t id) const;
  std::optional<std::int32_t> id_of(std::string_view token) const;
  bool is_special(std::int32_t id) const;
  const std::vector<AddedToken>& added_tokens() const;
  /// The largest id with a meaning, plus one.
  std::int32_t id_limit() const;
  /// What the post-processor puts before and after a text.
  std::vector<std::optional<std::int32_t>> layout() const;
  /// Replaces it: transformers does so for "add_bos_token" and "add_eos_token" (nullopt is the
  /// text's place).
  void set_layout(std::vector<std::optional<std::int32_t>> layout);
  /// Oddities of the file that the reference only warns about.
  const std::vector<std::string>& warnings() const;

 private:
  struct State;
  explicit Tokenizer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace mg
