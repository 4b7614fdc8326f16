// What lists of JSON keys are written with (fields.h).  Private to reports/json.
#pragma once

#include <concepts>
#include <type_traits>

namespace mg::report_json {

/// A record to be written (const) or read.
template <typename Record, typename Plain>
concept Is = std::same_as<std::remove_const_t<Record>, Plain>;

}  // namespace mg::report_json
