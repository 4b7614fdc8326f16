// Whether the folder's files can be read at all: JSON, safetensors headers, what kind of weights
// they are.
#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "harness/io/json_file.h"
#include "harness/io/weight_files.h"
#include "harness/lint/rules.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

/// A reader's own error as a finding: it names line, column and tensor already.
Reporter::Details details_of(const ErrorParts& parts) {
  return {.subject = parts.where,
          .message = parts.what,
          .expected = parts.expected,
          .actual = parts.actual,
          .fix = parts.hint};
}

enum class Damage { kNone, kTruncated, kOverlap, kHeader };

Damage damage_of(const ErrorParts& parts) {
  if (parts.code == "safetensors.overlap") {
    return Damage::kOverlap;
  }
  if (parts.code == "safetensors.truncated" || parts.code == "safetensors.too-small" ||
      parts.code == "safetensors.header-truncated" || !parts.code.starts_with("safetensors.")) {
    return Damage::kTruncated;  // and what the system refuses to open
  }
  return Damage::kHeader;
}

void report_shards(const Context& context, Reporter& report, Damage damage) {
  for (const ScannedShard& shard : context.merged.scan.shards) {
    if (shard.problem && damage_of(*shard.problem) == damage) {
      report.error(details_of(*shard.problem));
    }
  }
}

void unreadable_json(const Context& context, Reporter& report) {
  for (const ScannedJson& json : context.merged.scan.jsons) {
    if (json.problem) {
      report.error(details_of(*json.problem));
    } else if (json.name == "config.json" && !json.value->is_object()) {
      report.error({.subject = "config.json",
                    .message = "config.json is not an object",
                    .expected = "{...}",
                    .actual = std::string(json_kind(*json.value))});
    }
  }
}

void no_config(const Context& context, Reporter& report) {
  if (!context.merged.has_file("config.json")) {
    const bool base = context.base_has("config.json");
    report.error({.subject = "config.json",
                  .message = "the folder has no config.json, so nothing can load it",
                  .expected = "config.json",
                  .actual = "no such file",
                  .edits = base ? std::vector<Edit>{copy_file(Source::kBase, "config.json")}
                                : std::vector<Edit>{}});
  }
}

void no_weights(const Context& context, Reporter& report) {
  if (context.merged.index_problem || !context.merged.weight_files.empty()) {
    return;  // the index rules speak
  }
  try {
    find_weight_files(context.merged.scan.path, context.merged.scan.entries);
  } catch (const Error& error) {
    report.error(details_of(error.parts()));
  }
}

void truncated(const Context& context, Reporter& report) {
  report_shards(context, report, Damage::kTruncated);
}

void overlap(const Context& context, Reporter& report) {
  report_shards(context, report, Damage::kOverlap);
}

void damaged_header(const Context& context, Reporter& report) {
  report_shards(context, report, Damage::kHeader);
}

void header_format(const Context& context, Reporter& report) {
  constexpr auto kFormats = std::to_array<std::string_view>({"pt", "tf", "flax", "mlx"});
  for (const std::string& name : context.merged.weight_files) {
    const ScannedShard* shard = context.merged.scan.shard(name);
    if (shard == nullptr || !shard->file) {
      continue;
    }
    const auto& metadata = shard->file->header().metadata;
    const auto format = metadata.find("format");
    if (format != metadata.end() &&
        std::find(kFormats.begin(), kFormats.end(), format->second) != kFormats.end()) {
      continue;
    }
    Reporter::Details details = {
        .subject = name,
        .message =
            "the header does not say which framework wrote it; transformers refuses the "
            "file or fails with 'NoneType' object has no attribute 'get'",
        .expected = "__metadata__ with \"format\": \"pt\"",
        .actual = format == metadata.end() ? "no format" : format->second,
        .edits = {set_format(name)}};
    if (format == metadata.end()) {
      report.warning(std::move(details));
    } else {
      report.error(std::move(details));
    }
  }
}

/// Files that are there but lead nowhere, or into a folder.
void dangling_link(const Context& context, Reporter& report) {
  for (const FolderEntry& entry : context.merged.scan.entries) {
    const bool read = entry.kind == FileKind::kSafetensors || entry.kind == FileKind::kShardIndex ||
                      entry.kind == FileKind::kJson;
    if (entry.dangling && !read) {  // what is read reports its own error
      report.warning({.subject = entry.name,
                      .message = "the link leads to a file that does not exist",
                      .expected = "a file",
                      .actual = "a dangling link"});
    }
  }
}

constexpr auto kFilesRules = std::to_array<Rule>({
    {.id = "files.unreadable-json",
     .catalogue = "F39",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "A JSON file that does not parse stops every loader.",
     .fix = "correct the file at the line and column named, or take it from the base",
     .check = unreadable_json,
     .unreadable = true},
    {.id = "files.no-config",
     .catalogue = "F39",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Without config.json nothing knows what the tensors are.",
     .fix = "copy config.json from the base: give --base and --fix",
     .check = no_config,
     .unreadable = true},
    {.id = "files.no-weights",
     .catalogue = "F39",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "There are no safetensors where loaders look for them; a GGUF file or a pickle is "
            "named.",
     .fix = "export the model again",
     .check = no_weights,
     .unreadable = true},
    {.id = "files.truncated",
     .catalogue = "F39",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "An interrupted export or download; loading ends in SafetensorError.",
     .fix = "export or download the file again",
     .check = truncated,
     .unreadable = true},
    {.id = "files.shared-bytes",
     .catalogue = "F37",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "Two tensors share bytes; readers refuse the file.",
     .fix = "save with tied tensors cloned, or only one of them and the tie flag set",
     .check = overlap,
     .unreadable = true},
    {.id = "files.damaged-header",
     .catalogue = "F59",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "The header is no safetensors header; readers refuse the file.",
     .fix = "export the file again",
     .check = damaged_header,
     .unreadable = true},
    {.id = "files.header-format",
     .catalogue = "F59",
     .severity = Severity::kError,
     .needs = Needs::kMerged,
     .why = "transformers asks the header which framework wrote it, and fails without an answer.",
     .fix = "write \"format\": \"pt\" into the header; the tensors' bytes stay as they are",
     .check = header_format},
    {.id = "files.dangling-link",
     .catalogue = "F39",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "Part of a Hub cache was deleted or copied without its blobs.",
     .fix = "download the file again, or copy the folder with cp -L",
     .check = dangling_link},
});

}  // namespace

std::span<const Rule> file_rules() {
  return kFilesRules;
}

}  // namespace mg::lint
