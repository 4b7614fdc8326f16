// What the charts share: frames, axes, the noise band and the limit.  Private to the charts.
#pragma once

#include <string_view>

#include "reports/html/charts.h"
#include "reports/html/scale.h"

namespace mg::html {

// Charts are drawn for the width of a phone and stand side by side where there is room, so that
// their text is never scaled below what can be read.
inline constexpr double kChartWidth = 420.0;

/// Opens and closes an SVG of this size around `content`, named for screen readers.
Markup drawing(std::string_view name, double width, double height, const Markup& content);

struct Plot {
  double left = 0.0;
  double top = 0.0;
  double right = 0.0;
  double bottom = 0.0;
};

/// Grid lines and labels of a horizontal axis below the plot.
Markup horizontal_axis(const Scale& x, const Plot& plot, std::string_view unit);
/// Grid lines and labels of a vertical axis left of the plot.
Markup vertical_axis(const Scale& y, const Plot& plot, std::string_view unit);

/// The noise floor as a band up to its value, and the limit as a dashed line, along a horizontal or
/// vertical axis; what lies outside the axis is left out.
Markup yardsticks_along_x(const Scale& x, const Plot& plot, const Yardsticks& yardsticks);
Markup yardsticks_along_y(const Scale& y, const Plot& plot, const Yardsticks& yardsticks);

/// The positive numbers of the yardsticks, for choosing a range.
void add_to_range(const Yardsticks& yardsticks, std::vector<double>& values);

}  // namespace mg::html
