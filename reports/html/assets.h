// The page's only style and only script, as texts of the program.  The page names their digests in
// its content-security policy, so that nothing else can style it or run in it; therefore no element
// carries a style attribute or an event handler.
#pragma once

#include <string_view>

namespace mg::html {

std::string_view page_style();
std::string_view page_script();

}  // namespace mg::html
