// Names that no loader expects: PEFT's and trainers' wrapping, and the generations of VLM names.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/lint/adapter_names.h"
#include "harness/lint/rules.h"
#include "harness/model/names.h"

namespace mg::lint {
namespace {

constexpr auto kResidue = std::to_array<std::string_view>(
    {".lora_A", ".lora_B", ".lora_embedding", ".base_layer", "modules_to_save", "original_module",
     "lora_magnitude_vector", "token_adapter"});
constexpr auto kWrappers = std::to_array<std::string_view>(
    {"_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."});
constexpr std::string_view kModulePrefix = "module.";

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool has_residue(std::string_view name) {
  return name.starts_with(kPeftPrefix) ||
         std::any_of(kResidue.begin(), kResidue.end(),
                     [&](std::string_view part) { return contains(name, part); });
}

bool has_wrapper(std::string_view name) {
  return name.starts_with(kModulePrefix) ||
         std::any_of(kWrappers.begin(), kWrappers.end(),
                     [&](std::string_view part) { return contains(name, part); });
}

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = text.find(from); at != std::string::npos; at = text.find(from, at)) {
    text.replace(at, from.size(), to);
  }
}

/// Renames for every name that `rename` changes; nothing at all where two would collide.
std::vector<Edit> renames(const ModelFolder& model,
                          const std::map<std::string, std::string>& names) {
  std::set<std::string> after;
  std::vector<Edit> edits;
  for (const HeaderTensor& tensor : model.tensors) {
    const auto it = names.find(tensor.name);
    if (it != names.end() && it->second.empty()) {
      edits.push_back(drop_tensor(tensor.name));
      continue;
    }
    const std::string& name = it == names.end() ? tensor.name : it->second;
    if (!after.insert(name).second) {
      return {};
    }
    if (name != tensor.name) {
      edits.push_back(rename_tensor(tensor.name, name));
    }
  }
  return edits;
}

/// The plain name of a wrapped tensor, "" for the original that modules_to_save replaces.
std::string without_residue(std::string name) {
  if (name.starts_with(kPeftPrefix)) {
    name.erase(0, kPeftPrefix.size());
  }
  if (contains(name, ".original_module.")) {
    return {};
  }
  replace_all(name, ".base_layer.", ".");
  replace_all(name, ".modules_to_save.default.", ".");
  return name;
}

void peft_residue(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  std::vector<std::string> wrapped;
  std::map<std::string, std::string> plain;
  bool unmerged = false;
  for (const HeaderTensor& tensor : model.tensors) {
    if (!has_residue(tensor.name)) {
      continue;
    }
    wrapped.push_back(tensor.name);
    plain[tensor.name] = without_residue(tensor.name);
    unmerged |= contains(tensor.name, "lora_") || contains(tensor.name, "token_adapter");
  }
  if (wrapped.empty()) {
    return;
  }
  std::vector<Edit> edits = unmerged ? std::vector<Edit>{} : renames(model, plain);
  const bool repairable = !edits.empty();
  report.error(
      {.subject = wrapped.front(),
       .message = fmt::format(
           "{} {} still PEFT's wrapping{}; loaders leave the real weights random", wrapped.size(),
           wrapped.size() == 1 ? "name carries" : "names carry",
           unmerged ? ", and the pairs are not folded in: the file is base and adapter, unmerged"
                    : ""),
       .expected = "the base's names",
       .actual = listed(wrapped),
       .edits = std::move(edits),
       .fix = unmerged     ? "fold the pairs in: mergegauge merge --base BASE --adapter ADAPTER "
                             "--out DIR"
              : repairable ? ""
                           : "two names would become one: export the merged model again"});
}

void wrapper_prefix(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  std::vector<std::string> wrapped;
  std::map<std::string, std::string> plain;
  for (const HeaderTensor& tensor : model.tensors) {
    if (!has_wrapper(tensor.name) || has_residue(tensor.name)) {
      continue;
    }
    wrapped.push_back(tensor.name);
    std::string name = tensor.name;
    for (const std::string_view part : kWrappers) {
      replace_all(name, part, "");
    }
    if (name.starts_with(kModulePrefix)) {
      name.erase(0, kModulePrefix.size());
    }
    plain[tensor.name] = name;
  }
  if (!wrapped.empty()) {
    report.error({.subject = wrapped.front(),
                  .message = fmt::format("{} {} a trainer's wrapper (DDP, FSDP, torch.compile); no "
                                         "loader finds the weights",
                                         wrapped.size(),
                                         wrapped.size() == 1 ? "name carries" : "names carry"),
                  .expected = "the base's names",
                  .actual = listed(wrapped),
                  .edits = renames(model, plain)});
  }
}

