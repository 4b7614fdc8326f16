#include <algorithm>
#include <vector>

#include "reports/html/chart_parts.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr double kWidth = 2.0 * kChartWidth;
constexpr double kHeight = 300.0;
constexpr Plot kPlot{56.0, 40.0, kWidth - 16.0, kHeight - 34.0};

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
            kPlot.bottom + 16.0, fit(printable(points[i].name), 12));
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
              kPlot.top + 10.0);
    }
    if (point.culprit) {
      out.add("<path class=culprit d=\"M{} {}V{}\"/>", at, kPlot.top, kPlot.bottom);
      const bool left = at > (kPlot.left + kPlot.right) / 2.0;
      out.add("<text class=\"mark strong\" x={} y={} text-anchor={}>begins here: {}</text>",
              left ? at - 6.0 : at + 6.0, kPlot.top + 12.0, left ? "end" : "start", point.name);
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
  const Scale y = Scale::logarithmic(decades.low, decades.high, kPlot.bottom, kPlot.top);
  const auto last = static_cast<double>(points.size()) - 0.5;
  const Scale x = Scale::linear(-0.5, last, kPlot.left, kPlot.right);
  Markup content = vertical_axis(y, kPlot, "relative");
  content += names_below(points, x);
  content += line(points, &DriftPoint::free, x, y, markup("<path class=\"line first\" d=\""));
  content += line(points, &DriftPoint::forced, x, y, markup("<path class=\"line second\" d=\""));
  content += line(points, &DriftPoint::forced, x, y, markup("<path class=\"beads second\" d=\""));
  content += marks(points, x, y);
  content.add(
      "<path class=\"line first\" d=\"M250 12h30\"/><text x=286 y=16>free: errors add up</text>"
      "<path class=\"line second\" d=\"M440 12h30\"/><text x=476 y=16>forced: each part "
      "alone</text>");
  content.add("<path class=axis d=\"M{} {}H{}\"/>", kPlot.left, kPlot.bottom, kPlot.right);
  return drawing(name, kWidth, kHeight, content);
}

}  // namespace mg::html
