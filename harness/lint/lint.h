// Decides from configs, indexes and headers alone whether a merged checkpoint will load and mean
// what it should.  Never reads a tensor's bytes.  Not for: values (harness/audit), outputs
// (compare), or editing files (fix.h).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/lint/rule.h"

namespace mg::lint {

struct Options {
  std::filesystem::path merged;
  std::optional<std::filesystem::path> base;
  std::optional<std::filesystem::path> adapter;
  // What is to be served in merged's place; of these the GGUF files are looked at.
  std::vector<std::filesystem::path> also;
  std::string server;                      // a profile's name, or empty
  std::vector<std::string> accepted_keys;  // config keys declared harmless
  std::string command = "lint";            // Finding::command
  // True in `check`: leaves out the rules whose subject the audit judges with the bytes at hand.
  bool audit_follows = false;
};

struct Result {
  std::vector<LintFinding> findings;
  // Rules that were not run, by what they need: never a pass.
  std::vector<const Rule*> not_run;
  bool unreadable = false;  // some file of merged cannot be read: exit code 2

  std::vector<Finding> plain_findings() const;
};

/// Throws Error where a folder is none, or base or adapter cannot be read at all ("folder.*",
/// "adapter.*", ...), and "server.unknown".  What is wrong with merged is in the findings.
Result run(const Options& options);

/// The rules over folders that are open already.
Result run(const Context& context, const Options& options);

/// Opens the folders of `options`.
Context open_context(const Options& options);

}  // namespace mg::lint
