// Tokenizer, special tokens, stop ids, chat templates.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/lint/expectation.h"
#include "harness/lint/rules.h"
#include "harness/lint/tokenizer_facts.h"

namespace mg::lint {
namespace {

// What closes an assistant's turn in the templates of the Hub (failures.md, F40).
constexpr auto kTurnEnds = std::to_array<std::string_view>(
    {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<turn|>", "<|end|>", "<|eot|>"});

std::string ids_text(const std::set<std::int64_t>& ids) {
  return ids.empty() ? "none" : fmt::format("{}", fmt::join(ids, ", "));
}

void ids_in_range(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  const HeaderTensor* embedding = nullptr;
  for (const HeaderTensor& tensor : model.tensors) {
    if (is_embedding(tensor.canonical) && tensor.shape.size() == 2 && is_plain(tensor.dtype)) {
      embedding = &tensor;
    }
  }
  if (embedding == nullptr) {
    return;
  }
  const std::int64_t rows = embedding->shape[0];
  const std::int64_t largest = model.tokenizer.largest_id;
  if (largest >= rows) {
    report.error({.subject = "tokenizer.json",
                  .message = "the tokenizer gives ids that the embedding has no row for: such a "
                             "prompt ends in an index out of range",
                  .expected = fmt::format("ids below {}", rows),
                  .actual = fmt::format("largest id {}", largest)});
    return;
  }
  for (const char* file : {"config.json", "generation_config.json"}) {
    const nlohmann::json* config = model.json(file);
    if (config == nullptr || !config->is_object()) {
      continue;
    }
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
      const auto it = config->find(key);
      if (it == config->end()) {
        continue;
      }
      for (const nlohmann::json& id : it->is_array() ? *it : nlohmann::json::array({*it})) {
        if (id.is_number_integer() && id.get<std::int64_t>() >= rows) {
          report.error({.subject = std::string(file) + ": " + key,
                        .message = "the id has no row in the embedding",
                        .expected = fmt::format("below {}", rows),
                        .actual = id.dump()});
        }
      }
    }
  }
}

/// Ids of tokenizer.json's vocabulary by token: an object (BPE, WordPiece), or a list in the order
/// of ids (Unigram).
std::map<std::string, std::int64_t> vocabulary_of(const nlohmann::json& model) {
  std::map<std::string, std::int64_t> ids;
  const auto vocabulary = model.is_object() ? model.find("vocab") : model.end();
  if (!model.is_object() || vocabulary == model.end()) {
    return ids;
  }
  std::int64_t at = 0;
  for (const auto& [key, value] : vocabulary->items()) {
    if (vocabulary->is_object() && value.is_number_integer()) {
      ids.emplace(key, value.get<std::int64_t>());
    } else if (value.is_array() && !value.empty() && value[0].is_string()) {
      ids.emplace(value[0].get<std::string>(), at);
    }
    ++at;
  }
  return ids;
}

/// Tokens that both vocabularies hold, under different ids: how many, and the first.
struct MovedTokens {
  std::int64_t count = 0;
  std::string token;
  std::int64_t before = 0;
  std::int64_t after = 0;
};

MovedTokens moved_tokens(const nlohmann::json& base, const nlohmann::json& merged) {
  MovedTokens moved;
  const std::map<std::string, std::int64_t> after = vocabulary_of(merged);
  for (const auto& [token, id] : vocabulary_of(base)) {
    const auto found = after.find(token);
    if (found == after.end() || found->second == id) {
      continue;
    }
    if (moved.count++ == 0) {
      moved = {1, token, id, found->second};
    }
  }
  return moved;
}

/// The same vocabulary and rules of splitting, however the files spell them.
void other_tokenizer(const Context& context, Reporter& report) {
  constexpr const char* kFile = "tokenizer.json";
  if (!context.merged.has_file(kFile) || !context.base->has_file(kFile)) {
    return;
  }
  const std::string after = read_text(context.merged.scan.path / kFile);
  const std::string before = read_text(context.base->scan.path / kFile);
  if (after == before) {
    return;
  }
  const auto parts = [](const std::string& text) {
    const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
    nlohmann::json wanted;
    for (const char* key : {"model", "normalizer", "pre_tokenizer"}) {
      wanted[key] = json.is_object() && json.contains(key) ? json.at(key) : nlohmann::json();
    }
    return wanted;
  };
  const nlohmann::json old_parts = parts(before);
  const nlohmann::json new_parts = parts(after);
  if (new_parts == old_parts) {
    return;
  }
  if (const MovedTokens moved = moved_tokens(old_parts["model"], new_parts["model"]);
      moved.count > 0) {
    // No training does this: the embedding's rows stay where they are.
    report.error(
        {.subject = kFile,
         .message =
             fmt::format("{} of the base have other ids: the embedding's rows now "
                         "stand for other tokens",
                         moved.count == 1 ? "a token" : fmt::format("{} tokens", moved.count)),
         .expected = fmt::format("{} as id {}", nlohmann::json(moved.token).dump(), moved.before),
         .actual = fmt::format("id {}", moved.after),
         .edits = {}});
  } else {
    report.warning({.subject = kFile,
                    .message = "the tokenizer splits text otherwise than the base's: prompts of "
                               "the two are other ids, and comparing their outputs means nothing",
                    .expected = "the base's vocabulary, merges and splitting",
                    .actual = "others",
                    .edits = {}});
  }
}

void missing_tokenizer(const Context& context, Reporter& report) {
  for (const char* file : {"tokenizer.json", "tokenizer_config.json", "tokenizer.model",
                           "vocab.json", "merges.txt", "special_tokens_map.json"}) {
    const std::string_view name = file;
    // tokenizer.json holds all that the older files do.
    const bool covered = context.merged.has_file("tokenizer.json") &&
                         (name == "vocab.json" || name == "merges.txt" ||
                          name == "special_tokens_map.json" || name == "tokenizer.model");
    if (context.base->has_file(file) && !context.merged.has_file(file) && !covered) {
      report.warning({.subject = file,
                      .message = "the base has this tokenizer file and merged has not: servers "
                                 "stop at start, or build another tokenizer",
                      .expected = "the base's file",
                      .actual = "no such file",
                      .edits = {copy_file(Source::kBase, file)}});
    }
  }
}

/// The adapter's own tokenizer files, where it brings any, are the ones training used.
std::optional<TokenizerFacts> of_adapter(const Context& context) {
  if (!context.adapter || context.adapter->scan.json("tokenizer_config.json") == nullptr) {
    return std::nullopt;
  }
  return context.adapter->tokenizer;
}

bool loses_stop(const Context& context, const TokenizerFacts& before, const TokenizerFacts& after) {
  const std::set<std::int64_t> old_ids = stop_ids(context.base->scan, before);
  const std::set<std::int64_t> new_ids = stop_ids(context.merged.scan, after);
  return !std::includes(new_ids.begin(), new_ids.end(), old_ids.begin(), old_ids.end());
}

void special_tokens(const Context& context, Reporter& report) {
  if (context.merged.json("tokenizer_config.json") == nullptr ||
      context.base->json("tokenizer_config.json") == nullptr) {
    return;
  }
  const TokenizerFacts& before = context.base->tokenizer;
  const TokenizerFacts& after = context.merged.tokenizer;
  const std::optional<TokenizerFacts> trained = of_adapter(context);
  for (const char* key : {"bos_token", "eos_token", "pad_token"}) {
    const auto text = [key](const TokenizerFacts& facts) {
      const auto it = facts.special.find(key);
      return it == facts.special.end() ? std::string("none") : it->second;
    };
    if (text(after) == text(before) || (trained && text(*trained) == text(after))) {
      continue;
    }
    const nlohmann::json* config = context.base->json("tokenizer_config.json");
    const auto value = config->find(key);
    const bool lost = std::string_view(key) == "eos_token" && loses_stop(context, before, after);
    Reporter::Details details = {
        .subject = std::string("tokenizer_config.json: ") + key,
        .message = lost ? "the exporter rewrote the token that ends an answer, and nothing stops "
                          "at the base's any more"
                        : "the exporter rewrote a special token",
        .expected = text(before),
        .actual = text(after),
        .edits = {set_key("tokenizer_config.json", {key},
                          value == config->end() ? std::nullopt : std::optional(*value))}};
    if (lost) {
      report.error(std::move(details));
    } else {
      report.warning(std::move(details));
    }
  }
}

void newer_schema(const Context& context, Reporter& report) {
  const nlohmann::json* config = context.merged.json("tokenizer_config.json");
  if (config == nullptr || !config->is_object()) {
    return;
  }
  const nlohmann::json* of_base =
      context.base ? context.base->json("tokenizer_config.json") : nullptr;
  const auto extra = config->find("extra_special_tokens");
  const bool list = extra != config->end() && extra->is_array();
  const bool base_list = of_base != nullptr && of_base->contains("extra_special_tokens") &&
                         of_base->at("extra_special_tokens").is_array();
  const bool dropped = of_base != nullptr && of_base->contains("added_tokens_decoder") &&
                       !config->contains("added_tokens_decoder");
  if ((!list || base_list) && !dropped) {
    return;
  }
  // Tokens that were added stand only in merged's files; then the base's would lose them.
  const bool same_tokens =
      context.base && context.base->tokenizer.largest_id >= context.merged.tokenizer.largest_id;
  report.warning(
      {.subject = "tokenizer_config.json",
       .message = "written in transformers 5's form; older readers stop with \"'list' object has "
                  "no attribute 'keys'\"",
       .expected = "extra_special_tokens as an object, added_tokens_decoder as in the base",
       .actual = list ? "extra_special_tokens is a list" : "no added_tokens_decoder",
       .edits = same_tokens && of_base != nullptr
                    ? std::vector<Edit>{copy_file(Source::kBase, "tokenizer_config.json")}
                    : std::vector<Edit>{}});
}

void generation_file(const Context& context, Reporter& report) {
  constexpr const char* kFile = "generation_config.json";
  if (context.base->has_file(kFile) && !context.merged.has_file(kFile)) {
    report.warning({.subject = kFile,
                    .message = "the exporter left out the file that says where answers end",
                    .expected = "the base's file",
                    .actual = "no such file",
                    .edits = {copy_file(Source::kBase, kFile)}});
  }
}

void stop_tokens(const Context& context, Reporter& report) {
  constexpr const char* kFile = "generation_config.json";
  const TokenizerFacts& before = context.base->tokenizer;
  const TokenizerFacts& after = context.merged.tokenizer;
  const std::set<std::int64_t> old_ids = stop_ids(context.base->scan, before);
  std::set<std::int64_t> new_ids = stop_ids(context.merged.scan, after);
  if (std::includes(new_ids.begin(), new_ids.end(), old_ids.begin(), old_ids.end()) ||
      !context.merged.has_file(kFile)) {
    return;
  }
  const auto eos = [](const TokenizerFacts& facts) {
    const auto it = facts.special.find("eos_token");
    return it == facts.special.end() ? std::string() : it->second;
  };
  if (eos(before) != eos(after)) {
    return;  // tokenizer.special-tokens
  }
  new_ids.insert(old_ids.begin(), old_ids.end());
  report.error({.subject = std::string(kFile) + ": eos_token_id",
                .message = "answers no longer end where the base's do: text runs past its end",
                .expected = ids_text(old_ids),
                .actual = ids_text(stop_ids(context.merged.scan, after)),
                .edits = {set_key(kFile, {"eos_token_id"},
                                  new_ids.size() == 1 ? nlohmann::json(*new_ids.begin())
                                                      : nlohmann::json(new_ids))}});
}

void turn_end(const Context& context, Reporter& report) {
  const std::vector<TemplatePlace> templates = chat_templates(context.merged.scan);
  if (templates.empty() || !context.merged.has_file("generation_config.json")) {
    return;
  }
  const TokenizerFacts& facts = context.merged.tokenizer;
  const std::set<std::int64_t> ids = stop_ids(context.merged.scan, facts);
  for (const std::string_view token : kTurnEnds) {
    const auto id = facts.added.find(std::string(token));
    if (id == facts.added.end() || ids.contains(id->second) ||
        templates.front().text.find(token) == std::string::npos) {
      continue;
    }
    std::set<std::int64_t> wanted = ids;
    wanted.insert(id->second);
    const bool base_too =
        context.base &&
        !stop_ids(context.base->scan, context.base->tokenizer).contains(id->second) &&
        !chat_templates(context.base->scan).empty();
    Reporter::Details details = {
        .subject = "generation_config.json: eos_token_id",
        .message = fmt::format("the chat template closes turns with {}, and generation does not "
                               "stop there",
                               token),
        .expected = fmt::format("{} among the ids", id->second),
        .actual = ids_text(ids),
        .edits = {set_key("generation_config.json", {"eos_token_id"}, nlohmann::json(wanted))}};
    if (base_too) {
      details.edits.clear();
      report.note(std::move(details));
    } else {
      report.warning(std::move(details));
    }
  }
}

void template_places(const Context& context, Reporter& report) {
  const std::vector<TemplatePlace> places = chat_templates(context.merged.scan);
  for (const TemplatePlace& place : places) {
    if (place.text != places.front().text) {
      report.error({.subject = place.file,
                    .message = "two files hold different chat templates; which one counts depends "
                               "on the reader",
                    .expected = "the template of " + places.front().file,
                    .actual = "another"});
    }
  }
}

void template_missing(const Context& context, Reporter& report) {
  const std::vector<TemplatePlace> before = chat_templates(context.base->scan);
  if (before.empty() || !chat_templates(context.merged.scan).empty()) {
    return;
  }
  const std::vector<TemplatePlace> trained =
      context.adapter ? chat_templates(context.adapter->scan) : std::vector<TemplatePlace>{};
  const TemplatePlace& source = trained.empty() ? before.front() : trained.front();
  std::vector<Edit> edits;
  if (source.file == "chat_template.jinja" || source.file == "chat_template.json") {
    edits = {copy_file(trained.empty() ? Source::kBase : Source::kAdapter, source.file)};
  } else if (source.file == "tokenizer_config.json" &&
             context.merged.has_file("tokenizer_config.json")) {
    edits = {write_text("chat_template.jinja", source.text + "\n")};
  }
  report.error({.subject = "chat_template.jinja",
                .message = "the base has a chat template and merged has none: chat requests fail "
                           "or are formatted otherwise than in training",
                .expected = "the template of " + source.file,
                .actual = "none",
                .edits = std::move(edits)});
}

void template_changed(const Context& context, Reporter& report) {
  const std::vector<TemplatePlace> after = chat_templates(context.merged.scan);
  const std::vector<TemplatePlace> before = chat_templates(context.base->scan);
  if (after.empty()) {
    return;
  }
  const std::vector<TemplatePlace> trained =
      context.adapter ? chat_templates(context.adapter->scan) : std::vector<TemplatePlace>{};
  if (!trained.empty() ? trained.front().text == after.front().text
                       : before.empty() || before.front().text == after.front().text) {
    return;
  }
  report.warning({.subject = after.front().file,
                  .message = fmt::format("the chat template is not the {}'s; only you know which "
                                         "one the adapter was trained with",
                                         trained.empty() ? "base" : "adapter"),
                  .expected = "the template used in training",
                  .actual = "another"});
}

constexpr auto kTokenizerRules = std::to_array<Rule>({
    {.id = "tokenizer.ids",
     .catalogue = "F36",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Ids without a row in the embedding end in an index out of range.",
     .fix = "resize the embedding and the head, or take the base's tokenizer files",
     .check = ids_in_range},
    {.id = "tokenizer.missing-files",
     .catalogue = "F41",
     .severity = Severity::kWarning,
     .needs = Needs::kBase,
     .why = "The exporter saved the weights alone; the server finds no tokenizer.",
     .fix = "copy the files from the base",
     .check = missing_tokenizer},
    {.id = "tokenizer.special-tokens",
     .catalogue = "F41",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "Exporters save their own patched tokenizer; answers end late or never.",
     .fix = "restore the base's token",
     .check = special_tokens},
    {.id = "tokenizer.newer-schema",
     .catalogue = "F42",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Readers before transformers 5 stop at the file.",
     .fix = "take the base's file, unless tokens were added",
     .check = newer_schema},
    {.id = "tokenizer.other",
     .catalogue = "F57",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "Prompts become other ids in the two lanes: the comparison itself is wrong.",
     .fix = "take the base's tokenizer files, unless the change was meant and trained",
     .check = other_tokenizer},
    {.id = "generation.missing",
     .catalogue = "F40",
     .severity = Severity::kWarning,
     .needs = Needs::kBase,
     .why = "Lists of stop ids are lost: text runs past its end.",
     .fix = "copy generation_config.json from the base",
     .check = generation_file},
    {.id = "generation.stop-ids",
     .catalogue = "F40",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "A stop id of the base is gone: text runs past its end.",
     .fix = "add the base's ids to eos_token_id",
     .check = stop_tokens},
    {.id = "generation.turn-end",
     .catalogue = "F40",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "The template closes turns with a token at which generation does not stop.",
     .fix = "add the token's id to eos_token_id",
     .check = turn_end},
    {.id = "template.places-differ",
     .catalogue = "F43",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Trainer and server read the template from different files.",
     .fix = "keep the template the adapter was trained with in every place",
     .check = template_places},
    {.id = "template.missing",
     .catalogue = "F43",
     .severity = Severity::kError,
     .needs = Needs::kBase,
     .why = "Chat requests fail, or are formatted otherwise than in training.",
     .fix = "copy the adapter's template, else the base's",
     .check = template_missing},
    {.id = "template.changed",
     .catalogue = "F43",
     .severity = Severity::kWarning,
     .needs = Needs::kBase,
     .why = "A model answers worse to prompts in a form it was not trained on.",
     .fix = "use the template that training used",
     .check = template_changed},
});

}  // namespace

std::span<const Rule> tokenizer_rules() {
  return kTokenizerRules;
}

}  // namespace mg::lint
