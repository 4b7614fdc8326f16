#include <fmt/format.h>

#include <algorithm>

#include "reports/format.h"
#include "reports/headline.h"

namespace mg {

bool is_served(const Verdict& verdict) {
  return verdict.gate.starts_with("served.");
}

bool is_served(const Finding& finding) {
  return finding.command == "served" || finding.rule.starts_with("gguf.");
}

const Comparison* served_comparison(const Report& report, const AlsoModel& model) {
  const auto found = std::find_if(
      report.comparisons.begin(), report.comparisons.end(),
      [&](const Comparison& c) { return c.reference == "merged" && c.subject == model.lane; });
  return found == report.comparisons.end() ? nullptr : &*found;
}

ServedLine served_line(const Report& report, const AlsoModel& model) {
  ServedLine line{.lane = model.lane, .stored = {}, .numbers = {}};
  line.stored = fmt::format("{}, {}", model.format, format_bytes(model.bytes));
  if (model.bits_per_weight) {
    line.stored += fmt::format(", {} bits a weight", format_number(*model.bits_per_weight));
  }
  for (const StoredShare& share : model.stored) {
    line.stored += fmt::format("{} {} {}", &share == &model.stored.front() ? ":" : ",",
                               share.format, format_bytes(share.bytes));
  }
  const Comparison* comparison = served_comparison(report, model);
  if (comparison == nullptr) {
    line.numbers = "not compared";
    return line;
  }
  const MetricSummary* kl = find_metric(comparison->metrics, "kl");
  if (kl != nullptr) {
    line.numbers = fmt::format("KL {}, 95 % interval {}", format_value(kl->mean, "nat"),
                               format_interval(kl->ci95, ""));
  }
  if (const MetricSummary* nll = find_metric(comparison->metrics, "delta_nll")) {
    line.numbers += fmt::format("; NLL {}", format_value(nll->mean, "nat/token"));
  }
  line.numbers +=
      fmt::format("; first tokens really changed {} of {}", format_count(comparison->flips.real),
                  format_count(comparison->tokens));
  if (comparison->ratios.mer.value) {
    line.numbers += fmt::format("; {} of the fine-tune's effect",
                                format_percent(*comparison->ratios.mer.value));
  }
  const Verdict* worst = nullptr;
  for (const Verdict* verdict : gates_by_importance(report)) {
    if (worst == nullptr && is_served(*verdict) && verdict->blocking &&
        verdict->subject == "merged/" + model.lane) {
      worst = verdict;
    }
  }
  line.status = worst == nullptr ? GateStatus::kNotRun : worst->status;
  return line;
}

}  // namespace mg
