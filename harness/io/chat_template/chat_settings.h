// What a model folder's small files say about prompts: its chat templates, the names of its special
// tokens, and whether a text begins and ends with one.  No tokenizer.json is needed.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace mg {

/// One template of a folder and where it stands.
struct StoredTemplate {
  std::string place;  // "chat_template.jinja", "tokenizer_config.json", ...
  std::string name;   // "default", or its own where a place holds several
  std::string source;
};

/// Every template of a model folder: chat_template.jinja, additional_chat_templates/*.jinja,
/// tokenizer_config.json (a text or a list of named ones), chat_template.json.  What transformers
/// takes stands first. Throws Error "json.*", "chat_template.bad-file".
std::vector<StoredTemplate> read_chat_templates(const std::filesystem::path& folder);

/// The template transformers renders with: the first place that has any; there "tool_use" if tools
/// are given and it exists, else "default".  Nothing if the folder has none.  Throws Error
/// "chat_template.no-default".
std::optional<StoredTemplate> choose_chat_template(const std::vector<StoredTemplate>& templates,
                                                   bool with_tools);

struct ChatSettings {
  std::vector<StoredTemplate> templates;  // read_chat_templates()
  /// "bos_token", "eos_token", ... as tokenizer_config.json, or else special_tokens_map.json, gives
  /// them.
  std::map<std::string, std::string> special_tokens;
  std::optional<bool> add_bos;  // tokenizer_config.json: "add_bos_token", "add_eos_token"
  std::optional<bool> add_eos;
};

/// Throws Error "json.*", "chat_template.bad-file".
ChatSettings read_chat_settings(const std::filesystem::path& folder);

/// The template's variables: the chat's members over the special tokens.
nlohmann::ordered_json chat_variables(const ChatSettings& settings,
                                      const nlohmann::ordered_json& chat);

}  // namespace mg
