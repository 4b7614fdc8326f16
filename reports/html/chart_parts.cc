#include "reports/html/chart_parts.h"

#include "reports/format.h"

namespace mg::html {
namespace {

/// The label of a mark on an axis, away from the edge it is near.
std::string_view anchor(double at, const Plot& plot) {
  const double room = 46.0;
  return at < plot.left + room ? "start" : at > plot.right - room ? "end" : "middle";
}

}  // namespace

Markup figure(const Figure& parts) {
  Markup out;
  out += parts.wide ? markup("<figure class=wide>") : markup("<figure>");
  out.add("<figcaption><h3>{}</h3><p>{}</p></figcaption>\n{}", parts.title, parts.explanation,
          parts.drawing.empty() ? markup("<p class=empty>Nothing to draw: no number here.</p>")
                                : parts.drawing);
  if (!parts.numbers.empty()) {
    out.add("<details><summary>Numbers<span class=hide> of {}</span></summary>\n{}</details>",
            parts.title, parts.numbers);
  }
  return out.add("</figure>\n");
}

Markup drawing(std::string_view name, double width, double height, const Markup& content) {
  return markup("<svg viewBox=\"0 0 {} {}\" role=img aria-label=\"{}\">\n{}</svg>\n", width, height,
                name, content);
}

Markup horizontal_axis(const Scale& x, const Plot& plot, std::string_view unit) {
  Markup out;
  for (const Tick& tick : x.ticks(6)) {
    const double at = x.at(tick.value);
    out.add("<path class=grid d=\"M{} {}V{}\"/>", at, plot.top, plot.bottom);
    out.add("<text x={} y={} text-anchor=middle>{}</text>", at, plot.bottom + 15.0, tick.label);
  }
  if (!unit.empty()) {
    out.add("<text class=unit x={} y={} text-anchor=end>{}</text>", plot.right, plot.bottom + 30.0,
            unit);
  }
  return out.add("<path class=axis d=\"M{} {}H{}\"/>\n", plot.left, plot.bottom, plot.right);
}

Markup vertical_axis(const Scale& y, const Plot& plot, std::string_view unit) {
  Markup out;
  for (const Tick& tick : y.ticks(6)) {
    const double at = y.at(tick.value);
    out.add("<path class=grid d=\"M{} {}H{}\"/>", plot.left, at, plot.right);
    out.add("<text x={} y={} text-anchor=end>{}</text>", plot.left - 6.0, at + 4.0, tick.label);
  }
  if (!unit.empty()) {
    out.add("<text class=unit x={} y={}>{}</text>", 2.0, plot.top - 8.0, unit);
  }
  return out.add("<path class=axis d=\"M{} {}V{}\"/>\n", plot.left, plot.top, plot.bottom);
}

Markup yardsticks_along_x(const Scale& x, const Plot& plot, const Yardsticks& yardsticks) {
  Markup out;
  const double height = plot.bottom - plot.top;
  if (yardsticks.floor && *yardsticks.floor > x.low()) {
    const double edge = x.at(*yardsticks.floor);
    out.add("<rect class=band x={} y={} width={} height={} />", plot.left, plot.top,
            edge - plot.left, height);
    if (yardsticks.floor_interval) {
      const double from = x.at(yardsticks.floor_interval->lower);
      const double to = x.at(yardsticks.floor_interval->upper);
      out.add("<rect class=band x={} y={} width={} height={} />", from, plot.top, to - from,
              height);
    }
    out.add("<path class=floor d=\"M{} {}V{}\"/>", edge, plot.top, plot.bottom);
    out.add("<text class=mark x={} y={} text-anchor={}>noise floor</text>\n", edge, plot.top - 5.0,
            anchor(edge, plot));
  }
  if (yardsticks.limit && x.contains(*yardsticks.limit)) {
    const double at = x.at(*yardsticks.limit);
    out.add("<path class=limit d=\"M{} {}V{}\"/>", at, plot.top, plot.bottom);
    out.add("<text class=mark x={} y={} text-anchor={}>{}</text>\n", at, plot.top - 19.0,
            anchor(at, plot), yardsticks.limit_name);
  }
  return out;
}

Markup yardsticks_along_y(const Scale& y, const Plot& plot, const Yardsticks& yardsticks) {
  Markup out;
  if (yardsticks.floor && *yardsticks.floor > y.low()) {
    const double edge = y.at(*yardsticks.floor);
    out.add("<rect class=band x={} y={} width={} height={} />", plot.left, edge,
            plot.right - plot.left, plot.bottom - edge);
    out.add("<path class=floor d=\"M{} {}H{}\"/>", plot.left, edge, plot.right);
    out.add("<text class=mark x={} y={}>noise floor</text>\n", plot.left + 5.0, edge - 4.0);
  }
  if (yardsticks.limit && y.contains(*yardsticks.limit)) {
    const double at = y.at(*yardsticks.limit);
    out.add("<path class=limit d=\"M{} {}H{}\"/>", plot.left, at, plot.right);
    out.add("<text class=mark x={} y={}>{}</text>\n", plot.left + 5.0, at - 4.0,
            yardsticks.limit_name);
  }
  return out;
}

void add_to_range(const Yardsticks& yardsticks, std::vector<double>& values) {
  if (yardsticks.floor) {
    values.push_back(*yardsticks.floor);
  }
  if (yardsticks.limit) {
    values.push_back(*yardsticks.limit);
  }
}

}  // namespace mg::html
