// What `mergegauge inspect` knows of a folder: gathered here, shown by inspect_text.cc and
// inspect_json.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/model/config.h"

namespace mg {

struct DTypeShare {
  std::string name;  // "F16"
  std::int64_t tensors = 0;
  std::uint64_t bytes = 0;
};

/// Weights stored as codes of one format.
struct CodesShare {
  std::string format;  // "GPTQ 4-bit (groups of 128)"
  std::int64_t weights = 0;
};

struct CheckpointFacts {
  std::string folder;
  std::string architecture;  // "Qwen2ForCausalLM", or model_type, or "unknown architecture"
  bool known = false;        // the architecture table has it, and `config` was read
  bool has_forward = false;
  std::optional<ModelConfig> config;
  std::int64_t parameters =
      0;  // a tied head counts once, a quantised weight as many as it stands for
  std::int64_t tensors = 0;
  std::uint64_t bytes = 0;         // of the tensors
  std::vector<DTypeShare> dtypes;  // most bytes first
  std::int64_t shards = 0;
  bool has_index = false;
  enum class Head { kUnknown, kTied, kOwn, kStoredThoughTied } head = Head::kUnknown;
  std::int64_t quantised_weights = 0;
  std::vector<CodesShare> codes;  // as the readers of codes see them
  std::vector<std::string> tokenizer_files;
  bool has_chat_template = false;
  std::vector<std::string> problems;  // tensors and config disagree
  std::vector<std::string> notes;     // worth knowing, nothing is wrong by itself
};

struct TargetCount {
  std::string module;  // last component: "q_proj"
  std::int64_t count = 0;
};

struct AdapterFacts {
  std::string folder;
  std::string base_model;  // base_model_name_or_path
  std::string peft_version;
  std::vector<std::int64_t> ranks;  // distinct, ascending
  std::vector<double> scales;       // distinct, ascending
  double alpha = 0;
  bool rslora = false;
  bool dora = false;
  bool lora_bias = false;
  std::string init;
  std::int64_t modules = 0;
  std::vector<TargetCount> targets;  // most first
  std::int64_t layers = 0;           // layers with at least one pair
  std::optional<std::int64_t>
      layers_of;  // of the base where it is known, else one past the highest seen
  bool layers_of_base = false;
  std::vector<std::string> replaced;  // tensors of modules_to_save and trained biases
  std::int64_t trained_token_rows = 0;
  std::int64_t base_copies = 0;
  std::int64_t parameters = 0;
  std::uint64_t bytes = 0;
  std::vector<DTypeShare> dtypes;
  std::vector<std::string> problems;
  std::vector<std::string> notes;
};

struct FolderFacts {
  std::optional<CheckpointFacts> checkpoint;
  std::optional<AdapterFacts> adapter;
};

/// Throws Error for a folder that cannot be read as a checkpoint or an adapter.  With `base`, an
/// adapter is also attached to that checkpoint.
FolderFacts inspect_folder(const std::filesystem::path& folder,
                           const std::optional<std::filesystem::path>& base);

}  // namespace mg