/// Saved from LlamaModel instead of LlamaForCausalLM: the level "model." is missing.
void bare_backbone(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (model.arch == nullptr || model.arch->base_prefix != "model." || !model.config ||
      model.config->vision) {
    return;
  }
  std::vector<std::string> bare;
  std::map<std::string, std::string> plain;
  for (const HeaderTensor& tensor : model.tensors) {
    if (tensor.name.starts_with("layers.") || tensor.name.starts_with("embed_tokens.") ||
        tensor.name == "norm.weight") {
      bare.push_back(tensor.name);
      plain[tensor.name] = "model." + tensor.name;
    }
  }
  if (bare.empty()) {
    return;
  }
  Reporter::Details details = {
      .subject = bare.front(),
      .message =
          "the names lack the level \"model.\": saved from the backbone instead of the "
          "causal model; vLLM and GGUF converters find no weight",
      .expected = "model." + bare.front(),
      .actual = listed(bare),
      .edits = renames(model, plain)};
  const bool base_too = context.base && context.base->find(bare.front()) != nullptr;
  if (base_too) {
    details.edits.clear();
    report.note(std::move(details));
  } else {
    report.error(std::move(details));
  }
}

// The generations of failures.md, F15: prefixes of the language and of the vision part.  (SigLIP's
// inner level, which transformers 5 leaves out, is seen against the base's names alone.)
enum class Generation { kFlat, kNested, kOldLlava };
constexpr auto kGenerationNames =
    std::to_array<std::string_view>({"flat", "nested (transformers 4.52)", "old LLaVA"});

struct Prefix {
  std::string_view text;
  Generation generation;
  bool vision;
};

// Longer prefixes first.
constexpr auto kPrefixes = std::to_array<Prefix>({
    {"model.language_model.", Generation::kNested, false},
    {"model.visual.", Generation::kNested, true},
    {"model.vision_tower.", Generation::kNested, true},
    {"model.multi_modal_projector.", Generation::kNested, true},
    {"language_model.model.", Generation::kOldLlava, false},
    {"vision_tower.", Generation::kOldLlava, true},
    {"multi_modal_projector.", Generation::kOldLlava, true},
    {"model.layers.", Generation::kFlat, false},
    {"model.embed_tokens.", Generation::kFlat, false},
    {"model.norm.", Generation::kFlat, false},
    {"visual.", Generation::kFlat, true},
});

const Prefix* prefix_of(std::string_view name) {
  const auto it = std::find_if(kPrefixes.begin(), kPrefixes.end(),
                               [&](const Prefix& prefix) { return name.starts_with(prefix.text); });
  return it == kPrefixes.end() ? nullptr : it;
}

std::map<Generation, std::vector<std::string>> generations(const ModelFolder& model) {
  std::map<Generation, std::vector<std::string>> found;
  for (const HeaderTensor& tensor : model.tensors) {
    if (const Prefix* prefix = prefix_of(tensor.name)) {
      found[prefix->generation].push_back(tensor.name);
    }
  }
  return found;
}

/// Renames to the names that the base has for the same tensors.
std::vector<Edit> renames_to_base(const Context& context) {
  if (!context.base) {
    return {};
  }
  std::map<std::string, std::string> names;
  for (const HeaderTensor& tensor : context.merged.tensors) {
    const HeaderTensor* of_base = context.base->find(tensor.canonical);
    if (of_base == nullptr) {
      return {};  // what the base does not have cannot be named after it
    }
    if (of_base->name != tensor.name) {
      names[tensor.name] = of_base->name;
    }
  }
  return renames(context.merged, names);
}

bool clean_names(const ModelFolder& model) {
  return std::none_of(model.tensors.begin(), model.tensors.end(), [](const HeaderTensor& tensor) {
    return has_residue(tensor.name) || has_wrapper(tensor.name);
  });
}

