// What a tensor of an adapter file is, read from its name alone.  Forms written by PEFT 0.2 to
// 0.21, with and without the adapter's name inside.  Internal to harness/io; users see
// AdapterModule and AdapterReplacement.
#pragma once

#include <string>
#include <string_view>

namespace mg {

enum class AdapterPart {
  kA,            // X.lora_A[.NAME].weight, X.lora_embedding_A[.NAME]
  kB,            // X.lora_B[.NAME].weight, X.lora_embedding_B[.NAME]
  kBias,         // X.lora_B[.NAME].bias
  kMagnitude,    // X.lora_magnitude_vector[.NAME][.weight]
  kReplacement,  // X.weight; X.modules_to_save[.NAME].weight
  kWrapped,      // X.base_layer.weight: the base's own tensor, saved beside the adapter
  kOriginal,     // X.original_module.weight: what modules_to_save replaced
  kTokenRows,    // X.token_adapter.trainable_tokens_delta[.NAME]
  kUnrecognised,
};

struct AdapterName {
  AdapterPart part = AdapterPart::kUnrecognised;
  std::string module;        // X without PEFT's wrapping; for replaced and wrapped tensors with the
                             // parameter: "lm_head.weight"
  std::string adapter_name;  // NAME, or empty
  bool embedding = false;    // lora_embedding_*
  int nesting = 0;  // "base_layer" components before the marker: nested wraps of target_parameters
};

/// Reads a tensor's name.  `adapter_name` is the NAME that modules_to_save may carry; of the other
/// forms any is taken. Without the prefix "base_model.model." PEFT's own loader ignores a tensor,
/// so it is unrecognised here.
AdapterName read_adapter_name(std::string_view name, std::string_view adapter_name = "default");

}  // namespace mg
