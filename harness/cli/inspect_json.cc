#include <nlohmann/json.hpp>

#include "harness/cli/inspect.h"

namespace mg {
namespace {

using nlohmann::ordered_json;

ordered_json dtypes_json(const std::vector<DTypeShare>& dtypes) {
  ordered_json list = ordered_json::array();
  for (const DTypeShare& share : dtypes) {
    list.push_back({{"dtype", share.name}, {"tensors", share.tensors}, {"bytes", share.bytes}});
  }
  return list;
}

std::string_view rope_kind_name(RopeConfig::Kind kind) {
  switch (kind) {
    case RopeConfig::Kind::kDefault:
      return "default";
    case RopeConfig::Kind::kLinear:
      return "linear";
    case RopeConfig::Kind::kDynamic:
      return "dynamic";
    case RopeConfig::Kind::kYarn:
      return "yarn";
    case RopeConfig::Kind::kLlama3:
      return "llama3";
    case RopeConfig::Kind::kLongRope:
      return "longrope";
    case RopeConfig::Kind::kMrope:
      return "mrope";
    case RopeConfig::Kind::kAxial:
      return "axial";
  }
  return "";
}

ordered_json config_json(const ModelConfig& config) {
  ordered_json ropes = ordered_json::array();
  for (const RopeConfig& rope : config.ropes) {
    ropes.push_back({{"type", rope_kind_name(rope.kind)},
                     {"theta", rope.theta},
                     {"factor", rope.factor},
                     {"partial_rotary_factor", rope.partial_rotary_factor},
                     {"attention_factor", rope.attention_factor}});
  }
  ordered_json windows = ordered_json::array();
  for (const LayerConfig& layer : config.layers) {
    windows.push_back(layer.sliding_window);
  }
  return {{"model_type", config.model_type},
          {"declared_dtype", config.dtype},
          {"layers", config.num_hidden_layers},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"heads", config.num_attention_heads},
          {"key_value_heads", config.num_key_value_heads},
          {"head_dim", config.head_dim},
          {"vocab_size", config.vocab_size},
          {"context", config.max_position_embeddings},
          {"experts", config.num_experts},
          {"experts_per_token", config.num_experts_per_tok},
          {"expert_intermediate_size", config.moe_intermediate_size},
          {"vision_blocks", config.vision ? config.vision->depth : 0},
          {"ropes", ropes},
          {"sliding_windows", windows},
          {"quant_method", config.quant_method},
          {"unknown_keys", config.unknown_keys},
          {"neutral_keys", config.neutral_keys}};
}

std::string_view head_name(CheckpointFacts::Head head) {
  switch (head) {
    case CheckpointFacts::Head::kTied:
      return "tied";
    case CheckpointFacts::Head::kOwn:
      return "own";
    case CheckpointFacts::Head::kStoredThoughTied:
      return "stored-though-tied";
    case CheckpointFacts::Head::kUnknown:
      break;
  }
  return "unknown";
}

ordered_json codes_json(const std::vector<CodesShare>& codes) {
  ordered_json list = ordered_json::array();
  for (const CodesShare& share : codes) {
    list.push_back({{"format", share.format}, {"weights", share.weights}});
  }
  return list;
}

ordered_json checkpoint_json(const CheckpointFacts& facts) {
  return {{"folder", facts.folder},
          {"architecture", facts.architecture},
          {"known", facts.known},
          {"forward", facts.has_forward},
          {"parameters", facts.parameters},
          {"tensors", facts.tensors},
          {"bytes", facts.bytes},
          {"files", facts.shards},
          {"index", facts.has_index},
          {"dtypes", dtypes_json(facts.dtypes)},
          {"head", head_name(facts.head)},
          {"quantised_weights", facts.quantised_weights},
          {"codes", codes_json(facts.codes)},
          {"tokenizer_files", facts.tokenizer_files},
          {"chat_template", facts.has_chat_template},
          {"config", facts.config ? config_json(*facts.config) : ordered_json(nullptr)},
          {"problems", facts.problems},
          {"notes", facts.notes}};
}

ordered_json adapter_json(const AdapterFacts& facts) {
  ordered_json targets = ordered_json::array();
  for (const TargetCount& target : facts.targets) {
    targets.push_back({{"module", target.module}, {"count", target.count}});
  }
  return {{"folder", facts.folder},
          {"base_model", facts.base_model},
          {"peft_version", facts.peft_version},
          {"ranks", facts.ranks},
          {"scales", facts.scales},
          {"alpha", facts.alpha},
          {"rslora", facts.rslora},
          {"dora", facts.dora},
          {"lora_bias", facts.lora_bias},
          {"init", facts.init},
          {"modules", facts.modules},
          {"targets", targets},
          {"layers", facts.layers},
          {"layers_of", facts.layers_of ? ordered_json(*facts.layers_of) : ordered_json(nullptr)},
          {"layers_of_base", facts.layers_of_base},
          {"replaced", facts.replaced},
          {"trained_token_rows", facts.trained_token_rows},
          {"base_copies", facts.base_copies},
          {"parameters", facts.parameters},
          {"bytes", facts.bytes},
          {"dtypes", dtypes_json(facts.dtypes)},
          {"problems", facts.problems},
          {"notes", facts.notes}};
}

}  // namespace

ordered_json inspect_json(const FolderFacts& facts) {
  return {
      {"schema", "mergegauge.inspect/1"},
      {"checkpoint", facts.checkpoint ? checkpoint_json(*facts.checkpoint) : ordered_json(nullptr)},
      {"adapter", facts.adapter ? adapter_json(*facts.adapter) : ordered_json(nullptr)}};
}

}  // namespace mg
