// The whole run as plain data.  report.json is this struct; HTML, JUnit and Markdown are views of
// that JSON. Not for: writing it (reports/) or deciding anything.  Absent sections are std::nullopt
// (JSON null).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "harness/result/audit.h"
#include "harness/result/bench.h"
#include "harness/result/comparison.h"
#include "harness/result/finding.h"
#include "harness/result/generation.h"
#include "harness/result/selftest.h"
#include "harness/result/status.h"
#include "harness/result/verdict.h"

namespace mg {

struct ToolInfo {
  std::string version;
  std::string commit;
  std::string backend;  // "cpu", "reference", "cuda"
  int threads = 0;
  std::string arithmetic;  // "exact", "fp16", "bf16"
  std::string machine;     // processor and cores, as far as they explain timings
};

/// The checkpoint in numbers, from the configs and headers.
struct ModelSummary {
  std::string model_type;    // "qwen2"
  std::string architecture;  // "Qwen2ForCausalLM"
  std::int64_t layers = 0;
  std::int64_t vocab_size = 0;
  std::int64_t parameters = 0;
  std::string base_dtype;  // stored: "BF16"
  std::string merged_dtype;
};

struct AdapterSummary {
  std::string kind;                  // "lora", "rslora", "dora"
  std::int64_t rank = 0;             // the default; patterns may differ
  std::optional<double> scaling;     // what B A is multiplied by, of the default rank
  std::int64_t targets = 0;          // matrices with a delta
  std::int64_t replaced = 0;         // tensors held whole
  std::vector<std::string> modules;  // "q_proj", "down_proj"
};

/// What a prompt was to the models: its token ids.
struct PromptIds {
  std::string prompt;
  std::vector<std::int32_t> ids;
};

struct SuiteInfo {
  std::string name;
  std::string digest;  // "sha256:..."
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;
  std::vector<PromptIds> token_ids;  // in the order they ran
};

struct InputInfo {
  std::string base;
  std::string adapter;
  std::string merged;
  std::optional<std::string>
      trained_on;  // the base the adapter was trained on, where it is another
  std::vector<SuiteInfo> suites;
  std::string command;  // repeats the run
  std::optional<ModelSummary> model;
  std::optional<AdapterSummary> adapter_info;
};

struct StoredShare {
  std::string format;  // "Q4_K", "F32", "NF4"
  std::int64_t tensors = 0;
  std::uint64_t bytes = 0;
};

/// A model that is to be served in merged's place (--also): a lane that is compared with merged.
/// Its comparison is "merged" against `lane`, its verdicts are those of gates "served...[lane]".
struct AlsoModel {
  std::string lane;
  std::string path;
  std::string format;  // "GGUF 3", "safetensors with codes", "safetensors"
  std::uint64_t bytes = 0;
  std::optional<double> bits_per_weight;  // of the layers' matrices, scales included
  std::vector<StoredShare> stored;        // most bytes first
  std::string gates;                      // the profile it was held against
};

struct FileRecord {
  std::string role;  // "base", "adapter", "merged", "trained-on", "also:LANE"
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
  std::string started;  // UTC, "2024-05-01T12:34:56Z"; empty where the clock was not asked
  double wall_s = 0.0;
  std::vector<Phase> phases;
};

struct Memory {
  std::uint64_t anonymous_peak_bytes = 0;
  std::uint64_t resident_peak_bytes = 0;
};

/// The error that ended the run or a part of it (kernels/core/error.h), as text.
struct ErrorRecord {
  std::string code;
  std::string what;
  std::string where;
  std::string expected;
  std::string actual;
  std::string hint;
};

struct Report {
  RunStatus status = RunStatus::kInconclusive;
  std::optional<ErrorRecord> error;      // set with kInputError and kInternalError
  std::vector<std::string> not_checked;  // what could not be judged, one sentence each
  ToolInfo tool;
  InputInfo inputs;
  std::optional<Provenance> provenance;
  std::vector<Finding> findings;
  std::optional<AuditResult> audit;
  std::vector<Comparison> comparisons;
  std::vector<AlsoModel> also;
  std::optional<Floor> floor;
  std::vector<Verdict> verdicts;
  std::optional<BenchResult> bench;
  std::optional<SelftestResult> selftest;
  std::optional<GenerationResult> generation;
  std::optional<Timing> timing;
  std::optional<Memory> memory;
};

}  // namespace mg
