#include <algorithm>
#include <cmath>
#include <vector>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/chart_parts.h"

namespace mg::html {
namespace {

constexpr double kStripWidth = 240.0;
constexpr double kStripHeight = 38.0;
constexpr double kMiddle = 14.0;
constexpr Plot kStripPlot{6.0, 3.0, 234.0, 24.0};

/// Quantities that cannot be negative spread over decades; signed ones and ratios around 1 do not.
bool is_logarithmic(const Verdict& verdict) {
  const bool around_one = verdict.limit && verdict.lower_limit;
  return !around_one &&
         (verdict.unit == "nat" || verdict.unit == "share" || verdict.unit == "ratio");
}

std::vector<double> numbers_of(const Verdict& verdict) {
  std::vector<double> values{*verdict.value};
  for (const std::optional<double>& one : {verdict.limit, verdict.lower_limit}) {
    if (one) {
      values.push_back(*one);
    }
  }
  if (verdict.floor && is_logarithmic(verdict)) {
    values.push_back(*verdict.floor);
  }
  if (const auto interval = gate_interval(verdict).interval) {
    values.push_back(interval->lower);
    values.push_back(interval->upper);
  }
  return values;
}

Scale scale_of(const Verdict& verdict) {
  const std::vector<double> values = numbers_of(verdict);
  if (is_logarithmic(verdict)) {
    const Range range = decades_around(values);
    return Scale::logarithmic(range.low, range.high, kStripPlot.left, kStripPlot.right);
  }
  const Range range = range_around(values);
  return Scale::linear(range.low, range.high, kStripPlot.left, kStripPlot.right);
}

Markup allowed_range(const Verdict& verdict, const Scale& x) {
  const double from = verdict.lower_limit ? x.at(*verdict.lower_limit) : kStripPlot.left;
  const double to = verdict.limit ? x.at(*verdict.limit) : kStripPlot.right;
  Markup out;
  out.add("<rect class=allowed x={} y={} width={} height={} />", from, kStripPlot.top,
          std::max(1.0, to - from), kStripPlot.bottom - kStripPlot.top);
  for (const std::optional<double>& limit : {verdict.lower_limit, verdict.limit}) {
    if (limit) {
      out.add("<path class=limit d=\"M{} {}V{}\"/>", x.at(*limit), kStripPlot.top - 2.0,
              kStripPlot.bottom + 2.0);
    }
  }
  return out;
}

Markup point(const Verdict& verdict, const Scale& x) {
  Markup out;
  if (const auto interval = gate_interval(verdict).interval) {
    out.add("<path class=whisker d=\"M{} {}H{}\"/>", x.at(interval->lower), kMiddle,
            x.at(interval->upper));
  }
  const double at = x.at(*verdict.value);
  // A failed value is a cross, an undecided one a ring: shapes, so that colour is not needed.
  if (verdict.status == GateStatus::kFail) {
    out.add("<path class=\"point bad\" d=\"M{} {}l8 8m0 -8l-8 8\"/>", at - 4.0, kMiddle - 4.0);
  } else {
    out.add("<circle class=\"point {}\" cx={} cy={} r=4.5 />",
            verdict.status == GateStatus::kPass ? "good" : "unsure", at, kMiddle);
  }
  return out;
}

std::string story(const Verdict& verdict) {
  std::string text = verdict.gate + ": " + format_value(verdict.value, verdict.unit);
  const std::string limit = limit_text(verdict);
  text += limit.empty() ? "" : ", " + limit;
  if (const auto interval = gate_interval(verdict).interval) {
    text += ", interval " + format_interval(interval, verdict.unit);
  }
  if (verdict.floor) {
    text += ", noise floor " + format_value(verdict.floor, verdict.unit);
  }
  return text;
}

}  // namespace

Markup gate_strip(const Verdict& verdict) {
  const bool drawable =
      verdict.value && std::isfinite(*verdict.value) && (verdict.limit || verdict.lower_limit);
  // A count that must be 0 and is, or a value whose limit is itself, has nothing to draw.
  if (!drawable || *verdict.value == verdict.limit) {
    return {};
  }
  const Scale x = scale_of(verdict);
  Markup content = allowed_range(verdict, x);
  if (verdict.floor && is_logarithmic(verdict)) {
    const double floor = x.at(*verdict.floor);
    content.add("<path class=floor d=\"M{} {}V{}\"/>", floor, kStripPlot.top, kStripPlot.bottom);
  }
  content += point(verdict, x);
  const std::string low = format_value(x.low(), verdict.unit == "share" ? "share" : "");
  const std::string high = format_value(x.high(), verdict.unit == "share" ? "share" : "");
  content.add("<text class=small x={} y={}>{}</text>", kStripPlot.left, kStripHeight - 1.0, low);
  content.add("<text class=small x={} y={} text-anchor=end>{}</text>", kStripPlot.right,
              kStripHeight - 1.0, high);
  return drawing(story(verdict), kStripWidth, kStripHeight, content);
}

}  // namespace mg::html
