// The drawings of a page, as SVG without script: plain numbers in, Markup out.  Each stands in a
// figure() with a sentence on how to read it and its numbers as a table.  Colours and strokes are
// classes of styles.cc; every distinction is also a shape, a dash or a word.
// Not for: what to draw (sections.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/result/metric.h"
#include "harness/result/verdict.h"
#include "reports/html/markup.h"

namespace mg::html {

/// Title, drawing, how to read it, and the numbers behind it.
struct Figure {
  std::string title;
  std::string explanation;
  Markup drawing;
  Markup numbers;  // a Table
  bool wide = false;
};
Markup figure(const Figure& parts);

/// What a measured quantity is held against: the arithmetic's own noise and a gate's limit.
struct Yardsticks {
  std::optional<double> floor;
  std::optional<Interval> floor_interval;
  std::optional<double> limit;
  std::string_view limit_name = "limit of the mean";
};

/// A gate in one line: the allowed range, the interval and value in it, the noise floor.  Empty
/// where the gate has no number.
Markup gate_strip(const Verdict& verdict);

/// Counts over logarithmic bins.
struct HistogramInput {
  struct Bin {
    double from = 0.0;
    double to = 0.0;  // the last may be open: the largest double
    std::int64_t rows = 0;
  };
  std::string name;  // for screen readers
  std::vector<Bin> bins;
  std::optional<double> mean;
  Yardsticks yardsticks;
};
Markup histogram(const HistogramInput& input);

/// Named quantities below one another, each a point with its interval on one logarithmic scale.
struct IntervalRow {
  std::string name;
  std::optional<double> value;
  std::optional<Interval> interval;
};
Markup interval_rows(std::string_view name, const std::vector<IntervalRow>& rows,
                     const Yardsticks& yardsticks);

/// Every prompt's mean, from the smallest to the largest; the largest are named.
struct RankedPoint {
  std::string name;
  double value = 0.0;
};
Markup ranked_points(std::string_view name, std::vector<RankedPoint> points,
                     const Yardsticks& yardsticks);

/// Drift along the layers' halves on a logarithmic scale.
struct DriftPoint {
  std::string name;  // "12 attention"
  std::optional<double> free;
  std::optional<double> forced;
  bool non_finite = false;
  bool culprit = false;
};
Markup drift_lines(std::string_view name, const std::vector<DriftPoint>& points);

/// Layers (rows) by modules (columns); `levels` from 0 (as it should be) to kHeatLevels - 1.
inline constexpr int kHeatLevels = 5;
struct HeatMap {
  struct Cell {
    std::int64_t row = 0;
    std::int64_t column = 0;
    int level = 0;
    bool failed = false;
    std::string story;  // shown while the pointer rests on a failed cell
  };
  std::string name;
  std::vector<std::string> rows;
  std::vector<std::string> columns;
  std::vector<std::string> legend;  // what each level means
  std::vector<Cell> cells;
};
Markup heat_map(const HeatMap& map);

/// A gate's value from run to run, with its intervals; steps as vertical lines.
struct TrendPoint {
  double value = 0.0;
  std::optional<Interval> interval;
  std::string status;   // of the gate: "pass", "fail", ...
  bool step = false;    // the first run on a new level
  bool marked = false;  // a tick on the axis: something else changed with this run
};
Markup trend_chart(std::string_view name, const std::vector<TrendPoint>& points,
                   const Yardsticks& yardsticks);

/// Horizontal bars with intervals from zero on.
struct Bar {
  std::string name;
  double value = 0.0;
  std::optional<Interval> interval;
  std::string text;  // beside the bar
  int series = 0;    // 0..2: colour and pattern
};
Markup bars(std::string_view name, const std::vector<Bar>& bars);

}  // namespace mg::html
