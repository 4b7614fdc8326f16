// The tokenizer inside a GGUF file, as llama.cpp takes it: tokens, merges, special ids, whether BOS
// and EOS are put around a text, the chat template.  Not for: deciding what is wrong
// (rules/gguf.cc).
//
// Defaults: llama.cpp's src/llama-vocab.cpp (llama_vocab::impl::load), read for behaviour.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "harness/io/gguf.h"

namespace mg::lint {

/// tokenizer.ggml.token_type (gguf.TokenType).
enum class GgufTokenType : std::int64_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct GgufTokenizer {
  std::string model;               // "gpt2" (byte-level BPE), "llama" (SentencePiece), ...
  std::optional<std::string> pre;  // the pre-tokenizer's name
  std::vector<std::string> tokens;
  std::vector<std::string> merges;
  std::vector<std::int64_t> types;  // beside the tokens, or empty
  std::optional<std::int64_t> bos;
  std::optional<std::int64_t> eos;
  bool add_bos = false;  // as llama.cpp decides where the file does not say
  bool add_eos = false;
  std::optional<std::string> chat_template;

  bool byte_level() const { return model == "gpt2"; }
  /// "" for an id that is none of its tokens.
  std::string text_of(std::optional<std::int64_t> id) const;
};

/// Entries of another type than the format's are as absent.
GgufTokenizer read_gguf_tokenizer(const GgufFile& file);

}  // namespace mg::lint
