// Reads a suite: JSON Lines in UTF-8, one prompt a line (the format is described in
// suites/README.md). Not for: choosing a suite by name (load.h) or checking it against a model
// (suite.h check_limits).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "suites/suite.h"

namespace mg {

/// Reads `path` by its extension: .txt and .md as paragraphs, .csv as the column (plain.h),
/// anything else as JSON lines.  The name is the file's stem.  Throws Error "suite.unreadable" and
/// what the format's parser throws.
Suite read_suite_file(const std::filesystem::path& path, std::string_view column = {});

/// Parses the text of a suite; `path` is for messages and resolves pixel_values files.  All
/// problems of the first kind found are reported together with their line numbers.  Throws Error
///   suite.json             a line is not one JSON object, or repeats a key
///   suite.unknown-key      a key the format does not have
///   suite.missing-key      no id; none or several of input_ids, text, messages; half of an image
///   suite.wrong-type       a value of another type or sign than the format's
///   suite.out-of-prompt    a completion or span outside its prompt
///   suite.duplicate-id     two prompts with one id
///   suite.empty            no prompt at all
Suite parse_suite(std::string_view text, std::string_view name, const std::filesystem::path& path);

}  // namespace mg
