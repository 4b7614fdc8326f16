// Adapter keys of another library version, mapped to the base's modules where that is certain
// (F33).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/lint/context.h"

namespace mg::lint {

/// What PEFT's wrapping puts before every module's name.
inline constexpr std::string_view kPeftPrefix = "base_model.model.";

/// New names for the pairs that `names` are of, all of them or nothing: each must lead to exactly
/// one module of the base that its shape fits, and to no name that is taken.
std::optional<std::map<std::string, std::string>> adapter_renames(
    const Context& context, const std::vector<std::string>& names);

}  // namespace mg::lint
