// How merged's JSON files differ from base's, key by key, and what the differences and unread keys
// mean.
#pragma once

#include <string>
#include <vector>

#include "harness/result/finding.h"
#include "harness/result/report.h"
#include "harness/run/models.h"

namespace mg {

/// Every leaf of config.json, generation_config.json, tokenizer_config.json,
/// special_tokens_map.json and preprocessor_config.json that differs, classed: "expected" (a
/// version, a name, another spelling of the same setting), "suspicious" (may matter to users) or
/// "breaking" (changes what is computed or whether it loads).
std::vector<ConfigDifference> config_differences(const OpenModel& base, const OpenModel& merged);

/// Whether two configs describe the same computation, however they spell it.
bool same_arithmetic(const ModelConfig& left, const ModelConfig& right);

/// Findings of DESIGN.md section 6: keys that were not read (a computation may be missing), a
/// config that changes the computation (F48), a quantization_config beside plain weights (F01).
/// `accepted`: keys declared harmless.
std::vector<Finding> config_findings(const OpenModel& base, const OpenModel& merged,
                                     const std::vector<std::string>& accepted);

}  // namespace mg
