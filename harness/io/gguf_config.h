// A GGUF file's metadata as the config.json of the model that llama.cpp computes from it, for the
// families of the architecture table.  Private to harness/io.  Tested in
// tests/io/gguf_model_test.cc.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "harness/io/gguf.h"

namespace mg {

/// Throws Error "gguf.architecture", "gguf.metadata" naming the file and the key.  Keys of the
/// architecture that are not read here become unknown keys of the config, "gguf.NAME".
nlohmann::json gguf_config(const GgufFile& file);

/// How a family's GGUF differs from its safetensors, beyond the names.
struct GgufFamily {
  std::string_view architecture;  // general.architecture
  std::string_view model_type;
  std::string_view causal_lm;             // config.json's architectures
  std::string_view also_model_type = {};  // another that the converter writes as the same
  // Rows of q and k interleave the halves of a head, so that llama.cpp can rotate neighbours.
  bool interleaved_rope = false;
  // Norms carry 1 + weight.
  bool norms_plus_one = false;
  // Four norms a layer: ffn_norm comes before the MLP, not after attention.
  bool four_norms = false;
  // ffn_up holds gate and up.
  bool packed_mlp = false;
};

/// Throws Error "gguf.architecture" where general.architecture is none of those known; `file` names
/// it in the message.
const GgufFamily& gguf_family(const GgufHeader& header, std::string_view file);

/// Whether llama.cpp's converter writes a base of this model_type as files of this architecture.
bool gguf_holds(std::string_view architecture, std::string_view model_type);

/// The text under a key of the metadata; empty where there is none or it is no text.
std::string gguf_text(const GgufHeader& header, std::string_view key);

}  // namespace mg
