// Shards, their index, and weight files that no index names (F38).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>
#include <utility>

#include "harness/lint/rules.h"

namespace mg::lint {
namespace {

/// "model-00002-of-00005.safetensors" -> {2, 5}
std::optional<std::pair<int, int>> shard_number(std::string_view name) {
  const std::size_t of = name.rfind("-of-");
  const std::size_t dash = of == std::string_view::npos ? of : name.rfind('-', of - 1);
  if (of == std::string_view::npos || dash == std::string_view::npos) {
    return std::nullopt;
  }
  const auto number = [](std::string_view digits) {
    int value = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc() && end == digits.data() + digits.size() ? value : -1;
  };
  const std::size_t stop = name.find('.', of);
  const int part = number(name.substr(dash + 1, of - dash - 1));
  const int total = number(name.substr(of + 4, stop - of - 4));
  return part < 0 || total < 0 ? std::nullopt : std::optional(std::pair{part, total});
}

bool is_read(const ModelFolder& model, const std::string& name) {
  return std::find(model.weight_files.begin(), model.weight_files.end(), name) !=
         model.weight_files.end();
}

std::vector<IndexProblem> index_problems(const ModelFolder& model) {
  std::vector<NamedHeader> headers;
  for (const std::string& name : model.weight_files) {
    const ScannedShard* shard = model.scan.shard(name);
    if (shard != nullptr && !shard->file) {
      return {};  // a shard that cannot be read is another rule's; nothing can be said of the rest
    }
    headers.push_back({name, shard == nullptr ? nullptr : &shard->file->header()});
  }
  return compare_index(*model.index, headers);
}

void unusable(const Context& context, Reporter& report) {
  const std::optional<ErrorParts>& problem = context.merged.index_problem;
  if (problem && problem->code.starts_with("index.")) {
    report.error({.subject = problem->where,
                  .message = problem->what,
                  .expected = problem->expected,
                  .actual = problem->actual,
                  .fix = problem->hint});
  }
}

void disagrees(const Context& context, Reporter& report) {
  if (!context.merged.index) {
    return;
  }
  using Kind = IndexProblem::Kind;
  const std::vector<IndexProblem> problems = index_problems(context.merged);
  std::vector<std::string> texts;
  bool stale = true;  // every tensor is there once, only the index is wrong
  for (const IndexProblem& problem : problems) {
    texts.push_back(to_string(problem));
    stale &= problem.kind == Kind::kNotInIndex ||
             (problem.kind == Kind::kNotInShard && !problem.other.empty());
  }
  if (!texts.empty()) {
    report.error({.subject = std::string(kWeightsIndex),
                  .message = fmt::format("the index and the shards disagree about {} {}; a loader "
                                         "misses tensors or reads stale ones",
                                         texts.size(), texts.size() == 1 ? "entry" : "entries"),
                  .expected = "each tensor in the one file that weight_map names",
                  .actual = listed(texts, 8),
                  .edits = stale ? std::vector<Edit>{write_index()} : std::vector<Edit>{},
                  .fix = stale ? "write the index anew from the shards' headers"
                               : "download or export the missing shards again"});
  }
}

void missing(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (model.scan.entry(kWeightsIndex) != nullptr || model.has_file(kWeightsFile) ||
      model.weight_files.empty()) {
    return;
  }
  std::set<int> parts;
  int total = 0;
  for (const std::string& name : model.weight_files) {
    if (const auto number = shard_number(name)) {
      parts.insert(number->first);
      total = std::max(total, number->second);
    }
  }
  const bool whole = total > 0 && static_cast<int>(parts.size()) == total &&
                     static_cast<int>(model.weight_files.size()) == total;
  report.error({.subject = std::string(kWeightsIndex),
                .message = "the weights are in files that loaders find only through an index, and "
                           "there is none",
                .expected = std::string(kWeightsIndex),
                .actual = listed(model.weight_files),
                .edits = whole ? std::vector<Edit>{write_index()} : std::vector<Edit>{},
                .fix = whole ? "write the index from the shards' headers"
                             : "export or download again: the set of shards is not whole"});
}

void shard_count(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (!model.index) {
    return;
  }
  for (const std::string& name : model.weight_files) {
    const auto number = shard_number(name);
    if (number && number->second != static_cast<int>(model.weight_files.size())) {
      report.error({.subject = std::string(kWeightsIndex),
                    .message = "the shards' names announce another number of files than the index "
                               "names: part of an upload or of an older export",
                    .expected = fmt::format("{} files, as {} says", number->second, name),
                    .actual = fmt::format("{} files", model.weight_files.size())});
      return;
    }
  }
}

void two_sets(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (model.index && model.has_file(kWeightsFile) && !is_read(model, std::string(kWeightsFile))) {
    report.error({.subject = std::string(kWeightsFile),
                  .message = "the folder holds two sets of weights: transformers reads "
                             "model.safetensors, vLLM reads what the index names",
                  .expected = "model.safetensors, or shards with an index",
                  .actual = "model.safetensors and an index of " + listed(model.weight_files)});
  }
}

void stray(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (model.index_problem || (!model.index && !model.has_file(kWeightsFile))) {
    return;
  }
  for (const FolderEntry& entry : model.scan.entries) {
    if (entry.kind != FileKind::kSafetensors || entry.is_folder || is_read(model, entry.name) ||
        entry.name == kWeightsFile) {
      continue;
    }
    Reporter::Details details = {
        .subject = entry.name,
        .message =
            "no index names this file, and servers that load every *.safetensors read its "
            "tensors over the right ones",
        .expected = "only " + listed(model.weight_files),
        .actual = entry.name,
        .edits = {move_aside(entry.name)}};
    if (entry.name.starts_with("model")) {
      report.error(std::move(details));
    } else {
      report.warning(std::move(details));
    }
  }
}

void other_formats(const Context& context, Reporter& report) {
  if (context.merged.weight_files.empty()) {
    return;  // then they are all there is: files.no-weights
  }
  for (const FolderEntry& entry : context.merged.scan.entries) {
    const bool leftover =
        entry.kind == FileKind::kConsolidated ||
        (entry.kind == FileKind::kPickle && entry.name.starts_with("pytorch_model"));
    if (leftover && !entry.is_folder && !context.base_has(entry.name)) {
      report.warning({.subject = entry.name,
                      .message = "weights in another format lie beside the merged ones; some "
                                 "loaders prefer them, and they are not the merge",
                      .expected = "one set of weights",
                      .actual = entry.name,
                      .edits = {move_aside(entry.name)}});
    }
  }
}

void total_size(const Context& context, Reporter& report) {
  const ModelFolder& model = context.merged;
  if (!model.checkpoint || !model.index || !model.index->total_size ||
      *model.index->total_size == model.tensor_bytes()) {
    return;
  }
  report.warning({.subject = std::string(kWeightsIndex) + ": metadata.total_size",
                  .message = "the index announces another size than the tensors have",
                  .expected = std::to_string(model.tensor_bytes()),
                  .actual = std::to_string(*model.index->total_size),
                  .edits = {set_key(std::string(kWeightsIndex), {"metadata", "total_size"},
                                    model.tensor_bytes())}});
}

constexpr auto kIndexRules = std::to_array<Rule>({
    {.id = "index.unusable",
     .catalogue = "F38",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "An index with paths out of the folder, or of another structure, is never followed.",
     .fix = "export the model again",
     .check = unusable,
     .unreadable = true},
    {.id = "index.disagrees",
     .catalogue = "F38",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Tensors that the index sends to the wrong or to no file are dropped or random.",
     .fix = "write the index anew from the shards' headers",
     .check = disagrees},
    {.id = "index.missing",
     .catalogue = "F38",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Loaders look for model.safetensors or for an index, and find neither.",
     .fix = "write the index from the shards' headers",
     .check = missing},
    {.id = "index.shard-count",
     .catalogue = "F38",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Shards of an interrupted upload or of two exports.",
     .fix = "download or export the model again",
     .check = shard_count},
    {.id = "index.two-sets",
     .catalogue = "F38",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Loaders differ in which of two sets of weights they read.",
     .fix = "move the older set out of the folder",
     .check = two_sets},
    {.id = "index.stray-shard",
     .catalogue = "F38",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Servers that load every *.safetensors read stale tensors over the right ones.",
     .fix = "move the file into mergegauge-moved/",
     .check = stray},
    {.id = "index.other-formats",
     .catalogue = "F38",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Old pytorch_model*.bin or consolidated* files are another model than the merge.",
     .fix = "move the file into mergegauge-moved/",
     .check = other_formats},
    {.id = "index.total-size",
     .catalogue = "F38",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Loaders plan memory by this number; a wrong one shows an index of another export.",
     .fix = "set metadata.total_size to the sum of the tensors' bytes",
     .check = total_size},
});

}  // namespace

std::span<const Rule> index_rules() {
  return kIndexRules;
}

}  // namespace mg::lint
