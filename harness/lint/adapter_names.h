// Adapter keys of another library version, mapped to the base's modules where that is certain
// (F33).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "harness/lint/context.h"

namespace mg::lint {

/// New names for the pairs that `names` are of, all of them or nothing: each must lead to exactly
/// one module of the base that its shape fits, and to no name that is taken.
std::optional<std::map<std::string, std::string>> adapter_renames(
    const Context& context, const std::vector<std::string>& names);

}  // namespace mg::lint
