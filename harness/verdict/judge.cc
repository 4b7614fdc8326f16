#include "harness/verdict/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/metrics/metric_table.h"
#include "harness/metrics/quantile.h"
#include "harness/verdict/gate_rules.h"
#include "harness/verdict/guards.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

struct Context {
  const JudgeInputs& inputs;
  const GateProfile& profile;
  const GuardResult& guards;
  Judgement& out;
};

bool is_ratio_gate(const GateSpec& gate) {
  return gate.statistic == GateStatistic::kValue;
}

const Ratio& ratio_of(const Comparison& comparison, const std::string& name) {
  const Ratios& ratios = comparison.ratios;
  if (name == "mer") {
    return ratios.mer;
  }
  if (name == "slope") {
    return ratios.slope;
  }
  if (name == "r2") {
    return ratios.r2;
  }
  MG_CHECK(name == "perplexity_ratio", "a ratio that the profile's parser knows");
  return ratios.perplexity_ratio;
}

std::optional<GateValue> value_of_ratio(const Comparison& comparison, const GateSpec& gate) {
  const Ratio& ratio = ratio_of(comparison, gate.metric);
  if (!ratio.value) {
    return std::nullopt;
  }
  GateValue value;
  value.value = *ratio.value;
  value.ci95 = ratio.ci95;
  value.ci90 = ratio.ci90;
  value.se = ratio.se;
  value.method = ratio.ci_method;
  value.prompts = comparison.prompts;
  value.rows = comparison.tokens;
  value.neutral = gate.metric == "mer" ? 0.0 : 1.0;
  return value;
}

std::optional<GateValue> value_of_metric(const std::vector<NamedMetric>& metrics,
                                         const GateSpec& gate) {
  const MetricSummary* summary = find_metric(metrics, gate.metric);
  if (summary == nullptr || summary->count == 0) {
    return std::nullopt;
  }
  GateValue value;
  value.prompts = summary->prompts;
  value.rows = summary->count;
  value.neutral = metric_by_name(gate.metric).neutral.value_or(0.0);
  if (gate.statistic == GateStatistic::kP99) {
    if (!summary->p99) {
      return std::nullopt;
    }
    value.value = *summary->p99;
    value.ci95 = summary->p99_ci95;
    value.ci90 = summary->p99_ci95;  // wider than needed: a pass is a pass at 97.5 %
    return value;
  }
  value.value = *summary->mean;
  value.ci95 = summary->ci95;
  value.ci90 = summary->ci90;
  value.se = summary->se;
  value.method = summary->ci_method;
  return value;
}

// The floor is one of KL: beside a ratio or a log-likelihood it would be a number of another unit.
std::optional<double> floor_for(const Context& context, const GateSpec& gate) {
  if (!context.inputs.floor || gate.metric != "kl") {
    return std::nullopt;
  }
  return gate.statistic == GateStatistic::kP99 ? context.inputs.floor->kl_p99
                                               : context.inputs.floor->kl_mean;
}

std::string_view unit_of(const GateSpec& gate) {
  return is_ratio_gate(gate) ? "ratio" : metric_by_name(gate.metric).unit;
}

Verdict start(const JudgeInputs& inputs, const GateSpec& gate, std::string subject) {
  Verdict verdict;
  verdict.gate = gate.gate;
  if (inputs.served) {  // one gate a file: names tell them apart in lists and histories
    verdict.gate += "[" + inputs.total->subject + "]";
  }
  verdict.subject = std::move(subject);
  verdict.blocking = gate.blocking;
  verdict.unit = unit_of(gate);
  return verdict;
}

// A p99 of too small a sample is shown as a gate that cannot decide, and never blocks.
void too_small_for_p99(const std::vector<NamedMetric>& metrics, const GateSpec& gate,
                       Verdict& verdict) {
  const MetricSummary* summary = find_metric(metrics, gate.metric);
  constexpr std::int64_t kRows = 10'000;
  const std::int64_t rows = summary == nullptr ? 0 : summary->count;
  verdict.status = GateStatus::kInconclusive;
  verdict.blocking = false;
  verdict.reason = fmt::format("a p99 needs {} rows, this run has {}: {} are missing", kRows, rows,
                               kRows - rows);
  if (summary != nullptr && summary->prompts > 0) {
    verdict.needs_prompts = (kRows * summary->prompts + rows - 1) / rows;
  }
}

Finding rounding_warning(const Verdict& verdict, std::string message, std::string expected) {
  Finding finding;
  finding.rule = "compare.rounding-cost";
  finding.catalogue = {"F30"};
  finding.severity = Severity::kWarning;
  finding.command = "compare";
  finding.subject = verdict.subject;
  finding.message = std::move(message);
  finding.expected = std::move(expected);
  finding.actual = fmt::format("{} = {:.3g}", verdict.gate, verdict.value.value_or(0.0));
  finding.fix = Fix{false, "store the merge as FP16 or FP32 where the format allows it"};
  return finding;
}

