// From values to places in a drawing, with the marks of an axis.
// Not for: drawing anything (charts).  Tested in tests/reports/scale_test.cc.
#pragma once

#include <span>
#include <string>
#include <vector>

namespace mg::html {

struct Tick {
  double value = 0.0;
  std::string label;
};

class Scale {
 public:
  /// `low` < `high` lie at `from` and `to`; from > to is a scale that grows leftwards or upwards.
  static Scale linear(double low, double high, double from, double to);
  /// `low` > 0.
  static Scale logarithmic(double low, double high, double from, double to);

  /// Where a value lies; values beyond the ends lie at the ends, so that nothing is drawn outside.
  double at(double value) const;
  bool contains(double value) const { return value >= low_ && value <= high_; }
  double low() const { return low_; }
  double high() const { return high_; }

  /// Round values between the ends, at most about `wanted` of them.
  std::vector<Tick> ticks(int wanted) const;

 private:
  Scale(bool logarithmic, double low, double high, double from, double to)
      : logarithmic_(logarithmic), low_(low), high_(high), from_(from), to_(to) {}

  bool logarithmic_;
  double low_;
  double high_;
  double from_;
  double to_;
};

struct Range {
  double low = 0.0;
  double high = 1.0;
};

/// The decades around the positive values among `values`, at least two of them; [1e-6, 1] where
/// there is none.
Range decades_around(std::span<const double> values);

/// The range of `values` and a margin, which does not reach below 0 where no value does; never
/// empty.
Range range_around(std::span<const double> values);

}  // namespace mg::html
