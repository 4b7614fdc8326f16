#include "harness/lint/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "harness/lint/rules.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

bool can_run(const Rule& rule, const Context& context) {
  switch (rule.needs) {
    case Needs::kMerged:
      return true;
    case Needs::kBase:
      return context.base.has_value();
    case Needs::kAdapter:
      return context.adapter.has_value();
    case Needs::kBaseAndAdapter:
      return context.base.has_value() && context.adapter.has_value();
    case Needs::kServer:
      return context.server != nullptr;
    case Needs::kGguf:
      return !context.ggufs.empty();
  }
  return false;
}

/// What merged is held against has to be whole itself.
void require_readable(const ModelFolder& folder) {
  for (const ScannedJson& json : folder.scan.jsons) {
    if (json.name == "config.json" && json.problem) {
      throw Error(*json.problem);
    }
  }
  for (const ScannedShard& shard : folder.scan.shards) {
    if (shard.problem && std::find(folder.weight_files.begin(), folder.weight_files.end(),
                                   shard.name) != folder.weight_files.end()) {
      throw Error(*shard.problem);
    }
  }
  if (!folder.checkpoint) {
    Checkpoint::open(folder.scan.path);  // throws, saying why it could not be opened
  }
}

std::string_view needed_flag(Needs needs) {
  switch (needs) {
    case Needs::kMerged:
      return "";
    case Needs::kBase:
      return "--base";
    case Needs::kAdapter:
      return "--adapter";
    case Needs::kBaseAndAdapter:
      return "--base and --adapter";
    case Needs::kServer:
      return "--server";
    case Needs::kGguf:
      return "--also FILE.gguf";
  }
  return "";
}

/// "NOT RUN, never a pass": one note for each input that was not given.
void note_not_run(const Options& options, Result& result) {
  for (const Needs needs :
       {Needs::kBase, Needs::kAdapter, Needs::kBaseAndAdapter, Needs::kServer, Needs::kGguf}) {
    std::vector<std::string> ids;
    for (const Rule* rule : result.not_run) {
      if (rule->needs == needs) {
        ids.emplace_back(rule->id);
      }
    }
    // `check` asks for no server, and the report says which inputs it had.
    const bool told = needs == Needs::kServer || needs == Needs::kGguf;
    if (ids.empty() || (options.audit_follows && told)) {
      continue;
    }
    LintFinding note;
    note.finding = {
        .rule = "lint.not-run",
        .catalogue = {},
        .severity = Severity::kNote,
        .command = options.command,
        .subject = "lint",
        .message = fmt::format("{} {} {} and did not run", ids.size(),
                               ids.size() == 1 ? "rule needs" : "rules need", needed_flag(needs)),
        .expected = std::string(needed_flag(needs)),
        .actual = fmt::format("not run: {}", fmt::join(ids, ", ")),
        .fix = std::nullopt};
    result.findings.push_back(std::move(note));
  }
}

}  // namespace

std::vector<Finding> Result::plain_findings() const {
  std::vector<Finding> plain;
  plain.reserve(findings.size());
  for (const LintFinding& finding : findings) {
    plain.push_back(finding.finding);
  }
  return plain;
}

Context open_context(const Options& options) {
  Context context;
  context.merged = open_model_folder(options.merged, "merged");
  if (options.base) {
    context.base = open_model_folder(*options.base, "base");
    require_readable(*context.base);
  }
  if (options.adapter) {
    context.adapter =
        open_adapter_folder(*options.adapter, context.base ? &*context.base : nullptr);
    if (context.adapter->config() == nullptr || context.adapter->tensors.empty()) {
      // Neither config nor header: nothing to hold merged against.
      if (context.adapter->problem) {
        throw Error(*context.adapter->problem);
      }
    }
  }
  if (!options.server.empty()) {
    context.server = &find_server(options.server);
  }
  for (const std::filesystem::path& path : options.also) {
    if (path.extension() == ".gguf" && std::filesystem::is_regular_file(path)) {
      context.ggufs.push_back(open_served_gguf(path));
    }
  }
  context.accepted_keys = options.accepted_keys;
  return context;
}

Result run(const Context& context, const Options& options) {
  Result result;
  for (const Rule* rule : rules()) {
    if (options.audit_follows && rule->audited) {
      continue;
    }
    if (!can_run(*rule, context)) {
      result.not_run.push_back(rule);
      continue;
    }
    Reporter reporter(*rule, options.command, result.findings);
    rule->check(context, reporter);
  }
  for (const LintFinding& finding : result.findings) {
    result.unreadable |= finding.unreadable && finding.finding.severity == Severity::kError;
  }
  note_not_run(options, result);
  return result;
}

Result run(const Options& options) {
  return run(open_context(options), options);
}

}  // namespace mg::lint
