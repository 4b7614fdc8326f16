// Tensor names in one canonical form: without trainer and PEFT wrapping, VLM namespaces mapped to
// one generation (failures.md, canon(n)).  Names are compared in canonical form and reported as
// stored.
#pragma once

#include <string>
#include <string_view>

namespace mg {

/// "base_model.model.model.language_model.layers.0.x" -> "model.layers.0.x"; "model.visual.a" ->
/// "visual.a"; ...
std::string canonical_name(std::string_view name);

}  // namespace mg
