// Numbers as people read them: the same text for the same number in every view.
// Not for: report.json, which keeps every digit (json/).  Tested in tests/reports/format_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "harness/result/metric.h"

namespace mg {

/// Three significant digits, more where the number is close to 1 ("1.00012", "0.99999"); scientific
/// below 0.001 and from 100,000 on ("2.6e-6"); "not finite" for NaN and infinity.
std::string format_number(double value);

/// A share as a percentage: 0.00041 -> "0.041 %", 0.99997 -> "99.997 %".
std::string format_percent(double share);

/// 3072 -> "3,072".
std::string format_count(std::int64_t count);

/// "1 prompt", "3,072 prompts".
std::string format_plural(std::int64_t count, std::string_view noun);

/// SI bytes: 760000000 -> "760 MB".
std::string format_bytes(std::uint64_t bytes);

/// 0.0123 -> "12 ms", 12.3 -> "12.3 s", 252 -> "4 min 12 s".
std::string format_seconds(double seconds);

/// A value in the unit of a Verdict or metric: "share" as a percentage, "ratio" and "" bare, any
/// other unit behind the number.
std::string format_value(double value, std::string_view unit);

/// The same for what may be absent: "-".
std::string format_value(const std::optional<double>& value, std::string_view unit);

/// "[2.1e-6, 3.2e-6]"; percentages for shares; the unit is left out.  "-" where there is none.
std::string format_interval(const std::optional<Interval>& interval, std::string_view unit);

}  // namespace mg
