// What a model folder makes of a prompt: its tokenizer.json with the settings of
// tokenizer_config.json, and its chat template.  Two folders' answers can be compared (findings
// F41, F43).  Tested in tests/chat_template.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/chat_template/chat_settings.h"
#include "harness/io/chat_template/chat_template.h"
#include "harness/io/tokenizer/tokenizer.h"
#include "kernels/core/error.h"

namespace mg {

struct PromptTokens {
  std::string text;  // what was tokenised
  std::vector<std::int32_t> ids;
  std::vector<TextRange> spans;  // bytes of `text` for each id
  /// Half-open ranges of ids that are the assistant's words, in order; empty for plain text.
  std::vector<TextRange> assistant;
  /// False where a template rewrites earlier turns so that an assistant message could not be found
  /// in the text.
  bool assistant_complete = true;
};

class PromptTokenizer {
 public:
  /// Reads the folder's tokenizer files.  Throws Error "tokenizer.missing" (naming the converting
  /// command where only a tokenizer.model is there), "tokenizer.*", "json.*".
  static PromptTokenizer open(const std::filesystem::path& folder);

  const Tokenizer& tokenizer() const { return tokenizer_; }
  Tokenizer take_tokenizer() && { return std::move(tokenizer_); }
  const ChatSettings& settings() const { return settings_; }

  /// Plain text, with the special tokens the model's text begins with.
  PromptTokens encode_text(std::string_view text) const;

  /// A chat: {"messages": [...], "tools": ...}.  add_generation_prompt is true unless the chat says
  /// otherwise or its last message is the assistant's.  No special tokens are added: the template
  /// writes its own. Throws Error "chat_template.missing" where the folder has no template, and as
  /// ChatTemplate::render.
  PromptTokens encode_chat(const nlohmann::ordered_json& chat, std::optional<ChatTime> now) const;

  /// The chat's text only; the special tokens are variables of the template.
  RenderedChat render(const nlohmann::ordered_json& chat, std::optional<ChatTime> now) const;

 private:
  explicit PromptTokenizer(Tokenizer tokenizer) : tokenizer_(std::move(tokenizer)) {}
  void set_layout();
  void prepare_template(bool tools);
  std::vector<TextRange> assistant_text(const nlohmann::ordered_json& chat,
                                        const RenderedChat& whole, std::optional<ChatTime> now,
                                        bool& complete) const;

  std::filesystem::path folder_;
  Tokenizer tokenizer_;
  ChatSettings settings_;
  std::optional<ChatTemplate> plain_;  // the template without tools
  std::optional<ErrorParts> plain_error_;
  std::optional<ErrorParts> with_tools_error_;
  std::optional<ChatTemplate> with_tools_;  // the one chats with tools take
};

/// The first place where two tokenisations of one prompt differ.
struct TokenDifference {
  std::size_t position = 0;  // in ids
  std::string reference;     // "17 \"Ġthe\"", or "the end"
  std::string subject;
  std::string text_before;  // up to 40 bytes of the reference's text before it
};

/// Nothing when the ids are equal.
std::optional<TokenDifference> first_difference(const PromptTokenizer& reference,
                                                const PromptTokens& reference_tokens,
                                                const PromptTokenizer& subject,
                                                const PromptTokens& subject_tokens);

}  // namespace mg
