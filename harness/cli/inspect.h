// The two views of what inspect found.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "harness/cli/inspect_facts.h"
#include "harness/cli/terminal.h"

namespace mg {

/// One screen; the first line is the verdict.
std::string inspect_text(const FolderFacts& facts, const Terminal& terminal);

/// {"schema": "mergegauge.inspect/1", "checkpoint": {...} or null, "adapter": {...} or null}
nlohmann::ordered_json inspect_json(const FolderFacts& facts);

/// "494.0M", "1.24B"
std::string short_count(std::int64_t count);
/// "988.1 MB" (10^6 bytes)
std::string short_bytes(std::uint64_t bytes);

}  // namespace mg
