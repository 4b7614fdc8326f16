// The two halves of reading a safetensors header: its JSON, and the layout of its tensors in the
// data section. Internal to harness/io; users call parse_safetensors.
#pragma once

#include <cstdint>
#include <string_view>

#include "harness/io/safetensors.h"

namespace mg {

/// Parses the header's JSON as the reference does (serde_json into its HashMetadata struct).
/// Records come in the file's order; offsets are not checked yet.  Throws Error
/// "safetensors.header-*", ".duplicate-key",
/// ".unknown-dtype", ".dimension".
SafetensorsHeader parse_header_json(std::string_view text, std::string_view file);

/// Sorts the records by their place in the data and checks that they fill its `data_bytes` without
/// overlap, hole or rest, each with the size that its shape and dtype give.  Throws Error
/// "safetensors.*" naming the tensor.
void validate_layout(SafetensorsHeader& header, std::uint64_t data_bytes, std::string_view file);

}  // namespace mg
