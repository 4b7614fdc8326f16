#include <algorithm>
#include <cmath>
#include <vector>

#include "reports/format.h"
#include "reports/html/chart_parts.h"

namespace mg::html {
namespace {

constexpr double kHistogramHeight = 250.0;
constexpr Plot kHistogramPlot{48.0, 42.0, kChartWidth - 24.0, kHistogramHeight - 36.0};

struct Bounds {
  std::size_t first = 0;
  std::size_t last = 0;  // one behind the last bin with rows
};

Bounds filled(const std::vector<HistogramInput::Bin>& bins) {
  Bounds bounds{bins.size(), 0};
  for (std::size_t i = 0; i < bins.size(); ++i) {
    if (bins[i].rows > 0) {
      bounds.first = std::min(bounds.first, i);
      bounds.last = i + 1;
    }
  }
  return bounds;
}

/// The finite ends of the bins; the first bin begins at 0 and the last may have no end, so that
/// both get the width of a bin beside them.
Range ends(const std::vector<HistogramInput::Bin>& bins, const Bounds& shown) {
  const auto& first = bins[shown.first];
  const auto& last = bins[shown.last - 1];
  const double low = first.from > 0.0 ? first.from : first.to / std::sqrt(10.0);
  const double high = last.to < 1e300 ? last.to : last.from * std::sqrt(10.0);
  return {low, high};
}

}  // namespace

Markup histogram(const HistogramInput& input) {
  const Bounds shown = filled(input.bins);
  if (shown.first >= shown.last) {
    return {};
  }
  const Range bounds = ends(input.bins, shown);
  std::vector<double> values{bounds.low, bounds.high};
  add_to_range(input.yardsticks, values);
  const Range decades = decades_around(values);
  const Scale x =
      Scale::logarithmic(decades.low, decades.high, kHistogramPlot.left, kHistogramPlot.right);
  std::int64_t most = 1;
  for (const HistogramInput::Bin& bin : input.bins) {
    most = std::max(most, bin.rows);
  }
  const Scale y = Scale::linear(0.0, static_cast<double>(most) * 1.05, kHistogramPlot.bottom,
                                kHistogramPlot.top);
  Markup content = yardsticks_along_x(x, kHistogramPlot, input.yardsticks);
  content += vertical_axis(y, kHistogramPlot, "rows");
  for (std::size_t i = shown.first; i < shown.last; ++i) {
    const HistogramInput::Bin& bin = input.bins[i];
    const double from = x.at(std::max(bin.from, bounds.low));
    const double to = x.at(std::min(bin.to, bounds.high));
    const double top = y.at(static_cast<double>(bin.rows));
    if (bin.rows > 0) {
      content.add("<rect class=bar x={} y={} width={} height={} />", from + 0.5, top,
                  std::max(0.5, to - from - 1.0), kHistogramPlot.bottom - top);
    }
  }
  if (input.mean && *input.mean > 0.0) {
    const double at = x.at(*input.mean);
    content.add("<path class=mean d=\"M{} {}l5 8h-10z\"/>", at, kHistogramPlot.bottom + 1.0);
    content.add("<text class=mark x={} y={} text-anchor=middle>mean</text>", at,
                kHistogramPlot.bottom + 30.0);
  }
  content += horizontal_axis(x, kHistogramPlot, "nat");
  return drawing(input.name, kChartWidth, kHistogramHeight, content);
}

}  // namespace mg::html
