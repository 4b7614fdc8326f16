// The architecture table: what tensors a checkpoint of each architecture has, under which names and
// shapes, and how its config is read.  To add an architecture: one file with one ArchSpec value,
// one line in registry.cc.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/model/config.h"
#include "kernels/core/shape.h"

namespace mg {

/// What a tensor is for.  Code uses roles; checkpoint names appear only in TensorRule.
enum class Role : std::uint8_t {
  kEmbedTokens,
  kEmbedPositions,
  kInputNorm,
  kInputNormBias,
  kQProj,
  kQBias,
  kKProj,
  kKBias,
  kVProj,
  kVBias,
  kQkvProj,  // packed
  kQkvBias,
  kQNorm,
  kKNorm,
  kOProj,
  kOBias,
  kPostAttentionNorm,  // Gemma: after attention, before the residual is added
  kMlpNorm,            // before the MLP ("post_attention_layernorm" of Llama)
  kMlpNormBias,
  kGateProj,
  kGateBias,
  kUpProj,
  kUpBias,
  kGateUpProj,  // packed
  kDownProj,
  kDownBias,
  kPostMlpNorm,  // Gemma
  kRouter,
  kExpertGateProj,
  kExpertUpProj,
  kExpertDownProj,
  kExpertsGateUpProj,  // all experts of a layer in one tensor, [E, 2M, H]
  kExpertsDownProj,    // [E, H, M]
  kFinalNorm,
  kFinalNormBias,
  kLmHead,
  kPatchEmbed,  // of a vision tower: what stands before and after its blocks
  kMergerNorm,
  kMergerNormBias,
  kMergerUp,
  kMergerUpBias,
  kMergerDown,
  kMergerDownBias,
  kVision,  // of a tower that no forward pass runs
  kOther,   // of rows without a forward pass: what no other role names
  kCount,
};
std::string_view role_name(Role role);

/// How a weight lies in memory.
enum class Layout : std::uint8_t {
  kLinear,     // [out, in]
  kConv1D,     // [in, out]
  kVector,     // [n]
  kEmbedding,  // [V, H]
  kOther,
};

/// Numbers from `first` up to and without `end`.
struct NumberRange {
  std::int64_t first = 0;
  std::int64_t end = 0;
};

struct TensorRule {
  Role role;
  // With "{l}" for the layer, "{e}" for the expert, "{v}" for the block of a vision tower and "{n}"
  // for what `numbers` counts: "model.layers.{l}.self_attn.q_proj.weight".
  std::string_view name;
  // Dimensions over the config's letters, e.g. "N*D, H" (letters of DESIGN.md section 8; E experts,
  // M expert width, P positions, words such as v.embed for a vision tower, and those of
  // ModelConfig::sizes), evaluated by shape_of().
  std::string_view shape;
  Layout layout;
  // Whether a checkpoint with this config has the tensor in layer l; nullptr: always.
  bool (*present)(const ModelConfig& config, std::int64_t layer) = nullptr;
  // May be absent without an error (lm_head of a tied model).
  bool optional = false;
  NumberRange (*numbers)(const ModelConfig& config) = nullptr;
  // A second shape that writers store the same tensor in; empty: none.
  std::string_view other_shape = {};
};

struct ArchSpec {
  std::string_view model_type;                      // config.json model_type
  std::span<const std::string_view> architectures;  // config.json architectures[0] accepted
  std::span<const TensorRule> rules;
  /// Reads config.json; throws Error "config.*".
  ModelConfig (*read_config)(const nlohmann::json& config, std::string_view file);
  // The level a bare backbone's file leaves out ("transformer." of a GPT2Model saved by itself): a
  // tensor is also found without it.
  std::string_view base_prefix = "model.";
  // Suffixes of buffers that old exporters stored and readers ignore ("rotary_emb.inv_freq").
  std::span<const std::string_view> buffers = {};
  // False for rows that only know headers (lint, audit) and have no forward pass.
  bool forward = true;
  /// Whether a tensor that no rule asks for may be there: DeepSeek's layer that predicts a further
  /// token, say, which some exporters keep and others drop.  `name` is canonical (names.h).
  bool (*spare)(const ModelConfig& config, std::string_view name) = nullptr;
};

/// All architectures known, by model_type.
std::span<const ArchSpec* const> architectures();

/// The row for this config.json; throws Error "config.unknown-architecture" listing those known.
const ArchSpec& find_architecture(const nlohmann::json& config, std::string_view file);

/// Throws Error "model.no-forward", listing the architectures that have one, unless this one has.
void require_forward(const ArchSpec& arch, std::string_view folder);

/// Evaluates a TensorRule's shape.
Shape shape_of(const TensorRule& rule, const ModelConfig& config);
/// The same for its other shape; nothing where it has none.
std::optional<Shape> other_shape_of(const TensorRule& rule, const ModelConfig& config);

}  // namespace mg
