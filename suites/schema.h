// One line of a suite to one prompt, with every problem of the line named.  Private to suites.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "suites/suite.h"

namespace mg {

struct SchemaProblem {
  std::string code;  // without "suite."
  std::int64_t line = 0;
  std::string what;
  std::string expected;
  std::string actual;
  std::string hint;
};

/// The prompt of a line, or nothing after adding to `problems`.  `folder` resolves pixel_values
/// files.
std::optional<SuitePrompt> parse_prompt(std::string_view line_text, std::int64_t line,
                                        const std::filesystem::path& folder,
                                        std::vector<SchemaProblem>& problems);

}  // namespace mg