void warn_above(const Context& context, const GateSpec& gate, const GateValue& value,
                const Verdict& verdict) {
  if (!gate.warn || verdict.status != GateStatus::kPass) {
    return;
  }
  const auto warn = resolve_limit(*gate.warn, floor_for(context, gate));
  if (warn && !(value.ci90 && value.ci90->upper <= warn->value)) {
    context.out.findings.push_back(
        rounding_warning(verdict, "within the limit, but more than a good merge should cost",
                         fmt::format("at most {:.3g}: {}", warn->value, warn->text)));
  }
}

double or_zero(const std::optional<double>& value) {
  return value.value_or(0.0);
}

// Does rounding alone explain the loss?  KL(reference || subject) at most 1.1 KL(reference ||
// re-merge) + floor.
bool rounding_explains(const Context& context) {
  if (context.inputs.remerge_is_merged) {
    return true;  // the subject is the re-merge: there is nothing else that could
  }
  if (context.inputs.rounding == nullptr) {
    return false;
  }
  const MetricSummary* total = find_metric(context.inputs.total->metrics, "kl");
  const MetricSummary* rounding = find_metric(context.inputs.rounding->metrics, "kl");
  if (total == nullptr || rounding == nullptr || !total->ci90 || !rounding->mean) {
    return false;
  }
  const double floor = context.inputs.floor ? or_zero(context.inputs.floor->kl_mean) : 0.0;
  return total->ci90->upper <= 1.1 * *rounding->mean + floor;
}

void excuse(const Context& context, const GateSpec& gate, Verdict& verdict) {
  if (!gate.excused_by_rounding || verdict.status != GateStatus::kFail ||
      !rounding_explains(context)) {
    return;
  }
  verdict.status = GateStatus::kPass;
  verdict.reason = fmt::format(
      "{:.3g} is above {:.3g}, but no more than rounding to the stored dtype costs by itself",
      verdict.value.value_or(0.0), verdict.limit.value_or(0.0));
  context.out.findings.push_back(rounding_warning(
      verdict, "a visible share of the fine-tune's effect is lost to the stored dtype",
      fmt::format("at most {:.3g}", verdict.limit.value_or(0.0))));
}

// What a slope looks like; the weights decide, the logits confirm.
std::string slope_hint(double slope) {
  if (std::abs(slope) <= 0.05) {
    return "; near 0: the adapter is not in it (F07)";
  }
  if (std::abs(slope - 2.0) <= 0.2) {
    return "; near 2: merged twice, or the scale applied twice (F18, F19)";
  }
  if (slope < 0.0) {
    return "; below 0: the delta was subtracted or transposed (F23)";
  }
  if (slope < 1.0) {
    return "; below 1: a part of the adapter is missing, scaled down or rounded away (F08, F19, "
           "F30)";
  }
  return "; above 1: the adapter is scaled up (F18, F19, F20)";
}

// The re-merge's own ratio, around which near-rounding gates look.
std::optional<double> rounding_centre(const Context& context, const GateSpec& gate) {
  const Comparison* rounding =
      context.inputs.remerge_is_merged ? context.inputs.total : context.inputs.rounding;
  return rounding == nullptr ? std::nullopt : ratio_of(*rounding, gate.metric).value;
}

void apply_near_rounding(const Context& context, const GateSpec& gate, GateValue value,
                         double margin, Verdict& verdict) {
  const auto centre = rounding_centre(context, gate);
  if (!centre) {
    verdict.status = GateStatus::kNotRun;
    verdict.reason = "there was no re-merge lane to show what rounding alone does";
    return;
  }
  if (context.inputs.remerge_is_merged) {
    // The difference is zero by construction, whatever the sample says about the ratio itself.
    value.ci90 = Interval{value.value, value.value};
    value.se = 0.0;
  }
  apply_between(value, *centre - margin, *centre + margin, context.profile.fewest_prompts, verdict);
}

