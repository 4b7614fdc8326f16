// Where a model folder keeps its templates (transformers' tokenization_utils_base.py,
// _from_pretrained).
#include "harness/io/chat_template/chat_settings.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

// Places and precedence as in transformers' tokenization_utils_base.py, _from_pretrained.

[[noreturn]] void bad_file(const std::string& where, const std::string& actual) {
  throw Error({.code = "chat_template.bad-file",
               .what = "\"chat_template\" is neither a text nor a list of named templates",
               .where = where,
               .expected = R"(a text, or [{"name": ..., "template": ...}])",
               .actual = actual,
               .hint = {}});
}

void add_from_json(const fs::path& folder, const std::string& file,
                   std::vector<StoredTemplate>& out) {
  if (!fs::is_regular_file(folder / file)) {
    return;
  }
  const nlohmann::json config = read_json(folder / file);
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (!config.is_object() || found == config.end() || found->is_null()) {
    return;
  }
  const std::string where = (folder / file).string() + ", chat_template";
  if (found->is_string()) {
    out.push_back({file, "default", found->get<std::string>()});
    return;
  }
  if (!found->is_array()) {
    bad_file(where, std::string(json_kind(*found)));
  }
  for (const auto& entry : *found) {
    if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") ||
        !entry["name"].is_string() || !entry["template"].is_string()) {
      bad_file(where, std::string(json_kind(entry)));
    }
    out.push_back({file, entry["name"].get<std::string>(), entry["template"].get<std::string>()});
  }
}

}  // namespace

std::vector<StoredTemplate> read_chat_templates(const fs::path& folder) {
  std::vector<StoredTemplate> out;
  const fs::path main = folder / "chat_template.jinja";
  if (fs::is_regular_file(main)) {
    out.push_back({"chat_template.jinja", "default", read_text(main)});
  }
  const fs::path more = folder / "additional_chat_templates";
  if (fs::is_directory(more)) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(more)) {
      if (entry.path().extension() == ".jinja") {
        files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      // The same place as chat_template.jinja: together they are transformers' choice.
      out.push_back({"chat_template.jinja", file.stem().string(), read_text(file)});
    }
  }
  add_from_json(folder, "tokenizer_config.json", out);
  add_from_json(folder, "chat_template.json", out);
  return out;
}

std::optional<StoredTemplate> choose_chat_template(const std::vector<StoredTemplate>& templates,
                                                   bool with_tools) {
  if (templates.empty()) {
    return std::nullopt;
  }
  const std::string& place = templates.front().place;
  const auto named = [&](std::string_view name) {
    return std::find_if(templates.begin(), templates.end(), [&](const StoredTemplate& stored) {
      return stored.place == place && stored.name == name;
    });
  };
  if (with_tools && named("tool_use") != templates.end()) {
    return *named("tool_use");
  }
  if (named("default") != templates.end()) {
    return *named("default");
  }
  throw Error({.code = "chat_template.no-default",
               .what = "the folder has several chat templates and none is called \"default\"",
               .where = place,
               .expected = {},
               .actual = templates.front().name,
               .hint = {}});
}

namespace {

nlohmann::json read_if_there(const fs::path& path) {
  return fs::is_regular_file(path) ? read_json(path) : nlohmann::json::object();
}

// A token is given as a text or as {"content": ..., ...}.
std::optional<std::string> token_text(const nlohmann::json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_object() && value.contains("content") && value["content"].is_string()) {
    return value["content"].get<std::string>();
  }
  return std::nullopt;
}

std::optional<bool> flag(const nlohmann::json& config, std::string_view name) {
  const bool given = config.is_object() && config.contains(name) && config[name].is_boolean();
  return given ? std::optional<bool>(config[name].get<bool>()) : std::nullopt;
}

}  // namespace

ChatSettings read_chat_settings(const fs::path& folder) {
  static constexpr std::array<std::string_view, 7> kNamed = {
      "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  ChatSettings out;
  const nlohmann::json config = read_if_there(folder / "tokenizer_config.json");
  for (const nlohmann::json& source : {read_if_there(folder / "special_tokens_map.json"), config}) {
    for (const std::string_view name : kNamed) {
      if (source.is_object() && source.contains(name)) {
        if (const auto text = token_text(source[name])) {
          out.special_tokens[std::string(name)] = *text;
        }
      }
    }
  }
  out.add_bos = flag(config, "add_bos_token");
  out.add_eos = flag(config, "add_eos_token");
  out.templates = read_chat_templates(folder);
  return out;
}

nlohmann::ordered_json chat_variables(const ChatSettings& settings,
                                      const nlohmann::ordered_json& chat) {
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();
  for (const auto& [name, token] : settings.special_tokens) {
    variables[name] = token;
  }
  for (const auto& [name, value] : chat.items()) {
    variables[name] = value;
  }
  return variables;
}

}  // namespace mg
