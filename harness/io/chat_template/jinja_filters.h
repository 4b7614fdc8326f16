// The two halves of the filter table: jinja_text_filters.cc (texts and single values) and
// jinja_list_filters.cc (sequences).
#pragma once

#include <string_view>

#include "harness/io/chat_template/jinja_value.h"

namespace mg::jinja {

Native find_text_filter(std::string_view name);
Native find_list_filter(std::string_view name);

}  // namespace mg::jinja
