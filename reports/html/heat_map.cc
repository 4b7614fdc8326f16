#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/core/error.h"
#include "reports/html/chart_parts.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr double kLeft = 44.0;
constexpr double kTop = 66.0;  // names of the columns, slanted
constexpr std::int64_t kMostStories = 60;

struct Grid {
  double cell_width = 0.0;
  double cell_height = 0.0;
  double x(std::int64_t column) const { return kLeft + cell_width * static_cast<double>(column); }
  double y(std::int64_t row) const { return kTop + cell_height * static_cast<double>(row); }
};

/// All cells of a level as one path: a few bytes a cell.
Markup cells_of(const HeatMap& map, int level, const Grid& grid) {
  Markup out;
  for (const HeatMap::Cell& cell : map.cells) {
    if (cell.level == level) {
      out.add("M{} {}h{}v{}h{}z", grid.x(cell.column) + 0.5, grid.y(cell.row) + 0.5,
              grid.cell_width - 1.0, grid.cell_height - 1.0, 1.0 - grid.cell_width);
    }
  }
  return out.empty() ? out : markup("<path class=heat{} d=\"{}\"/>\n", level, out);
}

void add_cross(Markup& path, const HeatMap::Cell& cell, const Grid& grid) {
  const double half = std::min(4.0, grid.cell_height / 2.0 - 1.0);
  path.add("M{} {}l{} {}m0 {}l{} {}", grid.x(cell.column) + grid.cell_width / 2.0 - half,
           grid.y(cell.row) + grid.cell_height / 2.0 - half, 2.0 * half, 2.0 * half, -2.0 * half,
           -2.0 * half, 2.0 * half);
}

/// Failed cells carry a cross, so that they stand out without colour; the first ones tell their
/// story to a pointer that rests on them, all of them in the table of tensors.
Markup crosses(const HeatMap& map, const Grid& grid) {
  Markup on_light;
  Markup on_strong;
  Markup stories;
  std::int64_t told = 0;
  for (const HeatMap::Cell& cell : map.cells) {
    if (!cell.failed) {
      continue;
    }
    add_cross(cell.level < 3 ? on_light : on_strong, cell, grid);
    if (told++ < kMostStories) {
      stories.add("<rect class=clear x={} y={} width={} height={}><title>{}</title></rect>\n",
                  grid.x(cell.column), grid.y(cell.row), grid.cell_width, grid.cell_height,
                  cell.story);
    }
  }
  return markup("<path class=cross d=\"{}\"/><path class=\"cross strong-ground\" d=\"{}\"/>\n{}",
                on_light, on_strong, stories);
}

Markup names(const HeatMap& map, const Grid& grid) {
  Markup out;
  const auto rows = static_cast<std::int64_t>(map.rows.size());
  const auto every =
      std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(12.0 / grid.cell_height)));
  for (std::int64_t row = 0; row < rows; row += every) {
    out.add("<text class=small x={} y={} text-anchor=end>{}</text>", kLeft - 5.0,
            grid.y(row) + grid.cell_height / 2.0 + 3.5,
            fit(printable(map.rows[static_cast<std::size_t>(row)]), 6));
  }
  for (std::size_t column = 0; column < map.columns.size(); ++column) {
    const double at = grid.x(static_cast<std::int64_t>(column)) + grid.cell_width / 2.0;
    out.add("<text class=small x={} y={} transform=\"rotate(-35 {} {})\">{}</text>", at, kTop - 6.0,
            at, kTop - 6.0, fit(printable(map.columns[column]), 13));
  }
  return out;
}

Markup legend(const HeatMap& map, double top) {
  Markup out;
  const double step = (kChartWidth - 10.0) / kHeatLevels;
  for (int level = 0; level < kHeatLevels; ++level) {
    const double x = 4.0 + step * level;
    out.add("<rect class=heat{} x={} y={} width=12 height=12 />", level, x, top);
    out.add("<text class=small x={} y={}>{}</text>", x + 16.0, top + 10.0,
            map.legend[static_cast<std::size_t>(level)]);
  }
  return out;
}

}  // namespace

Markup heat_map(const HeatMap& map) {
  MG_CHECK(map.legend.size() == static_cast<std::size_t>(kHeatLevels), "a legend for each level");
  if (map.cells.empty()) {
    return {};
  }
  const auto rows = static_cast<double>(map.rows.size());
  const auto columns = static_cast<double>(map.columns.size());
  const Grid grid{std::min(46.0, (kChartWidth - kLeft - 44.0) / columns),
                  std::clamp(320.0 / rows, 5.0, 20.0)};
  Markup content = names(map, grid);
  for (int level = 0; level < kHeatLevels; ++level) {
    content += cells_of(map, level, grid);
  }
  content += crosses(map, grid);
  const double bottom = kTop + grid.cell_height * rows;
  content += legend(map, bottom + 10.0);
  return drawing(map.name, kChartWidth, bottom + 28.0, content);
}

}  // namespace mg::html
