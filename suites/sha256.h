// The digest of a suite's text.  Private to suites.
#pragma once

#include <string>
#include <string_view>

namespace mg {

/// "sha256:" and 64 lower-case hex digits.
std::string text_digest(std::string_view text);

}  // namespace mg
