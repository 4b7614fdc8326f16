// Many problems of one kind in one error message.
#pragma once

#include <span>
#include <string>

namespace mg {

/// One problem: itself.  Several: a count, then one indented line each, at most `limit` of them and
/// then "and N more".
std::string list_problems(std::span<const std::string> problems, std::size_t limit = 20);

}  // namespace mg
