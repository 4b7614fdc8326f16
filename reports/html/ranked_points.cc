#include <algorithm>
#include <vector>

#include "reports/html/chart_parts.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr double kPointsHeight = 250.0;
constexpr Plot kPointsPlot{52.0, 24.0, kChartWidth - 24.0, kPointsHeight - 26.0};
constexpr std::size_t kNamed = 3;
constexpr std::size_t kPointNameColumns = 16;

}  // namespace

Markup ranked_points(std::string_view name, std::vector<RankedPoint> points,
                     const Yardsticks& yardsticks) {
  if (points.empty()) {
    return {};
  }
  std::stable_sort(
      points.begin(), points.end(),
      [](const RankedPoint& left, const RankedPoint& right) { return left.value < right.value; });
  std::vector<double> values;
  for (const RankedPoint& point : points) {
    values.push_back(point.value);
  }
  add_to_range(yardsticks, values);
  const Range decades = decades_around(values);
  const Scale y =
      Scale::logarithmic(decades.low, decades.high, kPointsPlot.bottom, kPointsPlot.top);
  const auto count = static_cast<double>(points.size());
  const Scale x = Scale::linear(-0.5, count - 0.5, kPointsPlot.left + 4.0, kPointsPlot.right);
  Markup content = yardsticks_along_y(y, kPointsPlot, yardsticks);
  content += vertical_axis(y, kPointsPlot, "nat");
  // One path for all points: thousands of prompts stay a small drawing.
  content.add("<path class={} d=\"", points.size() > 300 ? "dots-small" : "dots");
  for (std::size_t i = 0; i < points.size(); ++i) {
    content.add("M{} {}h0", x.at(static_cast<double>(i)), y.at(points[i].value));
  }
  content.add("\"/>\n");
  std::string largest = "largest: ";
  for (std::size_t i = 0; i < std::min(kNamed, points.size()); ++i) {
    largest += (i == 0 ? "" : ", ") +
               fit(printable(points[points.size() - 1 - i].name), kPointNameColumns);
  }
  content.add("<text class=mark x={} y={} text-anchor=end>{}</text>", kPointsPlot.right,
              kPointsPlot.top - 8.0, largest);
  content.add("<text class=unit x={} y={} text-anchor=end>prompts, smallest to largest</text>",
              kPointsPlot.right, kPointsPlot.bottom + 17.0);
  content.add("<path class=axis d=\"M{} {}H{}\"/>", kPointsPlot.left, kPointsPlot.bottom,
              kPointsPlot.right);
  return drawing(name, kChartWidth, kPointsHeight, content);
}

}  // namespace mg::html
