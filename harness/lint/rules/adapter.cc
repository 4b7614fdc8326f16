// The adapter by itself and on its base, as far as configs and headers tell.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/lint/adapter_names.h"
#include "harness/lint/expectation.h"
#include "harness/lint/rules.h"
#include "harness/model/base_index.h"
#include "harness/model/config_reader.h"
#include "harness/model/names.h"

namespace mg::lint {
namespace {

constexpr const char* kConfig = "adapter_config.json";

std::string text_of(const nlohmann::json* config, const char* key) {
  if (config == nullptr || !config->is_object()) {
    return {};
  }
  const auto it = config->find(key);
  return it != config->end() && it->is_string() ? it->get<std::string>() : std::string();
}

/// The reader's problems whose code or text the predicate takes.
std::vector<ErrorParts> problems(const Context& context, bool (*wanted)(const ErrorParts&)) {
  std::vector<ErrorParts> found;
  const AdapterFolder& adapter = *context.adapter;
  if (adapter.problem && wanted(*adapter.problem)) {
    found.push_back(*adapter.problem);
  }
  if (adapter.adapter) {
    for (const ErrorParts& problem : adapter.adapter->problems()) {
      if (wanted(problem)) {
        found.push_back(problem);
      }
    }
  }
  return found;
}

void report_problems(const Context& context, Reporter& report, bool (*wanted)(const ErrorParts&)) {
  const std::vector<ErrorParts> found = problems(context, wanted);
  if (found.empty()) {
    return;
  }
  report.error({.subject = found.front().where,
                .message = found.size() == 1 ? found.front().what
                                             : fmt::format("{}, and {} more like it",
                                                           found.front().what, found.size() - 1),
                .expected = found.front().expected,
                .actual = found.front().actual,
                .fix = found.front().hint});
}

bool mentions(const ErrorParts& parts, std::string_view word) {
  return parts.code.find(word) != std::string::npos || parts.what.find(word) != std::string::npos ||
         parts.actual.find(word) != std::string::npos;
}

bool is_magnitude(const ErrorParts& parts) {
  return mentions(parts, "magnitude");
}
bool is_empty_tensor(const ErrorParts& parts) {
  return mentions(parts, "empty") || mentions(parts, "no elements");
}
bool is_pair(const ErrorParts& parts) {
  return mentions(parts, "pair is not complete");
}
bool is_rank(const ErrorParts& parts) {
  return !is_magnitude(parts) && !is_empty_tensor(parts) && !is_pair(parts) &&
         mentions(parts, "rank");
}
bool is_alpha(const ErrorParts& parts) {
  return mentions(parts, "lora_alpha");
}
bool is_other(const ErrorParts& parts) {
  return !is_magnitude(parts) && !is_empty_tensor(parts) && !is_rank(parts) && !is_alpha(parts) &&
         !is_pair(parts);
}

void alpha(const Context& context, Reporter& report) {
  const nlohmann::json* config = context.adapter->config();
  if (config == nullptr || !config->is_object()) {
    return;
  }
  const auto it = config->find("lora_alpha");
  if (it != config->end() && it->is_number() && it->get<double>() != 0.0) {
    return;
  }
  report.error({.subject = std::string(kConfig) + ": lora_alpha",
                .message = "the scale is not known: tools take 0, the rank or 1 for it, and the "
                           "merge comes out too weak or too strong",
                .expected = "the alpha of training",
                .actual = it == config->end() ? "no such key" : it->dump()});
}

void ranks(const Context& context, Reporter& report) {
  report_problems(context, report, is_rank);
}

void magnitudes(const Context& context, Reporter& report) {
  const AdapterFolder& adapter = *context.adapter;
  std::size_t pairs = 0;
  std::size_t found = 0;
  for (const HeaderTensor& tensor : adapter.tensors) {
    pairs += tensor.name.find(".lora_A.") != std::string::npos ||
                     tensor.name.find(".lora_embedding_A") != std::string::npos
                 ? 1
                 : 0;
    found += tensor.name.find("lora_magnitude_vector") != std::string::npos ? 1 : 0;
  }
  const bool dora = adapter.flag("use_dora");
  if (dora == (found > 0) && (!dora || found == pairs)) {
    return;
  }
  report.error({.subject = std::string(kConfig) + ": use_dora",
                .message = dora ? "not every pair of a DoRA adapter has its magnitude: merged "
                                  "without them, the rows have the wrong length"
                                : "the file holds magnitudes of DoRA and the config says that it "
                                  "is none: tools drop them silently",
                .expected = dora ? fmt::format("{} magnitudes", pairs) : "use_dora true",
                .actual = fmt::format("{} magnitudes", found)});
}

void empty_tensors(const Context& context, Reporter& report) {
  std::vector<std::string> names;
  for (const HeaderTensor& tensor : context.adapter->tensors) {
    if (element_count(tensor.shape) == 0) {
      names.push_back(tensor.name);
    }
  }
  if (!names.empty()) {
    report.error({.subject = names.front(),
                  .message = fmt::format(
                      "{} without an element: ZeRO-3 saved partitioned weights "
                      "without gathering them",
                      names.size() == 1 ? "a tensor" : fmt::format("{} tensors", names.size())),
                  .expected = "gathered weights",
                  .actual = listed(names)});
  }
}

void half_pairs(const Context& context, Reporter& report) {
  std::set<std::string> a;
  std::set<std::string> b;
  for (const HeaderTensor& tensor : context.adapter->tensors) {
    for (const auto& [mark, side] :
         {std::pair{".lora_A.", &a}, std::pair{".lora_B.", &b}, std::pair{".lora_embedding_A", &a},
          std::pair{".lora_embedding_B", &b}}) {
      const std::size_t at = tensor.name.find(mark);
      if (at != std::string::npos && !tensor.name.ends_with(".bias")) {
        side->insert(tensor.name.substr(0, at));
      }
    }
  }
  std::vector<std::string> alone;
  std::set_symmetric_difference(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(alone));
  if (!alone.empty()) {
    report.error({.subject = alone.front(),
                  .message = fmt::format("{} of the pairs A, B {} half missing: PEFT leaves that "
                                         "half at its initial value",
                                         alone.size(), alone.size() == 1 ? "is" : "are"),
                  .expected = "lora_A and lora_B of each module",
                  .actual = listed(alone)});
  }
}

/// A module of the adapter that fused or split projections of the base stand for (F53).
bool is_fused_story(const std::string& problem) {
  return problem.find(" in one matrix") != std::string::npos ||
         problem.find(" apart: the adapter") != std::string::npos;
}

/// The adapter's tensors that found no place and that no other rule accounts for.
std::vector<std::string> unexplained(const AdapterFolder& adapter) {
  std::vector<std::string> names;
  const std::vector<std::string>& unknown = adapter.adapter->unrecognised();
  for (const std::string& name : adapter.attached->unreached) {
    const bool told =
        std::find(unknown.begin(), unknown.end(), name) != unknown.end() ||
        std::any_of(adapter.attached->problems.begin(), adapter.attached->problems.end(),
                    [&](const std::string& problem) { return problem.starts_with(name + ":"); });
    if (!told) {
      names.push_back(name);
    }
  }
  return names;
}

/// "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight" -> its module's weight.
std::string weight_of(std::string name) {
  for (const char* part : {"base_model.model.", ".lora_A", ".lora_B", ".default"}) {
    const std::size_t at = name.find(part);
    if (at != std::string::npos) {
      name.erase(at, std::string_view(part).size());
    }
  }
  return name;
}

void unreached(const Context& context, Reporter& report) {
  const AdapterFolder& adapter = *context.adapter;
  if (!adapter.attached) {
    return;
  }
  const std::vector<std::string> names = unexplained(adapter);
  if (names.empty()) {
    return;
  }
  std::vector<std::string_view> stored;
  for (const HeaderTensor& tensor : context.base->tensors) {
    stored.push_back(tensor.name);
  }
  const std::string_view near = nearest_name(weight_of(names.front()), stored);
  const auto renames = adapter_renames(context, names);
  std::vector<Edit> edits;
  for (const auto& [from, to] : renames.value_or(std::map<std::string, std::string>{})) {
    edits.push_back(rename_pair(from, to));
  }
  report.error({.subject = names.front(),
                .message = fmt::format(
                    "{} of the adapter {} no place in the base: the LoRA there "
                    "stays at its initial value",
                    names.size() == 1 ? "a tensor" : fmt::format("{} tensors", names.size()),
                    names.size() == 1 ? "finds" : "find"),
                .expected = near.empty() ? "a module of the base" : std::string(near),
                .actual = listed(names),
                .edits = std::move(edits),
                .fix = renames ? "rename the adapter's keys, then merge again: the merge could "
                                 "not have them"
                               : ""});
}

void misfit(const Context& context, Reporter& report, bool fused) {
  const AdapterFolder& adapter = *context.adapter;
  if (!adapter.attached) {
    return;
  }
  std::vector<std::string> found;
  for (const std::string& problem : adapter.attached->problems) {
    if (is_fused_story(problem) == fused) {
      found.push_back(problem);
    }
  }
  if (!found.empty()) {
    report.error({.subject = found.front().substr(0, found.front().find(": ")),
                  .message = fused ? "the adapter names projections apart that the base stores in "
                                     "one matrix, or the reverse"
                                   : "a pair does not fit its weight: transposed, or of another "
                                     "model",
                  .expected = "the base's shapes",
                  .actual = listed(found, 2)});
  }
}

void shapes(const Context& context, Reporter& report) {
  misfit(context, report, false);
}

void fused(const Context& context, Reporter& report) {
  misfit(context, report, true);
}

void unrecognised(const Context& context, Reporter& report) {
  const AdapterFolder& adapter = *context.adapter;
  if (adapter.adapter && !adapter.adapter->unrecognised().empty()) {
    report.error({.subject = adapter.adapter->unrecognised().front(),
                  .message = fmt::format(
                      "{} in the adapter {} of no known kind: a merge drops it",
                      adapter.adapter->unrecognised().size(),
                      adapter.adapter->unrecognised().size() == 1 ? "tensor is" : "tensors are"),
                  .expected = "lora_A, lora_B and the other parts that PEFT writes",
                  .actual = listed(adapter.adapter->unrecognised())});
  }
}

void other_problems(const Context& context, Reporter& report) {
  report_problems(context, report, is_other);
}

void residual_base(const Context& context, Reporter& report) {
  std::string init = text_of(context.adapter->config(), "init_lora_weights");
  std::transform(init.begin(), init.end(), init.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const bool residual =
      init.starts_with("pissa") || init.starts_with("corda") || init == "olora" || init == "loftq";
  Reporter::Details details = {
      .subject = std::string(kConfig) + ": init_lora_weights",
      .message =
          "this initialisation changed the base as well: the pairs fit only that changed "
          "base, and on the original one the merge is garbage",
      .expected = "an adapter converted by PEFT (path_initial_model_for_weight_conversion)",
      .actual = init};
  if (residual) {
    report.error(std::move(details));
  } else if (init == "lora_ga") {
    report.warning(std::move(details));
  }
}

void saved_modules(const Context& context, Reporter& report) {
  const AdapterFolder& adapter = *context.adapter;
  if (!adapter.adapter || !context.merged.checkpoint) {
    return;
  }
  std::vector<std::string> lost;
  std::vector<Edit> edits;
  for (const AdapterReplacement& replaced : adapter.adapter->replacements()) {
    const std::string canonical = canonical_name(replaced.name);
    if (replaced.base_copy || !replaced.rows.empty() || context.merged.find(canonical) != nullptr ||
        context.merged.find("model." + canonical) != nullptr) {
      continue;
    }
    lost.push_back(replaced.name);
    edits.push_back(add_tensor(Source::kAdapter, replaced.raw_name, replaced.name));
  }
  if (lost.empty()) {
    return;
  }
  // A head of its own needs the tie flag off as well.
  const bool head = std::find(lost.begin(), lost.end(), "lm_head.weight") != lost.end();
  if (head) {
    for (const ConfigLevel& level : context.merged.text_levels()) {
      if (level.path.empty() || level.find("tie_word_embeddings") != nullptr) {
        edits.push_back(set_key("config.json", level.path_to("tie_word_embeddings"), false));
      }
    }
  }
  report.error({.subject = lost.front(),
                .message = fmt::format(
                    "{} that the adapter holds whole (modules_to_save) {} not "
                    "in merged: the merge tool folded pairs alone",
                    lost.size() == 1 ? "a tensor" : fmt::format("{} tensors", lost.size()),
                    lost.size() == 1 ? "is" : "are"),
                .expected = "the adapter's tensors",
                .actual = "absent: " + listed(lost),
                .edits = std::move(edits)});
}

/// Weights trained beside the adapter: LLaVA's non_lora_trainables, mm_projector.
void beside(const Context& context, Reporter& report) {
  for (const FolderEntry& entry : context.adapter->scan.entries) {
    if (!is_trained_beside(entry.name) || entry.is_folder) {
      continue;
    }
    const ScannedShard* shard = context.adapter->scan.shard(entry.name);
    if (shard == nullptr || !shard->file) {
      if (entry.kind == FileKind::kPickle) {
        report.warning({.subject = entry.name,
                        .message = "weights were trained beside the adapter and kept in a pickle, "
                                   "which is never opened here: whether merged has them is not "
                                   "known",
                        .expected = "safetensors",
                        .actual = entry.name});
      }
      continue;
    }
    std::vector<HeaderTensor> tensors;
    add_tensors(*shard, tensors);
    std::vector<std::string> lost;
    std::vector<Edit> edits;
    for (const HeaderTensor& tensor : tensors) {
      if (context.merged.find(tensor.canonical) == nullptr) {
        lost.push_back(tensor.name);
        edits.push_back(add_tensor(Source::kAdapter, tensor.name, tensor.canonical));
      }
    }
    if (!lost.empty()) {
      report.error({.subject = entry.name + ", " + lost.front(),
                    .message = "tensors that were trained beside the adapter are not in merged",
                    .expected = "every tensor of " + entry.name,
                    .actual = "absent: " + listed(lost),
                    .edits = std::move(edits)});
    }
  }
}

constexpr std::string_view kFourBitCopy = "-bnb-4bit";

/// Unsloth's names: "unsloth/Qwen2.5-7B-bnb-4bit", "...-unsloth-bnb-4bit" (some layers left out).
bool is_four_bit_copy(const std::string& name) {
  return name.ends_with(kFourBitCopy) && name.size() > kFourBitCopy.size();
}

void four_bit_base(const Context& context, Reporter& report) {
  const std::string name = text_of(context.adapter->config(), "base_model_name_or_path");
  if (!is_four_bit_copy(name) || context.base->has_companions()) {
    return;
  }
  std::string original = name.substr(0, name.size() - kFourBitCopy.size());
  constexpr std::string_view kSelective = "-unsloth";
  if (original.ends_with(kSelective)) {
    original.resize(original.size() - kSelective.size());
  }
  report.warning(
      {.subject = std::string(kConfig) + ": base_model_name_or_path",
       .message = fmt::format("the adapter was trained on a copy of {} that bitsandbytes stores in "
                              "4 bits; the base given is in 16, so that a merge adds the delta to "
                              "weights it was not trained on",
                              original),
       .expected = {},
       .actual = name});
}

void base_name(const Context& context, Reporter& report) {
  const std::string name = text_of(context.adapter->config(), "base_model_name_or_path");
  const std::string folder = context.base->scan.path.filename().string();
  const std::string last = name.substr(name.find_last_of('/') + 1);
  if (name.empty() || last == folder) {
    return;
  }
  if (is_four_bit_copy(name) && !context.base->has_companions()) {
    return;  // adapter.four-bit-base says what that means
  }
  report.note({.subject = std::string(kConfig) + ": base_model_name_or_path",
               .message = "the adapter names its base otherwise than this folder is called; the "
                          "audit says whether the bytes are the base's",
               .expected = {},
               .actual = name});
}

constexpr auto kAdapterRules = std::to_array<Rule>({
    {.id = "adapter.alpha",
     .catalogue = "F19",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "Without alpha every tool guesses another scale.",
     .fix = "write the lora_alpha of training into adapter_config.json",
     .check = alpha},
    {.id = "adapter.rank",
     .catalogue = "F21",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "The scale is alpha over the rank that the config gives, not over the rows of A.",
     .fix = "correct r or rank_pattern to the rows of lora_A",
     .check = ranks},
    {.id = "adapter.magnitudes",
     .catalogue = "F22",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "DoRA without its magnitudes is another function.",
     .fix = "save the adapter again with PEFT",
     .check = magnitudes},
    {.id = "adapter.empty-tensors",
     .catalogue = "F32",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "ZeRO-3 saved partitions; loading stops or the training is lost.",
     .fix = "save again with gathered weights, or train again",
     .check = empty_tensors},
    {.id = "adapter.half-pairs",
     .catalogue = "F33",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "A without B, or the reverse: PEFT keeps the other half at its initial value.",
     .fix = "save the adapter again",
     .check = half_pairs},
    {.id = "adapter.unreached",
     .catalogue = "F33",
     .severity = Severity::kError,
     .needs = Needs::kBaseAndAdapter,
     .why = "Names of another library version or model: the LoRA stays at its initial value.",
     .fix = "rename the keys to the base's modules, or use the base it was trained on",
     .check = unreached,
     .audited = true},
    {.id = "adapter.shapes",
     .catalogue = "F23",
     .severity = Severity::kError,
     .needs = Needs::kBaseAndAdapter,
     .why = "A pair whose shapes do not fit is transposed, or of another model.",
     .fix = "use the base the adapter was trained on",
     .check = shapes,
     .audited = true},
    {.id = "adapter.fused-split",
     .catalogue = "F53",
     .severity = Severity::kError,
     .needs = Needs::kBaseAndAdapter,
     .why = "LoRA over a fused matrix is not LoRA over its parts.",
     .fix = "split the rows of B and share A, or use the base the adapter was trained on",
     .check = fused,
     .audited = true},
    {.id = "adapter.unrecognised",
     .catalogue = "F24",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "A key that no step of the merge takes is a change that is lost.",
     .fix = "save the adapter with PEFT, which names its parts",
     .check = unrecognised},
    {.id = "adapter.unreadable",
     .catalogue = "F24",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "What PEFT would not load, no merge contains.",
     .fix = "save the adapter again with PEFT",
     .check = other_problems},
    {.id = "adapter.residual-base",
     .catalogue = "F26",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "PiSSA, OLoRA, CorDA and LoftQ rewrite the base to a residual; on the original base "
            "the merge is garbage.",
     .fix = "convert the adapter with PEFT, or merge onto the saved residual base",
     .check = residual_base,
     .audited = true},
    {.id = "adapter.saved-modules",
     .catalogue = "F09",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "The merge tool folded pairs alone and dropped the matrices that were trained whole.",
     .fix = "copy the tensors from the adapter",
     .check = saved_modules},
    {.id = "adapter.trained-beside",
     .catalogue = "F10",
     .severity = Severity::kError,
     .needs = Needs::kAdapter,
     .why = "Vision towers and projectors trained outside LoRA vanish in the merge.",
     .fix = "copy the tensors from the adapter's folder",
     .check = beside},
    {.id = "adapter.four-bit-base",
     .catalogue = "F28",
     .severity = Severity::kWarning,
     .needs = Needs::kBaseAndAdapter,
     .why = "QLoRA trains on dequantised weights; whether its delta belongs there or into the "
            "16-bit ones differs by model, from nothing to the whole fine-tune.",
     .fix = "download that copy and give it as --trained-on: mergegauge check says what the choice "
            "costs",
     .check = four_bit_base},
    {.id = "adapter.base-name",
     .catalogue = "F27",
     .severity = Severity::kNote,
     .needs = Needs::kBaseAndAdapter,
     .why = "An adapter merged onto another base is off-topic.",
     .fix = "give the base that the adapter names",
     .check = base_name},
});

}  // namespace

std::span<const Rule> adapter_rules() {
  return kAdapterRules;
}

}  // namespace mg::lint
