// What every page has around its content: the head with the content-security policy, style and
// script.  Private to reports.
#pragma once

#include <string>
#include <string_view>

#include "reports/html/markup.h"

namespace mg::html {

/// A whole page; `body` stands inside <main>.
std::string whole_page(std::string_view title, const Markup& body);

}  // namespace mg::html
