// Quick suites from files that are no suites: a plain text, or a column of a CSV table.
#pragma once

#include <filesystem>
#include <string_view>

#include "suites/suite.h"

namespace mg {

/// One prompt a paragraph: paragraphs are what empty lines part.  Ids are "line-N", the line a
/// paragraph begins on.  Throws Error "suite.empty".
Suite parse_text_suite(std::string_view text, std::string_view name,
                       const std::filesystem::path& path);

/// One prompt a row of `column` (RFC 4180: quotes, doubled quotes, line breaks inside quotes).  The
/// first row holds the names; an empty `column` means the only one.  Ids are "row-N", from 1.
/// Throws Error "suite.csv", "suite.no-column", "suite.empty".
Suite parse_csv_suite(std::string_view text, std::string_view name,
                      const std::filesystem::path& path, std::string_view column);

}  // namespace mg
