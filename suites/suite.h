// Prompts to run through every lane, as token ids, with what is scored in them and how to slice
// results. Not for: reading files (reader.h), the built-in suites (smoke.h), tokenizing or running
// anything. Tested in tests/suites.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "suites/text_match.h"

namespace mg {

/// Positions begin <= t < end of a prompt's ids.
struct TokenRange {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  bool operator==(const TokenRange&) const = default;
};

/// A named part of a prompt that gets its own slice in the report: "answer", "tool-call".
struct TokenSpan {
  std::string name;
  TokenRange range;
  bool operator==(const TokenSpan&) const = default;
};

/// Image patches made elsewhere: a tensor of a safetensors file.
struct PixelValuesRef {
  std::filesystem::path file;  // resolved against the suite's folder
  std::string tensor;
};

/// An image of a chat.
struct SuiteImage {
  std::string name;             // as the suite says it
  std::filesystem::path file;   // resolved against the suite's folder
  std::string_view bytes = {};  // of a built-in suite: the file's
};

struct SuitePrompt {
  std::string id;  // unique in its suite
  std::vector<std::int32_t>
      input_ids;                  // [T], the completion included; empty: text or messages only
  std::int64_t scored_begin = 1;  // first token whose likelihood counts; 1 without "completion"
  std::vector<std::string> tags;
  std::vector<TokenSpan> spans;
  std::optional<PixelValuesRef> pixel_values;
  std::vector<std::array<std::int64_t, 3>>
      image_grid_thw;  // patches per image: time, height, width
  std::optional<PixelValuesRef> pixel_values_videos;
  std::vector<std::array<std::int64_t, 3>> video_grid_thw;
  std::vector<double> second_per_grid_ts;  // per clip: seconds of a step of time; empty: 1 each
  std::vector<SuiteImage> images;          // of messages, in their order
  // Of all images, one after another, instead of pixel_values: made of them by harness/run.
  std::shared_ptr<const std::vector<float>> patches;
  std::optional<std::string> text;      // to be tokenized
  std::optional<std::string> messages;  // JSON text of a chat, to be rendered and tokenized
  std::optional<std::string> tools;     // JSON text, only beside messages
  std::optional<std::string> template_variables;  // JSON text of an object, only beside messages
  std::optional<std::string> now;     // what the template's strftime_now shows; absent: a fixed day
  std::optional<Expectation> expect;  // of what `mergegauge generate` writes after the prompt
  std::int64_t sample_tokens = 0;  // the reference lane is to extend input_ids by this many tokens
  std::int64_t line = 0;           // of the suite's file, from 1; 0: not from a file

  std::int64_t tokens() const { return static_cast<std::int64_t>(input_ids.size()); }
  /// Rows of logits that distribution metrics cover, [scored_begin - 1, T): row t predicts token t
  /// + 1.
  TokenRange scored_rows() const { return {scored_begin - 1, tokens()}; }
  /// Rows that have a given next token, [scored_begin - 1, T - 1): what likelihood metrics cover.
  TokenRange likelihood_rows() const { return {scored_begin - 1, tokens() - 1}; }
};

struct Suite {
  std::string name;
  std::filesystem::path path;  // of the JSONL file; empty for a generated suite
  std::string digest;  // "sha256:<hex>" of the file's bytes, or of write_suite() of a generated one
  std::vector<SuitePrompt> prompts;

  std::int64_t total_tokens() const;
  /// Tokens whose likelihood counts: the sum of likelihood_rows().
  std::int64_t scored_tokens() const;
  /// True where a prompt asks for tokens that only a run of the reference lane can give.
  bool needs_model_sampling() const;
};

/// Suite::digest of these bytes.
std::string suite_digest(std::string_view text);

/// What a model takes.
struct ModelLimits {
  std::int64_t vocab_size = 0;
  std::int64_t max_tokens = 0;            // context length
  std::vector<std::int32_t> special_ids;  // any order; never drawn by a generated suite.  Includes
                                          // the placeholders of images and video
  std::optional<std::int32_t> bos;        // starts every generated prompt where the model wants one
};

/// Throws Error "suite.needs-tokenizer" when a prompt has text or messages and no ids yet.  The one
/// place that says so: whoever can tokenize fills input_ids first.
void require_token_ids(const Suite& suite);

/// Throws Error "suite.needs-tokenizer", "suite.token-out-of-range" (an id outside the vocabulary)
/// or "suite.prompt-too-long" (longer than the context, sampled tokens included).
void check_limits(const Suite& suite, const ModelLimits& limits);

/// The suite cut to at most `max_tokens` tokens: whole prompts, chosen by a hash of their ids (so
/// that a suite sorted by topic keeps its mixture, and the choice is the same everywhere), kept in
/// the suite's order. Name and digest stay those of the full suite.  Throws Error
/// "suite.limit-too-small" when no prompt fits.
Suite limit_tokens(const Suite& suite, std::int64_t max_tokens);

/// All prompts of a run in order.  With more than one suite every id becomes "<suite>/<id>", so
/// that ids stay unique in the report.  Throws Error "suite.duplicate-name" when two suites have
/// the same name.
std::vector<SuitePrompt> all_prompts(std::span<const Suite> suites);

/// The suite as JSONL, one prompt a line, keys in fixed order: what reader.h reads.  pixel_values
/// and sampled prompts are not supported (internal Error).
std::string write_suite(const Suite& suite);

}  // namespace mg
