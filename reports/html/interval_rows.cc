#include <algorithm>
#include <vector>

#include "reports/format.h"
#include "reports/html/chart_parts.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr double kIntervalRow = 22.0;
constexpr double kColumn = 7.0;  // of a name, in units of the drawing
constexpr std::size_t kIntervalNameColumns = 17;

}  // namespace

Markup interval_rows(std::string_view name, const std::vector<IntervalRow>& rows,
                     const Yardsticks& yardsticks) {
  if (rows.empty()) {
    return {};
  }
  std::size_t columns = 4;
  for (const IntervalRow& row : rows) {
    columns = std::clamp(display_width(row.name), columns, kIntervalNameColumns);
  }
  const double names = 14.0 + kColumn * static_cast<double>(columns);
  const Plot plot{names, 38.0, kChartWidth - 24.0,
                  38.0 + kIntervalRow * static_cast<double>(rows.size())};
  std::vector<double> values;
  for (const IntervalRow& row : rows) {
    values.push_back(row.value.value_or(0.0));
    if (row.interval) {
      values.push_back(row.interval->lower);
      values.push_back(row.interval->upper);
    }
  }
  add_to_range(yardsticks, values);
  const Range decades = decades_around(values);
  const Scale x = Scale::logarithmic(decades.low, decades.high, plot.left, plot.right);
  Markup content = yardsticks_along_x(x, plot, yardsticks);
  content += horizontal_axis(x, plot, "nat");
  double y = plot.top + kIntervalRow / 2.0;
  for (const IntervalRow& row : rows) {
    content.add("<text x={} y={} text-anchor=end>{}</text>", plot.left - 8.0, y + 4.0,
                fit(printable(row.name), kIntervalNameColumns));
    if (row.interval) {
      content.add("<path class=whisker d=\"M{} {}H{}\"/>", x.at(row.interval->lower), y,
                  x.at(row.interval->upper));
    }
    if (row.value) {
      content.add("<circle class=point cx={} cy={} r=4 />", x.at(*row.value), y);
    } else {
      content.add("<text class=mark x={} y={}>no number</text>", plot.left + 5.0, y + 4.0);
    }
    y += kIntervalRow;
  }
  return drawing(name, kChartWidth, plot.bottom + 34.0, content);
}

}  // namespace mg::html
