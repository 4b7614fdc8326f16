#include "reports/format.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace mg {
namespace {

constexpr int kDigits = 3;

/// Removes zeros behind a decimal point.
std::string without_trailing_zeros(std::string text) {
  if (text.find('.') != std::string::npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') {
      text.pop_back();
    }
  }
  return text;
}

/// "2.60e-06" -> "2.6e-6".
std::string scientific(double value, int digits) {
  const std::string text = fmt::format("{:.{}e}", value, digits - 1);
  const std::size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  return fmt::format("{}e{}", without_trailing_zeros(text.substr(0, e)), exponent);
}

/// Decimals that show two digits of `distance`, the distance to a number that matters (1 or 100 %).
int decimals_for(double distance, int fewest, int most) {
  if (distance <= 0.0) {
    return fewest;
  }
  const int decimals = 1 - static_cast<int>(std::floor(std::log10(distance)));
  return std::clamp(decimals, fewest, most);
}

std::string plain(double value, double important, int digits) {
  const double magnitude = std::fabs(value);
  const int fewest = std::max(0, digits - 1 - static_cast<int>(std::floor(std::log10(magnitude))));
  const double distance = std::fabs(magnitude - important);
  const bool close = distance < 0.1 * important;
  const int decimals = close ? decimals_for(distance, fewest, 12) : fewest;
  return without_trailing_zeros(fmt::format("{:.{}f}", value, decimals));
}

std::string with_unit(std::string number, std::string_view unit) {
  if (!unit.empty() && unit != "ratio") {
    number += ' ';
    number += unit;
  }
  return number;
}

/// The boundaries of the scientific form lie where rounding to three digits would cross them.
bool needs_exponent(double magnitude) {
  return magnitude < 0.0009995 || magnitude >= 99950.0;
}

std::string number_text(double value, int digits) {
  if (!std::isfinite(value)) {
    return "not finite";
  }
  if (value == 0.0) {
    return "0";
  }
  return needs_exponent(std::fabs(value)) ? scientific(value, digits) : plain(value, 1.0, digits);
}

std::string percent_text(double share, int digits) {
  if (!std::isfinite(share)) {
    return "not finite";
  }
  const double percent = share * 100.0;
  const double magnitude = std::fabs(percent);
  std::string text;
  if (percent == 0.0) {
    text = "0";
  } else if (magnitude > 90.0 && magnitude < 100.0) {
    // The distance to 100 % is taken from the share, whose subtraction is exact near 1.
    const int decimals = decimals_for(100.0 * (1.0 - std::fabs(share)), digits - 2, 12);
    text = without_trailing_zeros(fmt::format("{:.{}f}", percent, decimals));
  } else {
    text = needs_exponent(magnitude) ? scientific(percent, digits) : plain(percent, 100.0, digits);
  }
  return text + " %";
}

/// One end of an interval, without its unit.
std::string end_text(double value, std::string_view unit, int digits) {
  if (std::isinf(value)) {
    return value > 0.0 ? "inf" : "-inf";
  }
  return unit == "share" ? percent_text(value, digits) : number_text(value, digits);
}

}  // namespace

std::string format_number(double value) {
  return number_text(value, kDigits);
}

std::string format_percent(double share) {
  return percent_text(share, kDigits);
}

std::string format_count(std::int64_t count) {
  std::string digits = fmt::format("{}", count);
  const std::ptrdiff_t first = digits.front() == '-' ? 1 : 0;
  for (std::ptrdiff_t at = std::ssize(digits) - 3; at > first; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), 1, ',');
  }
  return digits;
}

std::string format_plural(std::int64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", format_count(count), noun, count == 1 ? "" : "s");
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr std::array<std::string_view, 6> kUnits{"B", "kB", "MB", "GB", "TB", "PB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 999.5 && unit + 1 < kUnits.size()) {
    value /= 1000.0;
    ++unit;
  }
  const int decimals = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  const std::string number = fmt::format("{:.{}f}", value, decimals);
  return fmt::format("{} {}", without_trailing_zeros(number), kUnits[unit]);
}

std::string format_seconds(double seconds) {
  if (!(seconds >= 0.0) || !std::isfinite(seconds)) {
    return "-";
  }
  if (seconds < 0.0995) {
    return fmt::format("{:.0f} ms", seconds * 1000.0);
  }
  if (seconds < 99.5) {
    const int decimals = seconds < 0.995 ? 2 : seconds < 9.95 ? 2 : 1;
    return without_trailing_zeros(fmt::format("{:.{}f}", seconds, decimals)) + " s";
  }
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  return whole < 3600 ? fmt::format("{} min {} s", whole / 60, whole % 60)
                      : fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string format_value(double value, std::string_view unit) {
  return unit == "share" ? format_percent(value) : with_unit(format_number(value), unit);
}

std::string format_value(const std::optional<double>& value, std::string_view unit) {
  return value ? format_value(*value, unit) : "-";
}

std::string format_interval(const std::optional<Interval>& interval, std::string_view unit) {
  if (!interval) {
    return "-";
  }
  // A narrow interval takes as many digits as tell its ends apart.
  constexpr int kMostDigits = 9;
  for (int digits = kDigits;; ++digits) {
    const std::string lower = end_text(interval->lower, unit, digits);
    const std::string upper = end_text(interval->upper, unit, digits);
    if (lower != upper || interval->lower == interval->upper || digits == kMostDigits) {
      return fmt::format("[{}, {}]", lower, upper);
    }
  }
}

}  // namespace mg
