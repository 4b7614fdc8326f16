// Files that belong to a model beside its weights: processors, code, and an adapter that should not
// be there.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/lint/expectation.h"
#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

void adapter_left(const Context& context, Reporter& report) {
  std::vector<std::string> names;
  for (const FolderEntry& entry : context.merged.scan.entries) {
    if (!entry.is_folder &&
        (entry.name == "adapter_config.json" || entry.name.starts_with("adapter_model."))) {
      names.push_back(entry.name);
    }
  }
  if (names.empty() || context.merged.weight_files.empty()) {
    return;
  }
  std::vector<Edit> edits;
  for (const std::string& name : names) {
    edits.push_back(move_aside(name));
  }
  report.error({.subject = names.front(),
                .message = "an adapter lies beside the merged weights: transformers attaches it on "
                           "load, and its delta counts twice",
                .expected = "no adapter_config.json beside model*.safetensors",
                .actual = listed(names),
                .edits = std::move(edits)});
}

void processor(const Context& context, Reporter& report) {
  if (!is_multimodal(context.merged)) {
    return;
  }
  constexpr auto kProcessorFiles = std::to_array<const char*>(
      {"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"});
  bool any = false;
  for (const char* file : kProcessorFiles) {
    any |= context.merged.has_file(file);
  }
  bool base_any = false;
  for (const char* file : kProcessorFiles) {
    if (!context.base_has(file)) {
      continue;
    }
    base_any = true;
    if (!context.merged.has_file(file)) {
      report.error({.subject = file,
                    .message = "the model takes images or sound, and the file that says how is "
                               "missing: servers stop with \"Unrecognized image processor\"",
                    .expected = "the base's file",
                    .actual = "no such file",
                    .edits = {copy_file(Source::kBase, file)}});
      continue;
    }
    const nlohmann::json* before = context.base->json(file);
    const nlohmann::json* after = context.merged.json(file);
    if (before != nullptr && after != nullptr && *before != *after) {
      report.warning({.subject = file,
                      .message = "the processor's settings are not the base's: images become other "
                                 "patches than in training",
                      .expected = "the base's settings",
                      .actual = "others",
                      .edits = {copy_file(Source::kBase, file)}});
    }
  }
  if (!any && !base_any) {
    report.note({.subject = kProcessorFiles.front(),
                 .message = "a multimodal config without a processor file",
                 .expected = {},
                 .actual = context.base ? "the base has none either" : "give --base to compare"});
  }
}

/// The Python files that a config's auto_map names: "modeling_x.XForCausalLM".
void custom_code(const Context& context, Reporter& report) {
  std::set<std::string> missing;
  for (const char* file : {"config.json", "tokenizer_config.json", "preprocessor_config.json",
                           "processor_config.json"}) {
    const nlohmann::json* config = context.merged.json(file);
    if (config == nullptr || !config->is_object()) {
      continue;
    }
    const auto map = config->find("auto_map");
    if (map == config->end() || !map->is_object()) {
      continue;
    }
    for (const auto& [name, target] : map->items()) {
      for (const nlohmann::json& one :
           target.is_array() ? target : nlohmann::json::array({target})) {
        if (!one.is_string()) {
          continue;
        }
        const std::string text = one.get<std::string>();
        const std::size_t dot = text.find('.');
        if (text.find("--") != std::string::npos || text.find('/') != std::string::npos ||
            dot == std::string::npos || dot == 0) {
          continue;  // in another repository, or no module's name
        }
        const std::string module = text.substr(0, dot) + ".py";
        if (!context.merged.has_file(module)) {
          missing.insert(module);
        }
      }
    }
  }
  if (missing.empty()) {
    return;
  }
  std::vector<Edit> edits;
  for (const std::string& file : missing) {
    if (!context.base_has(file)) {
      edits.clear();
      break;
    }
    edits.push_back(copy_file(Source::kBase, file));
  }
  const bool repairable = !edits.empty();
  report.error({.subject = *missing.begin(),
                .message = "auto_map names code that is not in the folder: \"Could not locate the "
                           "...py\"",
                .expected = "the files",
                .actual = "missing: " + listed({missing.begin(), missing.end()}),
                .edits = std::move(edits),
                .fix = repairable ? "" : "copy the .py files from the repository of the base"});
}

constexpr auto kCompanionsRules = std::to_array<Rule>({
    {.id = "files.adapter-left",
     .catalogue = "F17",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "AutoModel attaches an adapter that lies in the folder: the delta counts twice.",
     .fix = "move the adapter's files into mergegauge-moved/",
     .check = adapter_left},
    {.id = "files.processor",
     .catalogue = "F44",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Exporters save the tokenizer alone; the server cannot prepare images.",
     .fix = "copy the file from the base",
     .check = processor},
    {.id = "files.custom-code",
     .catalogue = "F45",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "auto_map was copied and the code was not.",
     .fix = "copy the .py files from the base; they are code, look at them",
     .check = custom_code},
});

}  // namespace

std::span<const Rule> companion_file_rules() {
  return kCompanionsRules;
}

}  // namespace mg::lint
