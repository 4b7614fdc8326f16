// `mergegauge inspect --decode DIR`: a checkpoint as a plain FP32 folder.
#pragma once

#include <filesystem>

namespace mg {

/// Writes model.safetensors, every tensor of `model` (a folder or a GGUF file) as FP32 under the
/// checkpoint's names and in its order of rows, and config.json, as it was read.  `folder` must not
/// exist.  Throws Error "decode.exists", "decode.format", and as Checkpoint::open.
void decode_to_folder(const std::filesystem::path& model, const std::filesystem::path& folder);

}  // namespace mg
