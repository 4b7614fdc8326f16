// Names of character properties in the reference library's expressions, as items of a PCRE2
// character class. Part of regex_syntax.cc.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace mg {

/// Class items (what stands between brackets) for the name in \p{name} or [:name:]; nothing when
/// the name has no meaning here.  A name that is neither a general category nor a POSIX class is
/// taken for a script; PCRE2 refuses the unknown ones.
std::optional<std::string> property_items(std::string_view name);

/// The same for [:name:], which knows no categories and no scripts.
std::optional<std::string> posix_items(std::string_view name);

/// \w as class items: Oniguruma counts letters, marks, decimal digits and connectors.
inline constexpr std::string_view kWordItems = R"(\p{Alphabetic}\p{M}\p{Nd}\p{Pc})";

}  // namespace mg
