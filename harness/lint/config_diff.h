// How merged's JSON files differ from base's, key by key, and what a difference means: the
// provenance that a report keeps and `mergegauge diff` shows.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>
#include <vector>

#include "harness/lint/context.h"
#include "harness/result/report.h"

namespace mg::lint {

/// Whether two configs describe the same computation, however they spell it.
bool same_arithmetic(const ModelConfig& left, const ModelConfig& right);

/// Every leaf of config.json, generation_config.json, the tokenizer's and processor's configs and
/// the chat template that differs, classed: "expected" (a version, a name, another spelling of the
/// same setting), "suspicious" (may matter to users) or "breaking" (changes what is computed or
/// whether it loads).
std::vector<ConfigDifference> config_differences(const ModelFolder& base,
                                                 const ModelFolder& merged);

/// Keys of config.json that decide what is computed.
bool changes_arithmetic(std::string_view key);
/// Keys of the rotary embedding, which belong together.
bool is_rope_key(std::string_view key);

}  // namespace mg::lint
