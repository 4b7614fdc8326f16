// Names: gguf 0.19, tensor_mapping.py, read for behaviour.
#include "harness/io/gguf_names.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace mg {
namespace {

using Names = std::pair<std::string_view, std::string_view>;

constexpr auto kGlobals = std::to_array<Names>({
    {"token_embd.weight", "model.embed_tokens.weight"},
    {"output_norm.weight", "model.norm.weight"},
    {"output.weight", "lm_head.weight"},
});

constexpr auto kModules = std::to_array<Names>({
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"attn_output", "self_attn.o_proj"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
});

std::string_view gguf_module_of(std::string_view part, const GgufFamily& family) {
  if (part == "ffn_norm" && family.four_norms) {
    return "pre_feedforward_layernorm";
  }
  if (part == "ffn_up" && family.packed_mlp) {
    return "mlp.gate_up_proj";
  }
  for (const auto& [ours, theirs] : kModules) {
    if (part == ours) {
      return theirs;
    }
  }
  return {};
}

}  // namespace

std::string gguf_checkpoint_name(std::string_view name, const GgufFamily& family) {
  for (const auto& [ours, theirs] : kGlobals) {
    if (name == ours) {
      return std::string(theirs);
    }
  }
  constexpr std::string_view kBlock = "blk.";
  const std::size_t dot = name.find('.', kBlock.size());
  const std::size_t last = name.rfind('.');
  if (!name.starts_with(kBlock) || dot == std::string_view::npos || last <= dot) {
    return {};
  }
  const std::string_view number = name.substr(kBlock.size(), dot - kBlock.size());
  const std::string_view module = gguf_module_of(name.substr(dot + 1, last - dot - 1), family);
  const bool digits = number.find_first_not_of("0123456789") == std::string_view::npos;
  const std::string_view kind = name.substr(last);
  if (number.empty() || !digits || module.empty() || (kind != ".weight" && kind != ".bias")) {
    return {};
  }
  return fmt::format("model.layers.{}.{}{}", number, module, kind);
}

bool gguf_interleaves(std::string_view checkpoint_name, const GgufFamily& family) {
  return family.interleaved_rope &&
         (checkpoint_name.ends_with("q_proj.weight") ||
          checkpoint_name.ends_with("k_proj.weight") || checkpoint_name.ends_with("q_proj.bias") ||
          checkpoint_name.ends_with("k_proj.bias"));
}

std::int64_t gguf_interleaved_row(std::int64_t row, std::int64_t head_dim) {
  const std::int64_t head = row / head_dim;
  const std::int64_t inside = row % head_dim;
  const std::int64_t half = head_dim / 2;
  return head * head_dim + 2 * (inside % half) + inside / half;
}

}  // namespace mg
