// JSON files of a model folder, read strictly, with errors a person can act on.
// Accepted: RFC 8259 in UTF-8, and the literals NaN, Infinity and -Infinity, which Python's json
// module writes and reads (Mamba configs hold "time_step_limit": [0.0, Infinity]).  Refused
// although Python reads it: a key given twice in one object (readers differ in which one wins) and
// nesting deeper than 256. Not for: safetensors headers (safetensors.h), whose rules are those of
// another parser.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace mg {

/// Parses `text`; `file` names it in errors.  Throws Error "json.syntax" (line and column),
/// "json.duplicate-key" (path of the key), "json.too-deep", "json.byte-order-mark",
/// "json.encoding".
nlohmann::json parse_json(std::string_view text, std::string_view file);

/// The same with the keys of objects in the file's order.
nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view file);

/// Reads and parses a JSON file; throws as parse_json, and Error "file.*" as MappedFile.
nlohmann::json read_json(const std::filesystem::path& path);

/// The whole of a small text file.  Throws Error "file.*"; "file.too-large" above 1 GiB.
std::string read_text(const std::filesystem::path& path);

/// What a JSON value is, for messages: "a string", "a list", "null", ...
std::string_view json_kind(const nlohmann::json& value);
std::string_view json_kind(const nlohmann::ordered_json& value);

/// The part of nlohmann's parse error that a user can read: without its library prefix and
/// position.
std::string json_error_detail(std::string_view message);

}  // namespace mg
