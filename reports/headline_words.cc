// The words that every view has in common for a gate, a place, a fault and a suite's size.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "reports/format.h"
#include "reports/headline.h"

namespace mg {

std::string_view detection_word(DetectionOutcome outcome) {
  switch (outcome) {
    case DetectionOutcome::kCaught:
      return "caught";
    case DetectionOutcome::kMissed:
      return "MISSED";
    case DetectionOutcome::kNotPlanted:
      return "not planted";
  }
  return "";
}

std::string detections_text(const SelftestResult& selftest) {
  const DetectionCounts counts = count_detections(selftest);
  return fmt::format("{} of {} planted faults were caught", counts.caught, counts.planted());
}

std::string ids_text(const std::vector<std::string>& ids) {
  return ids.empty() ? "-" : fmt::format("{}", fmt::join(ids, ", "));
}

std::string_view gate_status_word(GateStatus status) {
  switch (status) {
    case GateStatus::kPass:
      return "pass";
    case GateStatus::kFail:
      return "FAIL";
    case GateStatus::kInconclusive:
      return "undecided";
    case GateStatus::kInvalid:
      return "invalid";
    case GateStatus::kNotRun:
      return "not run";
  }
  return "";
}

GateInterval gate_interval(const Verdict& verdict) {
  return verdict.ci90 ? GateInterval{verdict.ci90, 90} : GateInterval{verdict.ci95, 95};
}

std::string limit_text(const Verdict& verdict) {
  const std::string_view unit = verdict.unit == "share" ? "share" : "";
  if (verdict.limit && verdict.lower_limit) {
    return "within " + format_interval(Interval{*verdict.lower_limit, *verdict.limit}, unit);
  }
  if (verdict.lower_limit) {
    return "at least " + format_value(*verdict.lower_limit, unit);
  }
  return verdict.limit ? "limit " + format_value(*verdict.limit, unit) : "";
}

std::string place_text(const LayerPlace& place) {
  std::string text = fmt::format("layer {}, {}", place.layer, place.module);
  return place.stack.empty() ? text : fmt::format("{} {}", place.stack, text);
}

std::string place_text(const Place& place) {
  return fmt::format("prompt {}, position {}", place.prompt, place.position);
}

std::string size_text(const Report& report) {
  std::int64_t prompts = 0;
  std::int64_t tokens = 0;
  for (const SuiteInfo& suite : report.inputs.suites) {
    prompts += suite.prompts;
    tokens += suite.tokens;
  }
  if (prompts == 0) {
    return "";
  }
  const std::string text = format_plural(prompts, "prompt");
  return tokens == 0 ? text : fmt::format("{}, {}", text, format_plural(tokens, "token"));
}

}  // namespace mg
