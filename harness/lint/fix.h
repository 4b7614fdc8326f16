// Carries out the edits that rules propose, in merged and (keys alone) in the adapter: only those
// that are safe, each file through a temporary name and rename, the old one kept as NAME.bak, every
// edit recorded in mergegauge-provenance.json. Interrupted at any point, the folder is usable:
// configs are replaced one by one, and weights are replaced only once their new files are whole.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "harness/lint/lint.h"

namespace mg::lint {

struct FileChange {
  std::string file;
  std::string what;  // one line an edit
  std::string diff;  // of text files, in unified form; empty for weights and moves
};

struct FixPlan {
  std::vector<Edit> edits;          // each once, in order
  std::vector<std::string> rules;   // that asked for them
  std::vector<FileChange> changes;  // what the edits come to, for --dry-run
};

/// What --fix would do about the errors and warnings of `result`.  Reads the files that it would
/// change.
FixPlan plan_fix(const Context& context, const Result& result);

/// Does it.  Throws Error "fix.cannot-write" (nothing of that file is changed then).  `version`
/// and `command` go to the record.
void apply_fix(const Context& context, const FixPlan& plan, const std::string& version,
               const std::string& command);

inline constexpr const char* kProvenanceFile = "mergegauge-provenance.json";

}  // namespace mg::lint
