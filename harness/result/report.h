// The whole run as plain data.  report.json is this struct; HTML, JUnit and Markdown are views of
// that JSON. Not for: writing it (reports/) or deciding anything.  Absent sections are std::nullopt
// (JSON null).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/result/audit.h"
#include "harness/result/comparison.h"
#include "harness/result/finding.h"
#include "harness/result/status.h"
#include "harness/result/verdict.h"

namespace mg {

struct ToolInfo {
  std::string version;
  std::string commit;
  std::string backend;  // "cpu", "reference", "cuda"
  int threads = 0;
  std::string arithmetic;  // "exact", "fp16", "bf16"
};

struct SuiteInfo {
  std::string name;
  std::string digest;  // "sha256:..."
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;
};

struct InputInfo {
  std::string base;
  std::string adapter;
  std::string merged;
  std::vector<SuiteInfo> suites;
  std::string command;  // repeats the run
};

struct FileRecord {
  std::string role;  // "base", "adapter", "merged"
  std::string path;  // relative to the role's folder
  std::uint64_t bytes = 0;
  std::string sha256;
};

/// A key that differs between base and merged.  Values are JSON texts; nullopt: the key is absent.
struct ConfigDifference {
  std::string file;
  std::string key;
  std::optional<std::string> base;
  std::optional<std::string> merged;
  std::string difference_class;  // JSON "class": "breaking", "numeric", "cosmetic", ...
};

struct Provenance {
  std::vector<FileRecord> files;
  std::vector<ConfigDifference> config_differences;
};

struct Phase {
  std::string name;
  double seconds = 0.0;
};

struct Timing {
  double wall_s = 0.0;
  std::vector<Phase> phases;
};

struct Memory {
  std::uint64_t anonymous_peak_bytes = 0;
  std::uint64_t resident_peak_bytes = 0;
};

struct Report {
  RunStatus status = RunStatus::kInconclusive;
  ToolInfo tool;
  InputInfo inputs;
  std::optional<Provenance> provenance;
  std::vector<Finding> findings;
  std::optional<AuditResult> audit;
  std::vector<Comparison> comparisons;
  std::optional<Floor> floor;
  std::vector<Verdict> verdicts;
  std::optional<Timing> timing;
  std::optional<Memory> memory;
};

}  // namespace mg
