// Two texts as a unified diff, for people to read before they agree to an edit.
#pragma once

#include <string>
#include <string_view>

namespace mg::lint {

/// Empty where the texts are equal.  `name` stands in the head lines.
std::string unified_diff(std::string_view before, std::string_view after, std::string_view name);

}  // namespace mg::lint
