// Whether a JSON value fits a schema: the keywords of JSON Schema (draft 2020-12) that a scenario
// needs.  A keyword that is not known is an error when the schema is read, never ignored.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

namespace mg {

/// What is wrong with the schema itself ("at /properties/x: unknown keyword \"$ref\""), or nothing.
std::optional<std::string> schema_fault(const nlohmann::ordered_json& schema);

/// The first place where `value` does not fit ("/age: not an integer"), or nothing.  The schema has
/// no fault.
std::optional<std::string> schema_misfit(const nlohmann::ordered_json& schema,
                                         const nlohmann::ordered_json& value);

}  // namespace mg
