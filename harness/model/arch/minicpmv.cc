// MiniCPM-V 2.5 (Llama), 2.6 (Qwen2), 4.0 (Llama) and 4.5 (Qwen3): a whole causal model under llm.,
// a SigLIP tower under vpm. and a resampler that turns any image into query_num tokens.  Names and
// shapes by what vLLM's loader asks for (model_executor/models/minicpmv.py, MiniCPMV2_5 to 4_5,
// idefics2_vision_model.py); "llm." goes and "vpm." becomes "vision_tower." in canonical form.
#include <nlohmann/json.hpp>
#include <string>

#include "harness/model/arch/header_rules.h"
#include "harness/model/arch/siglip_rules.h"

namespace mg {
namespace {

constexpr std::array kNames = std::to_array<std::string_view>({"MiniCPMV"});

bool has_projection(const ModelConfig& config, std::int64_t) {
  return config.vision->embed_dim != config.hidden_size;
}

constexpr std::array kResamplerRules = std::to_array<TensorRule>({
    {Role::kVision, "resampler.query", "queries, H", Layout::kOther},
    {Role::kVision, "resampler.proj", "H, H", Layout::kOther},
    {Role::kVision, "resampler.kv_proj.weight", "H, v.embed", Layout::kLinear, has_projection},
    {Role::kVision, "resampler.attn.in_proj_weight", "3*H, H", Layout::kLinear},
    {Role::kVision, "resampler.attn.in_proj_bias", "3*H", Layout::kVector},
    {Role::kVision, "resampler.attn.out_proj.weight", "H, H", Layout::kLinear},
    {Role::kVision, "resampler.attn.out_proj.bias", "H", Layout::kVector},
    {Role::kVision, "resampler.ln_q.weight", "H", Layout::kVector},
    {Role::kVision, "resampler.ln_q.bias", "H", Layout::kVector},
    {Role::kVision, "resampler.ln_kv.weight", "H", Layout::kVector},
    {Role::kVision, "resampler.ln_kv.bias", "H", Layout::kVector},
    {Role::kVision, "resampler.ln_post.weight", "H", Layout::kVector},
    {Role::kVision, "resampler.ln_post.bias", "H", Layout::kVector},
});

constexpr auto kRules = joined(kSiglipRules, kResamplerRules, kOuterRules, kAttentionRules,
                               kHeadNormRules, kDenseMlpRules);

/// "2.6" of a number or a text; files before 2.6 have none (get_version_by_config).
std::string read_version(ConfigReader& root) {
  const nlohmann::json* version = root.find("version");
  if (version == nullptr) {
    return "2.5";
  }
  return version->is_string() ? version->get<std::string>() : version->dump();
}

ModelConfig read_config(const nlohmann::json& json, std::string_view name) {
  ConfigFile file(json, name);
  const std::string version = read_version(file.root());
  const bool qwen3 = version == "4.5";
  // Qwen3Config's head_dim is 128 whatever H and N are; the others divide.
  ModelConfig config =
      read_sizes_only(file, {.head_dim = qwen3 ? std::optional<std::int64_t>(128) : std::nullopt,
                             .max_position_embeddings = 32768});
  if (version == "2.6") {
    config.attention_bias = true;  // Qwen2
  } else if (qwen3) {
    config.qk_norm = true;
  } else if (version != "2.5" && version != "4.0" && version != "4") {
    file.root().fail_unsupported("version", "2.5, 2.6, 4.0 or 4.5",
                                 "other versions are judged by the base's headers: give --base");
  }
  ConfigReader vision = require_vision(file);
  read_siglip(vision, config, {.image_size = 980, .patch_size = 14, .depth = 27});
  if (file.root().boolean_or("drop_vision_last_layer", version == "2.5")) {
    config.vision->depth = std::max<std::int64_t>(1, config.vision->depth - 1);
  }
  config.sizes["queries"] = read_members(file.root(), "query_num", 64);
  return config;
}

}  // namespace

const ArchSpec kMiniCpmVArch = {.model_type = "minicpmv",
                                .architectures = kNames,
                                .rules = kRules,
                                .read_config = read_config,
                                .buffers = kRotaryBuffers,
                                .forward = false};

}  // namespace mg
