// Where a tensor stands in a model, read from its name alone: for drawing a table of layers and
// modules.  Not for: deciding anything (harness/model knows the roles).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mg::html {

struct TensorPlace {
  std::string stack;  // what stands before the layer's number: "model.layers"
  std::int64_t layer = 0;
  std::string module;  // what follows, numbers as "*": "mlp.experts.*.up_proj"
};

/// The place of "model.layers.12.self_attn.q_proj.weight"; nothing for a name without a number of
/// its own between dots.
std::optional<TensorPlace> tensor_place(std::string_view name);

}  // namespace mg::html
