// SHA-256 of a text: the identity of a report.json in every view, and what a page's
// content-security policy names its own style and script by.
// Not for: files of a checkpoint (harness/io/digest.h).
#pragma once

#include <string>
#include <string_view>

namespace mg {

/// "sha256:" and 64 hexadecimal digits, as `sha256sum` gives them.
std::string text_digest(std::string_view text);

/// "sha256-" and base64, as a content-security policy takes it.
std::string policy_digest(std::string_view text);

}  // namespace mg
