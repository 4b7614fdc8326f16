#include "harness/lint/fix.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "harness/io/digest.h"
#include "harness/io/json_file.h"
#include "harness/lint/json_edit.h"
#include "harness/lint/replace_file.h"
#include "harness/lint/text_diff.h"
#include "harness/lint/weight_edit.h"
#include "kernels/core/error.h"

namespace mg::lint {
namespace {

namespace fs = std::filesystem;

/// A file directly in the folder; anything else never came from a rule of ours.
bool is_plain_name(const std::string& file) {
  return !file.empty() && file != "." && file != ".." && file.find('/') == std::string::npos;
}

std::string text_or_empty(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored) ? read_text(path) : std::string();
}

const fs::path& source_folder(const Context& context, Source from) {
  return from == Source::kBase ? context.base->scan.path : context.adapter->scan.path;
}

/// Text files as they are to be: file -> text.
std::map<std::string, std::string> new_texts(const Context& context,
                                             const std::vector<Edit>& edits) {
  const fs::path& folder = context.merged.scan.path;
  std::map<std::string, std::string> texts;
  // Whole files first: a key may then be set in a copied one.
  for (const Edit& edit : edits) {
    if (edit.kind == Edit::Kind::kCopyFile) {
      MG_CHECK(is_plain_name(edit.file), "an edit outside the folder");
      texts[edit.file] = read_text(source_folder(context, edit.from) / edit.file);
    } else if (edit.kind == Edit::Kind::kWriteText) {
      MG_CHECK(is_plain_name(edit.file), "an edit outside the folder");
      texts[edit.file] = edit.value->get<std::string>();
    }
  }
  const bool weights = std::any_of(edits.begin(), edits.end(), [](const Edit& edit) {
    return is_weight_edit(edit) && edit.kind != Edit::Kind::kSetFormat;
  });
  for (const Edit& edit : edits) {
    // An index that goes with renamed tensors is written with them.
    if (edit.kind == Edit::Kind::kWriteIndex && !weights) {
      texts[std::string(kWeightsIndex)] =
          index_text(context.merged.tensors, context.merged.json(kWeightsIndex));
    }
  }
  for (const Edit& edit : edits) {
    if (edit.kind != Edit::Kind::kSetKey) {
      continue;
    }
    MG_CHECK(is_plain_name(edit.file), "an edit outside the folder");
    if (!texts.contains(edit.file)) {
      if (!context.merged.has_file(edit.file)) {
        continue;
      }
      texts[edit.file] = read_text(folder / edit.file);
    }
    texts[edit.file] = edit_json(texts[edit.file], edit.path, edit.value, edit.file);
  }
  return texts;
}

std::string sha256_of(const std::string& text) {
  return digest_bytes(std::as_bytes(std::span(text.data(), text.size())));
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  const std::size_t length = std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return std::string(text.data(), length);
}

/// The record: what was done, when, by which version; earlier entries are kept.
class Record {
 public:
  Record(const Context& context, const FixPlan& plan, const std::string& version,
         const std::string& command)
      : path_(context.merged.scan.path / kProvenanceFile) {
    const nlohmann::json* old = context.merged.json(kProvenanceFile);
    record_["schema"] = "mergegauge.provenance/1";
    record_["repairs"] = nlohmann::ordered_json::array();
    if (old != nullptr && old->is_object() && old->contains("repairs") &&
        old->at("repairs").is_array()) {
      for (const nlohmann::json& repair : old->at("repairs")) {
        record_["repairs"].push_back(nlohmann::ordered_json(repair));
      }
    }
    nlohmann::ordered_json entry;
    entry["time"] = utc_now();
    entry["version"] = version;
    entry["command"] = command;
    entry["complete"] = false;
    entry["rules"] = plan.rules;
    entry["edits"] = nlohmann::ordered_json::array();
    for (const Edit& edit : plan.edits) {
      entry["edits"].push_back(describe(edit));
    }
    entry["files"] = nlohmann::ordered_json::array();
    record_["repairs"].push_back(std::move(entry));
  }

  void add_file(const std::string& file, const std::string& before, const std::string& after) {
    record_["repairs"].back()["files"].push_back(
        {{"file", file}, {"sha256_before", before}, {"sha256_after", after}});
  }

  void write(bool complete) {
    record_["repairs"].back()["complete"] = complete;
    const std::string text = record_.dump(2) + "\n";
    // The record is its own history: no backup of it.
    replace_text(path_, text);
    std::error_code ignored;
    fs::remove(path_.string() + ".bak", ignored);
  }

 private:
  fs::path path_;
  nlohmann::ordered_json record_;
};

}  // namespace

FixPlan plan_fix(const Context& context, const Result& result) {
  FixPlan plan;
  std::vector<std::string> seen;
  for (const LintFinding& found : result.findings) {
    if (found.finding.severity == Severity::kNote || found.edits.empty()) {
      continue;
    }
    if (std::find(plan.rules.begin(), plan.rules.end(), found.finding.rule) == plan.rules.end()) {
      plan.rules.push_back(found.finding.rule);
    }
    for (const Edit& edit : found.edits) {
      std::string text = describe(edit);
      if (std::find(seen.begin(), seen.end(), text) == seen.end()) {
        plan.edits.push_back(edit);
        seen.push_back(std::move(text));
      }
    }
  }
  for (const auto& [file, text] : new_texts(context, plan.edits)) {
    const std::string before = text_or_empty(context.merged.scan.path / file);
    if (before != text) {
      plan.changes.push_back(
          {file, before.empty() ? "write" : "edit", unified_diff(before, text, file)});
    }
  }
  for (const Edit& edit : plan.edits) {
    if (is_weight_edit(edit) || edit.kind == Edit::Kind::kMoveAside ||
        edit.kind == Edit::Kind::kRenamePair) {
      plan.changes.push_back({edit.file, describe(edit), {}});
    }
  }
  return plan;
}

void apply_fix(const Context& context, const FixPlan& plan, const std::string& version,
               const std::string& command) {
  if (plan.edits.empty()) {
    return;
  }
  const fs::path& folder = context.merged.scan.path;
  const std::map<std::string, std::string> texts = new_texts(context, plan.edits);
  Record record(context, plan, version, command);
  for (const auto& [file, text] : texts) {
    const std::string before = text_or_empty(folder / file);
    record.add_file(file, before.empty() ? "" : sha256_of(before), sha256_of(text));
  }
  record.write(false);  // before the first edit, so that an interrupted run is on record too
  for (const Edit& edit : plan.edits) {
    if (edit.kind == Edit::Kind::kMoveAside) {
      MG_CHECK(is_plain_name(edit.file), "an edit outside the folder");
      move_to(folder / edit.file, kMovedFolder);
    }
  }
  if (std::any_of(plan.edits.begin(), plan.edits.end(), is_weight_edit)) {
    edit_weights(context, plan.edits);
  }
  rename_pairs(context, plan.edits);
  for (const auto& [file, text] : texts) {
    if (text_or_empty(folder / file) != text) {
      replace_text(folder / file, text);
    }
  }
  record.write(true);
}

}  // namespace mg::lint