// `slice`: judged by the slice's own metrics; null: the whole comparison.
void judge_value(const Context& context, const GateSpec& gate, const Comparison& comparison,
                 const Slice* slice, Verdict& verdict) {
  const std::vector<NamedMetric>& metrics = slice != nullptr ? slice->metrics : comparison.metrics;
  const auto value =
      is_ratio_gate(gate) ? value_of_ratio(comparison, gate) : value_of_metric(metrics, gate);
  verdict.floor = floor_for(context, gate);
  if (gate.statistic == GateStatistic::kP99 && !value) {
    too_small_for_p99(metrics, gate, verdict);
    return;
  }
  if (!value) {
    verdict.status = slice != nullptr ? GateStatus::kNotRun : GateStatus::kFail;
    verdict.reason = fmt::format("{} could not be computed from this run", gate.metric);
    return;
  }
  if (gate.rule == GateRule::kBetween) {
    verdict.basis = gate.basis;
    apply_between(*value, gate.lower, gate.upper, context.profile.fewest_prompts, verdict);
    return;
  }
  const auto limit = resolve_limit(gate.limit, floor_for(context, gate));
  if (!limit) {
    verdict.value = value->value;
    verdict.status = GateStatus::kNotRun;
    verdict.blocking = false;  // a p99 of the floor: its sample is small on purpose
    verdict.reason = "the limit is a multiple of a noise floor that was not measured";
    return;
  }
  verdict.basis = fmt::format("{}; {}", limit->text, gate.basis);
  if (gate.rule == GateRule::kAtMost) {
    apply_at_most(*value, limit->value, context.profile.fewest_prompts, verdict);
    excuse(context, gate, verdict);
    warn_above(context, gate, *value, verdict);
  } else if (gate.rule == GateRule::kEquivalent) {
    apply_between(*value, -limit->value, limit->value, context.profile.fewest_prompts, verdict);
  } else {
    apply_near_rounding(context, gate, *value, limit->value, verdict);
  }
}

void apply_guards(const GuardResult& guards, const GateSpec& gate, Verdict& verdict) {
  std::string reason;
  if (!guards.all_invalid.empty()) {
    reason = guards.all_invalid;
  } else if (is_ratio_gate(gate) && !guards.ratios_invalid.empty()) {
    reason = guards.ratios_invalid;
  } else if (verdict.status == GateStatus::kPass && !guards.passes_invalid.empty()) {
    reason = guards.passes_invalid;
  }
  if (!reason.empty()) {
    verdict.status = GateStatus::kInvalid;
    verdict.reason = std::move(reason);
  }
}

void judge_tool_without_remerge(const Context& context, const GateSpec& gate, Verdict& verdict) {
  verdict.basis = gate.basis;
  if (context.inputs.remerge_is_merged) {
    verdict.status = GateStatus::kPass;
    verdict.value = 0.0;
    verdict.reason = "the audit found the subject equal to its re-merge: the tool added nothing";
    return;
  }
  verdict.status = GateStatus::kNotRun;
  verdict.reason = "there was no re-merge lane";
}

void judge_gate(const Context& context, const GateSpec& gate) {
  const Comparison& total = *context.inputs.total;
  const Comparison* comparison = gate.comparison == GateComparison::kTotal  ? &total
                                 : gate.comparison == GateComparison::kTool ? context.inputs.tool
                                                                            : context.inputs.other;
  if (comparison == nullptr && gate.comparison == GateComparison::kOtherBase) {
    return;
  }
  Verdict verdict = start(context.inputs, gate,
                          comparison != nullptr ? comparison->reference + "/" + comparison->subject
                                                : "re-merge/" + total.subject);
  if (comparison == nullptr) {
    judge_tool_without_remerge(context, gate, verdict);
  } else {
    judge_value(context, gate, *comparison, nullptr, verdict);
  }
  if (gate.metric == "slope" && verdict.status == GateStatus::kFail && verdict.value) {
    verdict.reason += slope_hint(*verdict.value);
  }
  apply_guards(context.guards, gate, verdict);
  context.out.verdicts.push_back(std::move(verdict));
  if (!gate.slices || comparison == nullptr || is_ratio_gate(gate)) {
    return;
  }
  for (const Slice& slice : comparison->slices) {
    Verdict of_slice =
        start(context.inputs, gate, comparison->reference + "/" + comparison->subject);
    of_slice.gate = fmt::format("{}[{}]", of_slice.gate, slice.name);
    of_slice.blocking = false;
    judge_value(context, gate, *comparison, &slice, of_slice);
    of_slice.blocking = false;
    apply_guards(context.guards, gate, of_slice);
    context.out.verdicts.push_back(std::move(of_slice));
  }
}

}  // namespace

Judgement judge(const JudgeInputs& inputs, const GateProfile& profile) {
  MG_CHECK(inputs.total != nullptr, "there is a comparison to judge");
  const GuardResult guards = inputs.served ? check_served(inputs) : check_guards(inputs);
  Judgement out = guards.judgement;
  if (inputs.audit != nullptr) {
    const auto weights = judge_weights(*inputs.audit, profile.weights);
    out.verdicts.insert(out.verdicts.end(), weights.begin(), weights.end());
  }
  const Context context{inputs, profile, guards, out};
  for (const GateSpec& gate : profile.gates) {
    judge_gate(context, gate);
  }
  return out;
}

}  // namespace mg
