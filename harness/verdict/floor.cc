#include "harness/verdict/floor.h"

#include <algorithm>

namespace mg {

Floor make_floor(const Comparison& same_lane, std::string basis) {
  Floor floor;
  floor.basis = std::move(basis);
  floor.prompts = same_lane.prompts;
  floor.tokens = same_lane.tokens;
  if (const MetricSummary* kl = find_metric(same_lane.metrics, "kl")) {
    floor.kl_mean = kl->mean;
    floor.kl_mean_ci95 = kl->ci95;
    floor.kl_p99 = kl->p99;
  }
  if (const MetricSummary* largest = find_metric(same_lane.metrics, "max_abs_centred");
      largest != nullptr && largest->p95) {
    floor.flip_margin = std::min(kLargestFlipMargin, 2.0 * *largest->p95);
  }
  return floor;
}

double flip_margin(const std::optional<Floor>& floor) {
  return floor ? floor->flip_margin.value_or(kLargestFlipMargin) : kLargestFlipMargin;
}

}  // namespace mg
