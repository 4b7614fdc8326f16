#include <algorithm>
#include <vector>

#include "reports/html/chart_parts.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr double kDriftWidth = 2.0 * kChartWidth;
constexpr double kDriftHeight = 300.0;
constexpr Plot kDriftPlot{56.0, 40.0, kDriftWidth - 16.0, kDriftHeight - 34.0};

/// A line through the points that have a number; a gap where one has none.
Markup line(const std::vector<DriftPoint>& points, std::optional<double> DriftPoint::*member,
            const Scale& x, const Scale& y, Markup opening) {
  Markup out = std::move(opening);
  bool drawing_line = false;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const std::optional<double>& value = points[i].*member;
    if (!value) {
      drawing_line = false;
      continue;
    }
    out.add("{}{} {}", drawing_line ? "L" : "M", x.at(static_cast<double>(i)), y.at(*value));
    drawing_line = true;
  }
  return out.add("\"/>\n");
}

Markup names_below(const std::vector<DriftPoint>& points, const Scale& x) {
  constexpr std::size_t kMostNames = 12;
  const std::size_t every = std::max<std::size_t>(1, (points.size() + kMostNames - 1) / kMostNames);
  Markup out;
  for (std::size_t i = 0; i < points.size(); i += every) {
    out.add("<text x={} y={} text-anchor=middle>{}</text>", x.at(static_cast<double>(i)),
            kDriftPlot.bottom + 16.0, fit(printable(points[i].name), 12));
  }
  return out;
}

Markup marks(const std::vector<DriftPoint>& points, const Scale& x, const Scale& y) {
  Markup out;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const DriftPoint& point = points[i];
    const double at = x.at(static_cast<double>(i));
    if (point.non_finite) {
      out.add("<text class=\"mark bad\" x={} y={} text-anchor=middle>NaN</text>", at,
              kDriftPlot.top + 10.0);
    }
    if (point.culprit) {
      out.add("<path class=culprit d=\"M{} {}V{}\"/>", at, kDriftPlot.top, kDriftPlot.bottom);
      const bool left = at > (kDriftPlot.left + kDriftPlot.right) / 2.0;
      out.add("<text class=\"mark strong\" x={} y={} text-anchor={}>begins here: {}</text>",
              left ? at - 6.0 : at + 6.0, kDriftPlot.top + 12.0, left ? "end" : "start",
              point.name);
      if (point.forced) {
        out.add("<circle class=ring cx={} cy={} r=7 />", at, y.at(*point.forced));
      }
    }
  }
  return out;
}

}  // namespace

Markup drift_lines(std::string_view name, const std::vector<DriftPoint>& points) {
  if (points.empty()) {
    return {};
  }
  std::vector<double> values;
  for (const DriftPoint& point : points) {
    values.push_back(point.free.value_or(0.0));
    values.push_back(point.forced.value_or(0.0));
  }
  const Range decades = decades_around(values);
  const Scale y = Scale::logarithmic(decades.low, decades.high, kDriftPlot.bottom, kDriftPlot.top);
  const auto last = static_cast<double>(points.size()) - 0.5;
  const Scale x = Scale::linear(-0.5, last, kDriftPlot.left, kDriftPlot.right);
  Markup content = vertical_axis(y, kDriftPlot, "relative");
  content += names_below(points, x);
  content += line(points, &DriftPoint::free, x, y, markup("<path class=\"line first\" d=\""));
  content += line(points, &DriftPoint::forced, x, y, markup("<path class=\"line second\" d=\""));
  content += line(points, &DriftPoint::forced, x, y, markup("<path class=\"beads second\" d=\""));
  content += marks(points, x, y);
  content.add(
      "<path class=\"line first\" d=\"M250 12h30\"/><text x=286 y=16>free: errors add up</text>"
      "<path class=\"line second\" d=\"M440 12h30\"/><text x=476 y=16>forced: each part "
      "alone</text>");
  content.add("<path class=axis d=\"M{} {}H{}\"/>", kDriftPlot.left, kDriftPlot.bottom,
              kDriftPlot.right);
  return drawing(name, kDriftWidth, kDriftHeight, content);
}

}  // namespace mg::html
