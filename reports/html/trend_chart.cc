#include <algorithm>
#include <cmath>
#include <vector>

#include "reports/html/chart_parts.h"

namespace mg::html {
namespace {

constexpr double kTrendWidth = 2.0 * kChartWidth;
constexpr double kTrendHeight = 310.0;
// Room above for two rows of step labels, which a limit's label at the top must not meet.
constexpr Plot kTrendPlot{64.0, 54.0, kTrendWidth - 20.0, kTrendHeight - 34.0};
constexpr double kStepRow = 16.0;

Scale scale_of(const std::vector<TrendPoint>& points, const Yardsticks& yardsticks) {
  std::vector<double> values;
  bool positive = true;
  for (const TrendPoint& point : points) {
    values.push_back(point.value);
    positive &= point.value > 0.0;
    if (point.interval) {
      values.push_back(point.interval->lower);
      values.push_back(point.interval->upper);
    }
  }
  add_to_range(yardsticks, values);
  const Range range = positive ? decades_around(values) : range_around(values);
  return positive ? Scale::logarithmic(range.low, range.high, kTrendPlot.bottom, kTrendPlot.top)
                  : Scale::linear(range.low, range.high, kTrendPlot.bottom, kTrendPlot.top);
}

Markup run_mark(const TrendPoint& point, double at, const Scale& y) {
  Markup out;
  if (point.interval) {
    out.add("<path class=whisker d=\"M{} {}V{}\"/>", at, y.at(point.interval->lower),
            y.at(point.interval->upper));
  }
  if (point.status == "pass") {
    return out.add("<circle class=\"point good\" cx={} cy={} r=4 />\n", at, y.at(point.value));
  }
  if (point.status == "fail") {
    return out.add("<path class=\"point bad\" d=\"M{} {}l8 8m0 -8l-8 8\"/>\n", at - 4.0,
                   y.at(point.value) - 4.0);
  }
  return out.add("<circle class=\"point unsure\" cx={} cy={} r=4 />\n", at, y.at(point.value));
}

}  // namespace

Markup trend_chart(std::string_view name, const std::vector<TrendPoint>& points,
                   const Yardsticks& yardsticks) {
  if (points.empty()) {
    return {};
  }
  const Scale y = scale_of(points, yardsticks);
  const auto count = static_cast<double>(points.size());
  const Scale x = Scale::linear(0.5, count + 0.5, kTrendPlot.left, kTrendPlot.right);
  Markup content = yardsticks_along_y(y, kTrendPlot, yardsticks);
  content += vertical_axis(y, kTrendPlot, "");
  const std::size_t every = std::max<std::size_t>(1, (points.size() + 14) / 15);
  std::size_t steps = 0;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const double at = x.at(static_cast<double>(i + 1));
    if (i % every == 0) {
      content.add("<text x={} y={} text-anchor=middle>{}</text>", at, kTrendPlot.bottom + 16.0,
                  i + 1);
    }
    if (points[i].step) {
      const double edge = x.at(static_cast<double>(i) + 0.5);
      const double row = kTrendPlot.top - 22.0 - (steps++ % 2 == 0 ? 0.0 : kStepRow);
      content.add("<path class=culprit d=\"M{} {}V{}\"/>", edge, row + 3.0, kTrendPlot.bottom);
      content.add("<text class=\"mark strong\" x={} y={} text-anchor={}>step at run {}</text>",
                  edge, row, edge > (kTrendPlot.left + kTrendPlot.right) / 2.0 ? "end" : "start",
                  i + 1);
    }
    if (points[i].marked) {
      content.add("<path class=axis d=\"M{} {}v6\"/>", at, kTrendPlot.bottom);
    }
    content += run_mark(points[i], at, y);
  }
  content.add("<text class=unit x={} y={} text-anchor=end>run</text>", kTrendPlot.right,
              kTrendPlot.bottom + 30.0);
  content.add("<path class=axis d=\"M{} {}H{}\"/>", kTrendPlot.left, kTrendPlot.bottom,
              kTrendPlot.right);
  return drawing(name, kTrendWidth, kTrendHeight, content);
}

}  // namespace mg::html
