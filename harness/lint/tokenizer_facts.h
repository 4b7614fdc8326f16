// What the rules need of a tokenizer, read from its files without building one: the largest id, the
// special tokens, the chat templates.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/io/folder.h"

namespace mg::lint {

struct TokenizerFacts {
  std::int64_t largest_id = -1;  // of vocabulary and added tokens; -1: no tokenizer.json
  std::map<std::string, std::int64_t> added;   // added tokens by text
  std::map<std::string, std::string> special;  // "eos_token" -> text, of tokenizer_config.json
};

/// tokenizer.json is read as a stream, since it can hold a quarter of a million entries.  A file
/// that does not parse gives what was read up to there.
TokenizerFacts tokenizer_facts(const FolderScan& scan);

/// A chat template and where it stands: tokenizer_config.json, chat_template.jinja,
/// chat_template.json, processor_config.json.
struct TemplatePlace {
  std::string file;
  std::string text;  // newlines normalised, outer white space cut
};
std::vector<TemplatePlace> chat_templates(const FolderScan& scan);

/// The ids at which generation stops: generation_config.json, config.json and the tokenizer's
/// eos_token.
std::set<std::int64_t> stop_ids(const FolderScan& scan, const TokenizerFacts& tokenizer);

}  // namespace mg::lint
