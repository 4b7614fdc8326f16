#include "kernels/contract/compare.h"

#include <fmt/format.h>

#include <bit>
#include <cmath>

#include "kernels/core/error.h"

namespace mg::contract {
namespace {

/// Both NaN, or the same infinity.
bool same_kind(float x, float y) {
  return std::isnan(x) ? std::isnan(y) : x == y;
}

}  // namespace

Comparison compare(std::span<const float> expected, std::span<const float> actual,
                   std::span<const double> allowed) {
  MG_CHECK(expected.size() == actual.size() && expected.size() == allowed.size(),
           "as many elements expected as computed");
  Comparison result;
  result.elements = static_cast<std::int64_t>(expected.size());
  const auto note = [&](std::size_t i) {
    result.worst = static_cast<std::int64_t>(i);
    result.expected = static_cast<double>(expected[i]);
    result.actual = static_cast<double>(actual[i]);
    result.allowed = allowed[i];
  };
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (!std::isfinite(expected[i]) || !std::isfinite(actual[i])) {
      if (!same_kind(expected[i], actual[i])) {
        if (result.non_finite++ == 0) {
          note(i);
        }
      } else {
        ++result.same_bits;
      }
      continue;
    }
    result.same_bits +=
        std::bit_cast<std::uint32_t>(expected[i]) == std::bit_cast<std::uint32_t>(actual[i]) ? 1
                                                                                             : 0;
    const double error =
        std::fabs(static_cast<double>(actual[i]) - static_cast<double>(expected[i]));
    const bool near = error <= allowed[i];
    result.beyond += near ? 0 : 1;
    const double ratio = near && error == 0 ? 0.0 : error / allowed[i];
    if (!(ratio <= result.worst_ratio)) {
      result.worst_ratio = std::isnan(ratio) ? HUGE_VAL : ratio;
      if (result.non_finite == 0) {
        note(i);
      }
    }
  }
  return result;
}

std::string describe(const Comparison& c) {
  return fmt::format(
      "{} of {} elements too far, {} not finite as expected; worst at {}: {:.9g}, expected {:.9g}, "
      "allowed {:.3g}",
      c.beyond, c.elements, c.non_finite, c.worst, c.actual, c.expected, c.allowed);
}

}  // namespace mg::contract
