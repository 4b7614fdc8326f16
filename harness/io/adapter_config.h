// adapter_config.json as PEFT's LoraConfig reads it, but without its silent defaults: a missing
// rank is an error, a key this reader does not know is listed.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "harness/io/adapter.h"

namespace mg {

/// `json` in the file's order of keys (rank_pattern depends on it).  Throws Error "adapter.config"
/// listing every key whose value cannot be used, or "adapter.peft-type" for an adapter that is no
/// LoRA.
AdapterConfig parse_adapter_config(const nlohmann::ordered_json& json, std::string_view file);

}  // namespace mg
