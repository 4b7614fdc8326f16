#include <algorithm>
#include <vector>

#include "reports/html/chart_parts.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr double kBarRow = 26.0;
constexpr double kNames = 150.0;
constexpr double kTexts = 78.0;

}  // namespace

Markup bars(std::string_view name, const std::vector<Bar>& input) {
  if (input.empty()) {
    return {};
  }
  double most = 0.0;
  for (const Bar& bar : input) {
    most = std::max({most, bar.value, bar.interval ? bar.interval->upper : 0.0});
  }
  const Plot plot{kNames, 6.0, kChartWidth - kTexts,
                  6.0 + kBarRow * static_cast<double>(input.size())};
  const Scale x = Scale::linear(0.0, most > 0.0 ? most : 1.0, plot.left, plot.right);
  Markup content;
  double y = plot.top;
  for (const Bar& bar : input) {
    content.add("<text x={} y={} text-anchor=end>{}</text>", plot.left - 8.0, y + 17.0,
                fit(printable(bar.name), 22));
    content.add("<rect class=series{} x={} y={} width={} height={} />", bar.series % 3, plot.left,
                y + 4.0, std::max(0.5, x.at(bar.value) - plot.left), kBarRow - 9.0);
    double end = x.at(bar.value);
    if (bar.interval) {
      const double to = x.at(bar.interval->upper);
      content.add("<path class=whisker d=\"M{} {}H{}\"/>", x.at(bar.interval->lower), y + 12.5, to);
      end = std::max(end, to);
    }
    content.add("<text x={} y={}>{}</text>\n", end + 6.0, y + 17.0, bar.text);
    y += kBarRow;
  }
  content.add("<path class=axis d=\"M{} {}V{}\"/>", plot.left, plot.top, plot.bottom);
  return drawing(name, kChartWidth, plot.bottom + 6.0, content);
}

}  // namespace mg::html