void mixed_generations(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (!clean_names(model)) {
    return;
  }
  const auto found = generations(model);
  std::vector<std::string> twice;
  for (const HeaderTensor& tensor : model.tensors) {
    const auto range = model.by_canonical.equal_range(tensor.canonical);
    const HeaderTensor& first = model.tensors[range.first->second];
    if (first.name != tensor.name) {
      twice.push_back(first.name + " and " + tensor.name);
    }
  }
  if (found.size() < 2 && twice.empty()) {
    return;
  }
  if (context.base && twice.empty() && generations(*context.base).size() == found.size()) {
    return;  // the base mixes them the same way, and loads
  }
  std::vector<std::string> parts;
  for (const auto& [generation, names] : found) {
    parts.push_back(fmt::format("{}: {}", kGenerationNames[static_cast<std::size_t>(generation)],
                                listed(names, 1)));
  }
  report.error({.subject = found.empty() ? twice.front() : found.begin()->second.front(),
                .message = "the file mixes generations of names: part of the model loads at random "
                           "values",
                .expected = "one generation of names",
                .actual = twice.empty() ? fmt::format("{}", fmt::join(parts, "; "))
                                        : "the same tensor twice: " + listed(twice),
                .edits = twice.empty() ? renames_to_base(context) : std::vector<Edit>{}});
}

/// The names that the base spells otherwise, and one of its spellings.
struct Respelled {
  std::vector<std::string> names;
  std::string in_base;
};

Respelled respelled(const Context& context) {
  Respelled found;
  for (const HeaderTensor& tensor : context.merged.tensors) {
    const auto range = context.base->by_canonical.equal_range(tensor.canonical);
    const bool same = std::any_of(range.first, range.second, [&](const auto& item) {
      return context.base->tensors[item.second].name == tensor.name;
    });
    if (range.first != range.second && !same) {
      found.names.push_back(tensor.name);
      if (found.in_base.empty()) {
        found.in_base = context.base->tensors[range.first->second].name;
      }
    }
  }
  return found;
}

void other_generation(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (!clean_names(model) || generations(model).size() > 1 ||
      generations(*context.base).size() > 1) {
    return;  // names.mixed-generations
  }
  const Respelled found = respelled(context);
  // A missing level "model." is names.bare-backbone.
  if (found.names.empty() || found.in_base == "model." + found.names.front()) {
    return;
  }
  report.warning(
      {.subject = found.names.front(),
       .message = fmt::format("{} of the names {} of another generation than the base's: servers "
                              "of the base's version find no weights there",
                              found.names.size(), found.names.size() == 1 ? "is" : "are"),
       .expected = found.in_base,
       .actual = listed(found.names),
       .edits = renames_to_base(context)});
}

constexpr auto kNamesRules = std::to_array<Rule>({
    {.id = "names.peft-wrapping",
     .catalogue = "F13",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The state dict of a PeftModel was saved as if it were plain.",
     .fix = "rename the tensors to the base's names; bytes stay as they are",
     .check = peft_residue},
    {.id = "names.trainer-wrapping",
     .catalogue = "F14",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "All keys are unexpected to the loader, and all weights random.",
     .fix = "rename the tensors; bytes stay as they are",
     .check = wrapper_prefix},
    {.id = "names.bare-backbone",
     .catalogue = "F14",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Saved from the backbone: the level \"model.\" is missing.",
     .fix = "rename the tensors; bytes stay as they are",
     .check = bare_backbone},
    {.id = "names.mixed-generations",
     .catalogue = "F15",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Half of the model is found, the other half stays random without an error.",
     .fix = "rename the tensors to the base's names; bytes stay as they are",
     .check = mixed_generations},
    {.id = "names.other-generation",
     .catalogue = "F15",
     .severity = Severity::kWarning,
     .needs = Needs::kBase,
     .why = "A server that loads the base may not find the merged model's names.",
     .fix = "rename the tensors to the base's names; bytes stay as they are",
     .check = other_generation},
});

}  // namespace

std::span<const Rule> name_rules() {
  return kNamesRules;
}

}  // namespace mg::lint
