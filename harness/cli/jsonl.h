// JSON lines on standard input, for the commands that work line by line.
#pragma once

#include <functional>
#include <iosfwd>
#include <nlohmann/json_fwd.hpp>

namespace mg {

/// Calls `use` with the object on each line of `in`; empty lines are skipped.
/// Throws Error "jsonl.*" and "json.*" naming the line.
void each_json_line(std::istream& in,
                    const std::function<void(const nlohmann::ordered_json&)>& use);

/// Writes one line and flushes it, so that a program at the other end of a pipe gets its answer.
void write_json_line(std::ostream& out, const nlohmann::ordered_json& json);

}  // namespace mg
