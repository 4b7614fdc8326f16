// Tied heads and the sizes of the vocabulary's matrices.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "harness/lint/expectation.h"
#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

constexpr std::string_view kTie = "tie_word_embeddings";

const HeaderTensor* matrix(const ModelFolder& model, bool (*wanted)(std::string_view)) {
  for (const HeaderTensor& tensor : model.tensors) {
    if (wanted(tensor.canonical) && tensor.shape.size() == 2) {
      return &tensor;
    }
  }
  return nullptr;
}

std::optional<bool> flag_at(const ConfigLevel& level) {
  const nlohmann::json* value = level.find(kTie);
  return value != nullptr && value->is_boolean() ? std::optional(value->get<bool>()) : std::nullopt;
}

/// The tie flag: what the table's reader made of it, else what the file says.
std::optional<bool> tied(const ModelFolder& model) {
  if (model.config) {
    return model.config->tie_word_embeddings;
  }
  const nlohmann::json* value = model.effective(kTie);
  return value != nullptr && value->is_boolean() ? std::optional(value->get<bool>()) : std::nullopt;
}

/// Whether the base says the same about its head at both levels, and stores it alike.
bool same_flags(const ModelFolder& base, const ModelFolder& model) {
  const std::vector<ConfigLevel> before = base.text_levels();
  const std::vector<ConfigLevel> after = model.text_levels();
  return before.size() >= 2 && after.size() >= 2 && flag_at(before[0]) == flag_at(after[0]) &&
         flag_at(before[1]) == flag_at(after[1]) &&
         (matrix(base, is_head) == nullptr) == (matrix(model, is_head) == nullptr);
}

/// Sets the flag at the root and wherever else it stands.
std::vector<Edit> set_flag(const ModelFolder& model, bool value) {
  std::vector<Edit> edits;
  for (const ConfigLevel& level : model.text_levels()) {
    if (level.path.empty() || flag_at(level)) {
      if (flag_at(level) != value) {
        edits.push_back(set_key("config.json", level.path_to(kTie), value));
      }
    }
  }
  return edits;
}

void no_head(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  const HeaderTensor* embedding = matrix(model, is_embedding);
  if (!model.checkpoint || embedding == nullptr || matrix(model, is_head) != nullptr ||
      tied(model).value_or(true)) {
    return;
  }
  const bool other_name =
      std::any_of(model.tensors.begin(), model.tensors.end(), [](const HeaderTensor& tensor) {
        return tensor.name.ends_with("output.weight") ||
               tensor.name.ends_with("embed_out.weight") ||
               tensor.name.find("score.") != std::string::npos ||
               tensor.name.find("lm_head") != std::string::npos ||
               tensor.name.find("classifier.") != std::string::npos;
      });
  if (other_name) {
    return;
  }
  const bool base_tied = context.base && matrix(*context.base, is_head) == nullptr;
  const HeaderTensor* of_base = context.base ? matrix(*context.base, is_head) : nullptr;
  // A head that the adapter trained is not the base's.
  const bool trained = context.adapter &&
                       std::any_of(context.adapter->tensors.begin(), context.adapter->tensors.end(),
                                   [](const HeaderTensor& tensor) {
                                     return tensor.name.find("lm_head") != std::string::npos;
                                   });
  std::vector<Edit> edits;
  if (base_tied) {
    edits = set_flag(model, true);
  } else if (of_base != nullptr && context.adapter && !trained && is_plain(of_base->dtype)) {
    edits = {add_tensor(Source::kBase, of_base->name, of_base->name)};
  }
  report.error({.subject = "lm_head.weight",
                .message = "the head is not tied to the embedding and not stored: it loads at "
                           "random values",
                .expected = "lm_head.weight, or tie_word_embeddings true",
                .actual = "tie_word_embeddings false and no lm_head.weight",
                .edits = std::move(edits),
                .fix = base_tied            ? "set tie_word_embeddings to true, as the base is tied"
                       : of_base != nullptr ? "copy lm_head.weight from the base (give --adapter, "
                                              "so that it is known to be untrained)"
                                            : "export the model again"});
}

void flag_levels(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  const std::vector<ConfigLevel> levels = model.text_levels();
  if (levels.size() < 2 || !model.checkpoint || matrix(model, is_embedding) == nullptr) {
    return;
  }
  const std::optional<bool> root = flag_at(levels[0]);
  const std::optional<bool> text = flag_at(levels[1]);
  if (!text || root == text) {
    return;
  }
  const bool stored = matrix(model, is_head) != nullptr;
  if (!root && *text != stored) {
    // Only the text part says it.  transformers 5 reads the root and takes false where it is
    // absent; with a stored head that reading is right as well.
    if (!*text) {
      return;
    }
  } else if (!root) {
    return;  // tied said and head stored: head.tied-but-stored
  }
  Reporter::Details details = {
      .subject = "config.json: " + levels[1].key(kTie),
      .message = root ? "the root and the text part disagree about a tied head: readers take one "
                        "or the other, and the head loads wrong in some"
                      : "only the text part says that the head is tied; transformers 5 reads the "
                        "root and leaves the head at random values",
      .expected = fmt::format("{} at both levels (lm_head.weight is {})", !stored,
                              stored ? "stored" : "not stored"),
      .actual = fmt::format("root: {}, {}: {}", root ? (*root ? "true" : "false") : "absent",
                            levels[1].path.front(), *text),
      .edits = set_flag(model, !stored)};
  if (context.base && same_flags(*context.base, model)) {
    details.edits.clear();
    report.note(std::move(details));
  } else if (root) {
    report.error(std::move(details));
  } else {
    report.warning(std::move(details));
  }
}

