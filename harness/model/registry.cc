#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "harness/model/arch.h"
#include "harness/model/arch/archs.h"
#include "harness/model/config_reader.h"
#include "harness/model/shape_expression.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// The one list of architectures.
constexpr auto kArchs =
    std::to_array<const ArchSpec*>({&kDeepseekV3Arch, &kErnie45VlArch,     &kErnie45VlNativeArch,
                                    &kGemma2Arch,     &kGemma3Arch,        &kGemma3VlArch,
                                    &kGpt2Arch,       &kKimiK2Arch,        &kLlamaArch,
                                    &kLlama4Arch,     &kLlama4TextArch,    &kMiniCpmVArch,
                                    &kMiniMaxArch,    &kMiniMaxText01Arch, &kMiniMaxM1Arch,
                                    &kMiniMaxM2Arch,  &kMistralArch,       &kPhi3Arch,
                                    &kQwen2Arch,      &kQwen2VlArch,       &kQwen25VlArch,
                                    &kQwen3Arch,      &kQwen3MoeArch,      &kQwen3VlArch,
                                    &kQwen3VlMoeArch});

std::vector<std::string_view> known_types(bool (*wanted)(const ArchSpec& arch)) {
  std::vector<std::string_view> names;
  for (const ArchSpec* arch : kArchs) {
    if (wanted(*arch)) {
      names.push_back(arch->model_type);
    }
  }
  return names;
}

[[noreturn]] void fail_unknown(std::string_view file, std::string_view key, std::string_view actual,
                               std::span<const std::string_view> known) {
  const std::string_view near = nearest_name(actual, known);
  throw Error(
      {.code = "config.unknown-architecture",
       .what = "this architecture is not known",
       .where = std::string(file) + ", key " + std::string(key),
       .expected = "one of " + join_names(known),
       .actual = actual.empty() ? "no such key" : std::string(actual),
       .hint = near.empty()
                   ? "CONTRIBUTING.md says what one file to add; `mergegauge audit` works without"
                   : "nearest known: " + std::string(near)});
}

// A word of a shape expression.
std::int64_t word_value(const ModelConfig& config, std::string_view word) {
  struct Word {
    std::string_view name;
    std::int64_t value;
  };
  const VisionConfig vision = config.vision.value_or(VisionConfig{});
  const std::array words = std::to_array<Word>({
      {"V", config.vocab_size},
      {"H", config.hidden_size},
      {"I", config.intermediate_size},
      {"N", config.num_attention_heads},
      {"G", config.num_key_value_heads},
      {"D", config.head_dim},
      {"E", config.num_experts},
      {"M", config.moe_intermediate_size},
      {"P", config.max_position_embeddings},
      {"v.embed", vision.embed_dim},
      {"v.channels", vision.in_channels},
      {"v.temporal", vision.temporal_patch_size},
      {"v.patch", vision.patch_size},
      {"v.ratio", vision.mlp_ratio},
      {"v.merge", vision.spatial_merge_size},
  });
  for (const Word& known : words) {
    if (known.name == word) {
      return known.value;
    }
  }
  if (const auto size = config.sizes.find(word); size != config.sizes.end()) {
    return size->second;
  }
  MG_CHECK(false, "unknown word in a shape expression: " + std::string(word));
}

}  // namespace

std::span<const ArchSpec* const> architectures() {
  return kArchs;
}

const ArchSpec& find_architecture(const nlohmann::json& config, std::string_view file) {
  ConfigReader root(config, file);
  const std::string type = root.text("model_type").value_or("");
  const std::vector<std::string> classes =
      root.texts("architectures").value_or(std::vector<std::string>{});
  for (const ArchSpec* arch : kArchs) {
    if (arch->model_type != type) {
      continue;
    }
    // An absent list is a finding of its own (F16), but model_type alone decides what loads.
    if (!classes.empty() && std::find(arch->architectures.begin(), arch->architectures.end(),
                                      classes.front()) == arch->architectures.end()) {
      fail_unknown(file, "architectures", classes.front(), arch->architectures);
    }
    return *arch;
  }
  fail_unknown(file, "model_type", type, known_types([](const ArchSpec&) { return true; }));
}

void require_forward(const ArchSpec& arch, std::string_view folder) {
  if (!arch.forward) {
    throw Error({.code = "model.no-forward",
                 .what = "this architecture's tensors are known, and its computation is not",
                 .where = std::string(folder),
                 .expected = "one of " +
                             join_names(known_types([](const ArchSpec& a) { return a.forward; })),
                 .actual = std::string(arch.model_type),
                 .hint = "`mergegauge lint` and `mergegauge audit` work on it"});
  }
}

Shape shape_of(const TensorRule& rule, const ModelConfig& config) {
  return evaluate_shape(rule.shape,
                        [&config](std::string_view word) { return word_value(config, word); });
}

std::optional<Shape> other_shape_of(const TensorRule& rule, const ModelConfig& config) {
  if (rule.other_shape.empty()) {
    return std::nullopt;
  }
  return evaluate_shape(rule.other_shape,
                        [&config](std::string_view word) { return word_value(config, word); });
}

std::string_view role_name(Role role) {
  constexpr auto kNames = std::to_array<std::string_view>({
      "embed_tokens",
      "embed_positions",
      "input_norm",
      "input_norm_bias",
      "q_proj",
      "q_bias",
      "k_proj",
      "k_bias",
      "v_proj",
      "v_bias",
      "qkv_proj",
      "qkv_bias",
      "q_norm",
      "k_norm",
      "o_proj",
      "o_bias",
      "post_attention_norm",
      "mlp_norm",
      "mlp_norm_bias",
      "gate_proj",
      "gate_bias",
      "up_proj",
      "up_bias",
      "gate_up_proj",
      "down_proj",
      "down_bias",
      "post_mlp_norm",
      "router",
      "expert_gate_proj",
      "expert_up_proj",
      "expert_down_proj",
      "experts_gate_up_proj",
      "experts_down_proj",
      "final_norm",
      "final_norm_bias",
      "lm_head",
      "patch_embed",
      "merger_norm",
      "merger_norm_bias",
      "merger_up",
      "merger_up_bias",
      "merger_down",
      "merger_down_bias",
      "vision",
      "other",
  });
  static_assert(kNames.size() == static_cast<std::size_t>(Role::kCount));
  return kNames[static_cast<std::size_t>(role)];
}

}  // namespace mg
