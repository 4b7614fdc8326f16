// Recognises, by name alone, tensors that belong to a quantised weight (QCOMP of
// docs/reference/failures.md, section 0).  Not for: decoding them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mg {

struct QuantisedName {
  std::string weight;  // the weight it belongs to: "model.layers.0.mlp.up_proj.weight"
  bool codes = false;  // holds the weight itself in packed form (qweight, weight_packed, X_blocks)
};

/// What `name` is a companion or a packed form of; nothing for an ordinary tensor's name.
/// bitsandbytes 4-bit: W.absmax, W.quant_map, W.nested_*, W.quant_state.*; 8-bit: X.SCB,
/// X.weight_format; GPTQ and AWQ: X.qweight, X.qzeros, X.scales, X.g_idx; FP8 and
/// compressed-tensors: X.weight_scale and relatives, X.input_scale, X.weight_packed; MXFP4:
/// P_blocks, P_scales; MLX: X.scales, X.biases.
std::optional<QuantisedName> quantised_name(std::string_view name);

}  // namespace mg
