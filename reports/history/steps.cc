#include "reports/history/steps.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mg {
namespace {

constexpr std::size_t kFewest = 3;       // two odd runs in a row are not yet a level
constexpr double kErrors = 5.0;          // about one false alarm in hundreds of series of 30 runs
constexpr double kSmallestShare = 0.1;   // of the level: smaller steps matter to nobody
constexpr double kMadToSigma = 1.4826;   // of a normal distribution
constexpr double kMedianError = 1.2533;  // sqrt(pi / 2): error of a median in sigma / sqrt(n)

double median(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::sort(sorted.begin(), sorted.end());
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
}

double distances(std::span<const double> values) {
  const double middle = median(values);
  double sum = 0.0;
  for (const double value : values) {
    sum += std::fabs(value - middle);
  }
  return sum;
}

std::size_t best_split(std::span<const double> values) {
  std::size_t best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t at = kFewest; at + kFewest <= values.size(); ++at) {
    const double cost = distances(values.first(at)) + distances(values.subspan(at));
    if (cost < least) {
      least = cost;
      best = at;
    }
  }
  return best;
}

/// Spread around the two levels, as the sigma of a normal distribution.
double spread(std::span<const double> before, std::span<const double> after) {
  std::vector<double> residuals;
  for (const std::span<const double> part : {before, after}) {
    const double middle = median(part);
    for (const double value : part) {
      residuals.push_back(std::fabs(value - middle));
    }
  }
  return kMadToSigma * median(residuals);
}

class Search {
 public:
  Search(std::span<const double> values, bool logarithmic)
      : values_(values), logarithmic_(logarithmic) {}

  void look(std::size_t from, std::size_t to, std::vector<std::size_t>& found) const {
    if (to - from < 2 * kFewest) {
      return;
    }
    const std::span<const double> part = values_.subspan(from, to - from);
    const std::size_t split = best_split(part);
    const std::span<const double> before = part.first(split);
    const std::span<const double> after = part.subspan(split);
    if (!is_step(before, after)) {
      return;
    }
    look(from, from + split, found);
    found.push_back(from + split);
    look(from + split, to, found);
  }

 private:
  bool is_step(std::span<const double> before, std::span<const double> after) const {
    const double difference = std::fabs(median(after) - median(before));
    const double error = kMedianError * spread(before, after) *
                         std::sqrt(1.0 / static_cast<double>(before.size()) +
                                   1.0 / static_cast<double>(after.size()));
    const double smallest = logarithmic_ ? std::log(1.0 + kSmallestShare)
                                         : kSmallestShare * std::max(std::fabs(median(before)),
                                                                     std::fabs(median(after)));
    return difference > kErrors * error && difference > smallest;
  }

  std::span<const double> values_;
  bool logarithmic_;
};

}  // namespace

std::vector<Step> find_steps(std::span<const double> values) {
  const bool positive =
      std::all_of(values.begin(), values.end(), [](double value) { return value > 0.0; });
  std::vector<double> scaled(values.begin(), values.end());
  if (positive) {
    std::transform(scaled.begin(), scaled.end(), scaled.begin(),
                   [](double value) { return std::log(value); });
  }
  std::vector<std::size_t> found;
  Search(scaled, positive).look(0, scaled.size(), found);
  std::vector<Step> steps;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::size_t from = i == 0 ? 0 : found[i - 1];
    const std::size_t to = i + 1 < found.size() ? found[i + 1] : values.size();
    steps.push_back({found[i], median(values.subspan(from, found[i] - from)),
                     median(values.subspan(found[i], to - found[i]))});
  }
  return steps;
}

}  // namespace mg
