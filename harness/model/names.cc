#include "harness/model/names.h"

#include <array>
#include <utility>

namespace mg {
namespace {

// Wrappers that put their name into the middle of a path as well (F14).
constexpr auto kWrappers = std::to_array<std::string_view>(
    {"_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."});

// At the start only.  "module." (DDP, DeepSpeed) is a plausible name further inside.
constexpr auto kPrefixes = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"base_model.model.", ""},
    {"module.", ""},
    // VLM generations (F15), to the flat one.
    {"model.language_model.lm_head.", "lm_head."},
    {"language_model.lm_head.", "lm_head."},
    {"model.language_model.model.", "model."},
    {"language_model.model.", "model."},
    {"model.language_model.", "model."},
    {"language_model.", "model."},
    {"model.visual.", "visual."},
    {"model.vision_tower.", "vision_tower."},
    // transformers 5 leaves out SigLIP's inner level.
    {"vision_tower.vision_model.", "vision_tower."},
    // MiniCPM-V keeps a whole causal model under this name (vLLM: minicpmv.py).
    {"llm.", ""},
    {"vpm.", "vision_tower."},
    {"model.vision_model.", "vision_model."},
    {"model.multi_modal_projector.", "multi_modal_projector."},
});

// PEFT's wrapper of a layer in the state dict of a wrapped model (F13).
constexpr std::string_view kBaseLayer = ".base_layer";

bool is_component_end(std::string_view name, std::size_t at) {
  return at == name.size() || name[at] == '.';
}

bool step(std::string& name) {
  for (const std::string_view wrapper : kWrappers) {
    std::size_t at = name.find(wrapper);
    while (at != std::string::npos && at != 0 && name[at - 1] != '.') {
      at = name.find(wrapper, at + 1);
    }
    if (at != std::string::npos && name.size() > wrapper.size()) {
      name.erase(at, wrapper.size());
      return true;
    }
  }
  for (const auto& [prefix, replacement] : kPrefixes) {
    if (name.size() > prefix.size() && name.starts_with(prefix)) {
      name.replace(0, prefix.size(), replacement);
      return true;
    }
  }
  for (std::size_t at = name.find(kBaseLayer); at != std::string::npos;
       at = name.find(kBaseLayer, at + 1)) {
    if (is_component_end(name, at + kBaseLayer.size())) {
      name.erase(at, kBaseLayer.size());
      return true;
    }
  }
  return false;
}

}  // namespace

std::string canonical_name(std::string_view name) {
  std::string result(name);
  while (step(result)) {
    // Each step shortens the name, so this ends; at the fixed point the function is idempotent.
  }
  return result;
}

}  // namespace mg
