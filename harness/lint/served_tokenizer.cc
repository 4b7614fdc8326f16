#include "harness/lint/served_tokenizer.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace mg::lint {
namespace {

using Json = nlohmann::ordered_json;

// Names of pre-tokenizers under which llama.cpp puts BOS before a text unless told otherwise.
constexpr auto kBosByDefault = std::to_array<std::string_view>(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
     "jina-v5-nano", "tekken", "chameleon"});

const Json* entry(const GgufFile& file, const char* name) {
  const auto found = file.metadata().find(std::string("tokenizer.") + name);
  return found == file.metadata().end() ? nullptr : &*found;
}

std::optional<std::string> text(const GgufFile& file, const char* name) {
  const Json* value = entry(file, name);
  return value != nullptr && value->is_string() ? std::optional(value->get<std::string>())
                                                : std::nullopt;
}

std::optional<std::int64_t> id(const GgufFile& file, const char* name) {
  const Json* value = entry(file, name);
  return value != nullptr && value->is_number_integer() ? std::optional(value->get<std::int64_t>())
                                                        : std::nullopt;
}

bool flag(const GgufFile& file, const char* name, bool otherwise) {
  const Json* value = entry(file, name);
  return value != nullptr && value->is_boolean() ? value->get<bool>() : otherwise;
}

std::vector<std::string> texts(const GgufFile& file, const char* name) {
  std::vector<std::string> out;
  const Json* value = entry(file, name);
  if (value != nullptr && value->is_array()) {
    for (const Json& each : *value) {
      out.push_back(each.is_string() ? each.get<std::string>() : std::string());
    }
  }
  return out;
}

}  // namespace

std::string GgufTokenizer::text_of(std::optional<std::int64_t> token) const {
  return token && *token >= 0 && *token < std::ssize(tokens)
             ? tokens[static_cast<std::size_t>(*token)]
             : std::string();
}

GgufTokenizer read_gguf_tokenizer(const GgufFile& file) {
  GgufTokenizer out;
  out.model = text(file, "ggml.model").value_or("");
  out.pre = text(file, "ggml.pre");
  out.tokens = texts(file, "ggml.tokens");
  out.merges = texts(file, "ggml.merges");
  if (const Json* types = entry(file, "ggml.token_type"); types != nullptr && types->is_array()) {
    for (const Json& type : *types) {
      out.types.push_back(type.is_number_integer() ? type.get<std::int64_t>() : 0);
    }
  }
  out.bos = id(file, "ggml.bos_token_id");
  out.eos = id(file, "ggml.eos_token_id");
  const bool named =
      out.byte_level() && out.pre &&
      std::find(kBosByDefault.begin(), kBosByDefault.end(), *out.pre) != kBosByDefault.end();
  out.add_bos = flag(file, "ggml.add_bos_token", out.model == "llama" || named);
  out.add_eos = flag(file, "ggml.add_eos_token", false);
  out.chat_template = text(file, "chat_template");
  return out;
}

}  // namespace mg::lint
