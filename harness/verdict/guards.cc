#include "harness/verdict/guards.h"

#include <fmt/format.h>

#include <algorithm>

namespace mg {
namespace {

std::string pair_name(const Comparison& comparison) {
  return comparison.reference + "/" + comparison.subject;
}

Verdict guard(const char* name, const Comparison& comparison, GateStatus status) {
  Verdict verdict;
  verdict.gate = name;
  verdict.subject = pair_name(comparison);
  verdict.status = status;
  return verdict;
}

double floor_of(const JudgeInputs& inputs) {
  return inputs.floor ? inputs.floor->kl_mean.value_or(0.0) : 0.0;
}

std::string floor_text(const JudgeInputs& inputs) {
  return inputs.floor && inputs.floor->kl_mean ? "the noise floor: " + inputs.floor->basis
                                               : "no noise floor was measured: 0";
}

std::string place_text(const std::optional<Place>& place) {
  return place ? fmt::format("prompt {}, position {}", place->prompt, place->position)
               : std::string("no place known");
}

Finding non_finite_finding(const Comparison& total, const NonFiniteLane& lane, bool served) {
  const bool subject_only =
      lane.lane == total.subject &&
      std::none_of(total.non_finite.begin(), total.non_finite.end(),
                   [&](const NonFiniteLane& other) { return other.lane != total.subject; });
  Finding finding;
  finding.rule = !subject_only ? "compare.non-finite-inputs"
                 : served      ? "served.non-finite"
                               : "compare.non-finite-merged";
  finding.catalogue = {"F31"};
  finding.severity = Severity::kError;
  finding.command = served ? "served" : "compare";
  finding.subject = lane.lane;
  finding.message = subject_only
                        ? fmt::format(
                              "logits of {} are NaN or infinite where those of {} are "
                              "numbers: {}",
                              total.subject, total.reference,
                              served ? "what it stores left the range of its format"
                                     : "the merge left the range of its dtype")
                        : fmt::format(
                              "logits of {} are NaN or infinite, and not of {} alone: base, "
                              "adapter or the arithmetic is at fault, not the merge",
                              lane.lane, total.subject);
  finding.expected = "finite logits";
  finding.actual = fmt::format("{} logits in {} rows, first at {}", lane.elements, lane.rows,
                               place_text(lane.first));
  return finding;
}

void check_finite(const JudgeInputs& inputs, GuardResult& out) {
  const Comparison& total = *inputs.total;
  Verdict verdict = guard("guard.finite", total, GateStatus::kPass);
  if (inputs.served) {
    verdict.gate = fmt::format("served.finite[{}]", total.subject);
  }
  double elements = 0.0;
  for (const NonFiniteLane& lane : total.non_finite) {
    elements += static_cast<double>(lane.elements);
    // Of other lanes the main pair has told already.
    if (!inputs.served || lane.lane == total.subject) {
      out.judgement.findings.push_back(non_finite_finding(total, lane, inputs.served));
    }
  }
  verdict.value = elements;
  verdict.limit = 0.0;
  verdict.unit = "logits";
  verdict.basis = "NaN and infinity are never numbers";
  verdict.reason = "every logit is a number";
  if (!total.non_finite.empty()) {
    verdict.status = GateStatus::kFail;
    verdict.reason = fmt::format("not finite: first in {} at {}", total.non_finite[0].lane,
                                 place_text(total.non_finite[0].first));
    out.passes_invalid = "some rows are not finite and could not be compared";
  }
  out.judgement.verdicts.push_back(std::move(verdict));
}

void check_self(const JudgeInputs& inputs, GuardResult& out) {
  Verdict verdict = guard("guard.self-compare", *inputs.total, GateStatus::kPass);
  verdict.subject = inputs.total->reference + "/" + inputs.total->reference;
  verdict.basis = "a lane against itself is exactly neutral in every metric";
  verdict.reason = "every metric of every row is exactly neutral";
  if (!inputs.self_compare_exact) {
    verdict.status = GateStatus::kNotRun;
    verdict.reason = "the reference lane was not run a second time";
  } else if (!*inputs.self_compare_exact) {
    verdict.status = GateStatus::kInvalid;
    verdict.reason = "the reference lane differs from itself: results are not repeatable";
    out.all_invalid = "the reference lane differs from itself";
  }
  out.judgement.verdicts.push_back(std::move(verdict));
}

void check_exact_zero(const JudgeInputs& inputs, GuardResult& out) {
  const MetricSummary* kl = find_metric(inputs.total->metrics, "kl");
  const MetricSummary* largest = find_metric(inputs.total->metrics, "max_abs");
  if (inputs.same_weights || kl == nullptr || kl->count == 0) {
    return;
  }
  Verdict verdict = guard("guard.exact-zero", *inputs.total, GateStatus::kPass);
  verdict.basis = "lanes of different weights never agree in every bit";
  verdict.reason = "the lanes differ, as lanes of different weights do";
  verdict.value = kl->max;
  if (kl->max == 0.0 && (largest == nullptr || largest->max == 0.0)) {
    verdict.status = GateStatus::kInvalid;
    verdict.reason =
        "all logits are equal bit for bit: the adapter was not engaged, or one lane was "
        "compared with itself";
    out.all_invalid = "reference and subject gave exactly the same logits";
  }
  out.judgement.verdicts.push_back(std::move(verdict));
}

// Does the adapter do anything on this suite?  Returns false where it does not.
bool check_effect(const JudgeInputs& inputs, const MetricSummary& effect, GuardResult& out) {
  const double floor = floor_of(inputs);
  Verdict verdict = guard("guard.effect", *inputs.total, GateStatus::kPass);
  verdict.subject = inputs.total->reference + "/base";
  verdict.unit = "nat";
  verdict.value = effect.mean;
  verdict.ci95 = effect.ci95;
  verdict.lower_limit = floor;
  verdict.floor = floor;
  verdict.basis = floor_text(inputs);
  verdict.reason = "the adapter changes the base by more than the noise";
  const std::optional<double> bound = effect.ci90 ? effect.ci90->lower : effect.mean;
  const bool works = bound && *bound > floor;
  if (!works) {
    verdict.status = GateStatus::kInvalid;
    verdict.reason =
        "the adapter does nothing on this suite that could be told from noise, so a pass "
        "would mean nothing";
    out.passes_invalid = "the adapter's effect cannot be told from noise";
    out.ratios_invalid = out.passes_invalid;
  }
  out.judgement.verdicts.push_back(std::move(verdict));
  return works;
}

Finding not_merged(const JudgeInputs& inputs, double distance) {
  Finding finding;
  finding.rule = "compare.not-merged";
  finding.catalogue = {"F07"};
  finding.severity = Severity::kError;
  finding.command = "compare";
  finding.subject = inputs.total->subject;
  finding.message = fmt::format(
      "{} behaves like the base although the adapter does not: the adapter is not in it",
      inputs.total->subject);
  finding.expected =
      fmt::format("KL(base || {}) above {:.3g} nat", inputs.total->subject, floor_of(inputs));
  finding.actual = fmt::format("{:.3g} nat", distance);
  finding.fix = Fix{false, "merge again and check that the adapter was loaded (mergegauge merge)"};
  return finding;
}

void check_merged(const JudgeInputs& inputs, double effect, const MetricSummary& distance,
                  GuardResult& out) {
  const double floor = floor_of(inputs);
  Verdict verdict = guard("guard.merged-differs-from-base", *inputs.total, GateStatus::kPass);
  verdict.subject = "base/" + inputs.total->subject;
  verdict.unit = "nat";
  verdict.value = distance.mean;
  verdict.ci95 = distance.ci95;
  verdict.lower_limit = floor;
  verdict.floor = floor;
  verdict.basis = floor_text(inputs);
  verdict.reason = "the subject is not the base";
  if (!(distance.mean && *distance.mean > floor)) {
    verdict.status = GateStatus::kInvalid;
    // KL grows with the square of what was merged: 0.1 of the effect is a third of the adapter.  An
    // effect near the floor may lie below it after a right merge; that is no proof of a missing
    // one.
    if (distance.mean && *distance.mean <= 0.1 * effect) {
      verdict.reason = "the subject cannot be told from the base: nothing was merged (F07)";
      out.judgement.findings.push_back(not_merged(inputs, *distance.mean));
    } else {
      verdict.reason =
          "the adapter's effect is too near the noise to tell the subject from the base";
    }
    out.all_invalid = "the subject cannot be told from the base";
  }
  out.judgement.verdicts.push_back(std::move(verdict));
}

}  // namespace

GuardResult check_served(const JudgeInputs& inputs) {
  GuardResult out;
  check_finite(inputs, out);
  const MetricSummary* effect = find_metric(inputs.total->metrics, "kl_base");
  const std::optional<double> bound = effect == nullptr ? std::nullopt
                                      : effect->ci90    ? std::optional(effect->ci90->lower)
                                                        : effect->mean;
  if (!(bound && *bound > floor_of(inputs))) {
    out.ratios_invalid = "the adapter's effect cannot be told from noise";
  }
  return out;
}

GuardResult check_guards(const JudgeInputs& inputs) {
  GuardResult out;
  check_finite(inputs, out);
  check_self(inputs, out);
  check_exact_zero(inputs, out);
  const MetricSummary* effect = find_metric(inputs.total->metrics, "kl_base");
  const MetricSummary* distance = find_metric(inputs.total->metrics, "kl_base_subject");
  if (effect != nullptr && effect->count > 0 && check_effect(inputs, *effect, out) &&
      distance != nullptr && distance->count > 0) {
    check_merged(inputs, effect->mean.value_or(0.0), *distance, out);
  }
  return out;
}

}  // namespace mg
