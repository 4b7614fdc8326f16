#include "harness/lint/tokenizer_facts.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

/// Keeps the largest id under model.vocab and the added tokens; everything else streams past.
class VocabularyReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  TokenizerFacts facts;

  bool null() override { return value(); }
  bool boolean(bool) override { return value(); }
  bool number_integer(std::int64_t number) override { return integer(number); }
  bool number_unsigned(std::uint64_t number) override {
    return integer(static_cast<std::int64_t>(number));
  }
  bool number_float(double, const std::string&) override { return value(); }
  bool string(std::string& text) override {
    if (in_added() && key_ == "content") {
      content_ = text;
    }
    return value();
  }
  bool binary(binary_t&) override { return value(); }
  bool start_object(std::size_t) override { return open('{'); }
  bool key(std::string& text) override {
    key_ = text;
    return true;
  }
  bool end_object() override {
    if (in_added() && id_ >= 0) {
      facts.largest_id = std::max(facts.largest_id, id_);
      facts.added[content_] = id_;
    }
    return close();
  }
  bool start_array(std::size_t) override { return open('['); }
  bool end_array() override {
    // Unigram: a list of pairs, whose places are the ids.
    if (path_.size() == 3 && path_[1] == "model" && path_[2] == "vocab") {
      facts.largest_id = std::max(facts.largest_id, entries_ - 1);
    }
    return close();
  }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override {
    return false;
  }

 private:
  bool in_added() const {
    return path_.size() == 3 && path_[1] == "added_tokens" && kinds_.back() == '{';
  }

  bool open(char kind) {
    if (path_.size() == 3 && path_[1] == "model" && path_[2] == "vocab" && kind == '[') {
      ++entries_;
    }
    // Elements of a list have no key of their own.
    path_.push_back(!kinds_.empty() && kinds_.back() == '[' ? std::string() : key_);
    kinds_.push_back(kind);
    id_ = -1;
    content_.clear();
    return true;
  }

  bool close() {
    path_.pop_back();
    kinds_.pop_back();
    return true;
  }

  bool integer(std::int64_t number) {
    if (path_.size() == 3 && path_[1] == "model" && path_[2] == "vocab" && kinds_.back() == '{') {
      facts.largest_id = std::max(facts.largest_id, number);
    } else if (in_added() && key_ == "id") {
      id_ = number;
    }
    return value();
  }

  static bool value() { return true; }

  std::vector<std::string> path_;  // of open objects and lists; the root has the name ""
  std::string kinds_;
  std::string key_;
  std::string content_;
  std::int64_t id_ = -1;
  std::int64_t entries_ = 0;
};

std::string token_text(const nlohmann::json& value) {
  if (value.is_string()) {
    return value.get<std::string>();
  }
  if (value.is_object()) {
    const auto content = value.find("content");
    if (content != value.end() && content->is_string()) {
      return content->get<std::string>();
    }
  }
  return {};
}

std::string normalised(std::string text) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') {
      result += text[i];
    }
  }
  const std::size_t first = result.find_first_not_of(" \t\n");
  const std::size_t last = result.find_last_not_of(" \t\n");
  return first == std::string::npos ? std::string() : result.substr(first, last - first + 1);
}

void add_ids(const nlohmann::json* config, std::set<std::int64_t>& ids) {
  if (config == nullptr || !config->is_object()) {
    return;
  }
  const auto it = config->find("eos_token_id");
  if (it == config->end()) {
    return;
  }
  for (const nlohmann::json& id : it->is_array() ? *it : nlohmann::json::array({*it})) {
    if (id.is_number_integer()) {
      ids.insert(id.get<std::int64_t>());
    }
  }
}

}  // namespace

TokenizerFacts tokenizer_facts(const FolderScan& scan) {
  VocabularyReader reader;
  const FolderEntry* entry = scan.entry("tokenizer.json");
  if (entry != nullptr && !entry->is_folder && !entry->dangling) {
    try {
      const std::string text = read_text(scan.path / "tokenizer.json");
      nlohmann::json::sax_parse(text, &reader, nlohmann::json::input_format_t::json, false);
    } catch (const Error&) {
      // Not readable: no facts.
    }
  }
  TokenizerFacts facts = std::move(reader.facts);
  if (const nlohmann::json* config = scan.json("tokenizer_config.json");
      config != nullptr && config->is_object()) {
    for (const char* key : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
      const auto it = config->find(key);
      if (it != config->end() && !it->is_null()) {
        facts.special[key] = token_text(*it);
      }
    }
    const auto added = config->find("added_tokens_decoder");
    if (added != config->end() && added->is_object()) {
      for (const auto& [id, token] : added->items()) {
        char* end = nullptr;
        const std::int64_t number = std::strtoll(id.c_str(), &end, 10);
        if (end != id.c_str() && *end == '\0') {
          facts.largest_id = std::max(facts.largest_id, number);
          facts.added[token_text(token)] = number;
        }
      }
    }
  }
  return facts;
}

std::vector<TemplatePlace> chat_templates(const FolderScan& scan) {
  std::vector<TemplatePlace> places;
  const FolderEntry* jinja = scan.entry("chat_template.jinja");
  if (jinja != nullptr && !jinja->is_folder && !jinja->dangling) {
    places.push_back(
        {"chat_template.jinja", normalised(read_text(scan.path / "chat_template.jinja"))});
  }
  for (const char* file :
       {"tokenizer_config.json", "chat_template.json", "processor_config.json"}) {
    const nlohmann::json* config = scan.json(file);
    if (config == nullptr || !config->is_object()) {
      continue;
    }
    const auto it = config->find("chat_template");
    if (it != config->end() && it->is_string()) {
      places.push_back({file, normalised(it->get<std::string>())});
    }
  }
  return places;
}

std::set<std::int64_t> stop_ids(const FolderScan& scan, const TokenizerFacts& tokenizer) {
  std::set<std::int64_t> ids;
  add_ids(scan.json("generation_config.json"), ids);
  add_ids(scan.json("config.json"), ids);
  const auto eos = tokenizer.special.find("eos_token");
  if (eos != tokenizer.special.end()) {
    const auto id = tokenizer.added.find(eos->second);
    if (id != tokenizer.added.end()) {
      ids.insert(id->second);
    }
  }
  return ids;
}

}  // namespace mg::lint