void tied_but_stored(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (!model.checkpoint || matrix(model, is_head) == nullptr ||
      matrix(model, is_embedding) == nullptr) {
    return;
  }
  bool says_tied = tied(model).value_or(false);
  bool says_untied = false;
  for (const ConfigLevel& level : model.text_levels()) {
    says_tied |= flag_at(level).value_or(false);
    says_untied |= !flag_at(level).value_or(true);
  }
  if (!says_tied || says_untied) {
    return;  // the levels disagree: head.tie-flag
  }
  const bool base_too = context.base && matrix(*context.base, is_head) != nullptr &&
                        tied(*context.base).value_or(false);
  Reporter::Details details = {
      .subject = "lm_head.weight",
      .message =
          "the config ties the head to the embedding, and a head is stored all the same: "
          "vLLM drops it, transformers keeps it; `mergegauge audit` says whether they "
          "differ",
      .expected = "no lm_head.weight, or tie_word_embeddings false",
      .actual = "tie_word_embeddings true and lm_head.weight " +
                to_string(matrix(model, is_head)->shape)};
  if (base_too) {
    report.note(std::move(details));
  } else {
    details.edits = set_flag(model, false);
    report.error(std::move(details));
  }
}

/// Whether a pair or a replacement of the adapter is on this side of a tied matrix.
bool touches(const AdapterFolder& adapter, std::string_view side) {
  return std::any_of(adapter.tensors.begin(), adapter.tensors.end(),
                     [&](const HeaderTensor& tensor) {
                       return tensor.name.find(side) != std::string::npos &&
                              tensor.name.find(".base_layer.") == std::string::npos;
                     });
}

void one_side(const Context& context, Reporter& report) {
  const ModelFolder& base = *context.base;
  if (!base.checkpoint || !context.merged.checkpoint || !tied(base).value_or(false) ||
      matrix(base, is_head) != nullptr) {
    return;
  }
  const bool embedding =
      touches(*context.adapter, "embed_tokens") || touches(*context.adapter, ".wte.");
  // A head held whole and not in merged is adapter.saved-modules.
  const bool head = touches(*context.adapter, "lm_head.lora_");
  const bool untied =
      matrix(context.merged, is_head) != nullptr && !tied(context.merged).value_or(true);
  if ((!embedding && !head) || untied || (matrix(context.merged, is_head) != nullptr)) {
    return;
  }
  if (context.adapter->flag("ensure_weight_tying")) {
    report.note({.subject = "tie_word_embeddings",
                 .message = "the adapter was trained with its two sides tied",
                 .expected = {},
                 .actual = "ensure_weight_tying"});
    return;
  }
  report.error({.subject = embedding ? "model.embed_tokens.weight" : "lm_head.weight",
                .message = "the base ties its head to the embedding and the adapter changes one "
                           "side; in merged both sides change",
                .expected = "lm_head.weight of its own and tie_word_embeddings false",
                .actual = "one matrix for both"});
}

void rows(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (!model.checkpoint) {
    return;
  }
  const HeaderTensor* embedding = matrix(model, is_embedding);
  const HeaderTensor* head = matrix(model, is_head);
  const nlohmann::json* declared = model.effective("vocab_size");
  if (embedding == nullptr || declared == nullptr || !declared->is_number_integer() ||
      !is_plain(embedding->dtype)) {
    return;
  }
  const std::int64_t size = declared->get<std::int64_t>();
  const std::int64_t embedded = embedding->shape[0];
  const std::int64_t scored = head != nullptr && is_plain(head->dtype) ? head->shape[0] : embedded;
  if (embedded == size && scored == size) {
    return;
  }
  std::vector<Edit> edits;
  if (embedded == scored) {
    for (const ConfigLevel& level : model.text_levels()) {
      if (level.find("vocab_size") != nullptr) {
        edits.push_back(set_key("config.json", level.path_to("vocab_size"), embedded));
      }
    }
  }
  const bool repairable = !edits.empty();
  report.error({.subject = "config.json: vocab_size",
                .message = "vocab_size is not the number of rows of the embedding or the head: "
                           "loading ends in a size mismatch",
                .expected = fmt::format("{} rows", size),
                .actual = fmt::format("embedding {}, head {}", embedded, scored),
                .edits = std::move(edits),
                .fix = repairable ? "set vocab_size to the number of rows"
                                  : "the two matrices differ: resize both, then export again"});
}

constexpr auto kHeadsRules = std::to_array<Rule>({
    {.id = "head.missing",
     .catalogue = "F60",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The head loads at random values, and nothing raises.",
     .fix = "set tie_word_embeddings to match the tensors",
     .check = no_head},
    {.id = "head.tie-flag",
     .catalogue = "F60",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "transformers 5 reads the flag at the root, older versions in text_config.",
     .fix = "write the flag at both levels to match the tensors",
     .check = flag_levels},
    {.id = "head.tied-but-stored",
     .catalogue = "F34",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Loaders that follow the flag throw the trained head away.",
     .fix = "set tie_word_embeddings to false at every level, so that both stored matrices count",
     .check = tied_but_stored},
    {.id = "head.tied-one-side",
     .catalogue = "F35",
     .severity = Severity::kError,
     .needs = Needs::kBaseAndAdapter,
     .why = "One matrix has two roles: the delta of one side reaches both.",
     .fix = "merge again with an untied head: mergegauge merge writes both matrices",
     .check = one_side,
     .audited = true},
    {.id = "vocabulary.rows",
     .catalogue = "F36",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Loading ends in a size mismatch, or ids are out of range.",
     .fix = "set vocab_size to the number of rows",
     .check = rows},
});

}  // namespace

std::span<const Rule> head_rules() {
  return kHeadsRules;
}

}  // namespace mg::lint
