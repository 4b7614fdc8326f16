// From the value of --suite to a suite: a built-in name, a JSONL file or a folder with one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "suites/suite.h"

namespace mg {

/// Loads one suite.  `value` is a built-in name, a file (read_suite_file; "table.csv:column" for a
/// column), or a folder that holds suite.jsonl or else exactly one *.jsonl file.
/// Built-in names win: a folder called smoke is "./smoke".
/// `limits` shape generated suites; files are not checked against them (check_limits does, after
/// tokenizing). A suite in a folder takes the folder's name.  Throws Error "suite.unknown",
/// "suite.folder" and what read_suite_file throws.
Suite load_suite(std::string_view value, const ModelLimits& limits);

}  // namespace mg
