#include "harness/verdict/gate_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/metrics/equivalence.h"

namespace mg {
namespace {

void copy_numbers(const GateValue& value, Verdict& verdict) {
  verdict.value = value.value;
  verdict.ci95 = value.ci95;
  verdict.ci90 = value.ci90;
}

// Nothing below the fewest prompts passes: its interval is not to be trusted that far.
bool too_few(const GateValue& value, std::int64_t fewest_prompts, Verdict& verdict) {
  if (value.prompts >= fewest_prompts && value.ci90) {
    return false;
  }
  verdict.needs_prompts = std::max(verdict.needs_prompts.value_or(0), fewest_prompts);
  return true;
}

std::string needs_text(const Verdict& verdict, std::int64_t prompts) {
  if (!verdict.needs_prompts) {
    return "more prompts would not decide it: the value lies on the limit";
  }
  return fmt::format("about {} prompts would decide it; this run has {}", *verdict.needs_prompts,
                     prompts);
}

void finish(Decision decision, const GateValue& value, std::int64_t fewest_prompts,
            const std::string& limit_text, Verdict& verdict) {
  if (decision == Decision::kOutside) {
    verdict.status = GateStatus::kFail;
    verdict.needs_prompts.reset();
    verdict.reason =
        fmt::format("{:.3g} with its interval lies outside {}", value.value, limit_text);
    return;
  }
  if (too_few(value, fewest_prompts, verdict)) {
    verdict.status = GateStatus::kInconclusive;
    verdict.reason = fmt::format("{} prompts are too few to judge; {} are needed", value.prompts,
                                 *verdict.needs_prompts);
    return;
  }
  if (decision == Decision::kInside) {
    verdict.status = GateStatus::kPass;
    verdict.needs_prompts.reset();
    verdict.reason =
        fmt::format("{:.3g} with its interval lies within {}", value.value, limit_text);
    return;
  }
  verdict.status = GateStatus::kInconclusive;
  verdict.reason = fmt::format("the interval of {:.3g} reaches across {}; {}", value.value,
                               limit_text, needs_text(verdict, value.prompts));
}

// Without one event, the bound is 3 / rows: as many prompts of this length as bring it below the
// limit.
std::optional<std::int64_t> prompts_for_no_event(const GateValue& value, double limit) {
  if (!(limit > 0.0) || value.prompts == 0) {
    return std::nullopt;
  }
  const double rows_per_prompt =
      static_cast<double>(value.rows) / static_cast<double>(value.prompts);
  return static_cast<std::int64_t>(std::ceil(3.0 / limit / rows_per_prompt));
}

}  // namespace

std::optional<ResolvedLimit> resolve_limit(const GateLimit& limit, std::optional<double> floor) {
  ResolvedLimit out;
  out.floor = floor;
  const bool by_floor = limit.times_floor && floor;
  if (!by_floor && !limit.value) {
    return std::nullopt;
  }
  out.value = std::max(by_floor ? *limit.times_floor * *floor : 0.0, limit.value.value_or(0.0));
  if (limit.times_floor && limit.value) {
    out.text = fmt::format("max({:g} x floor, {:g})", *limit.times_floor, *limit.value);
  } else if (limit.times_floor) {
    out.text = fmt::format("{:g} x floor", *limit.times_floor);
  } else {
    out.text = fmt::format("{:g}", *limit.value);
  }
  if (limit.times_floor && !floor) {
    out.text += " (no floor was measured)";
  }
  return out;
}

void apply_at_most(const GateValue& value, double limit, std::int64_t fewest_prompts,
                   Verdict& verdict) {
  copy_numbers(value, verdict);
  verdict.limit = limit;
  const Decision decision = value.ci90 ? decide_upper(*value.ci90, limit) : Decision::kUndecided;
  if (value.ci90) {
    verdict.smallest_margin = value.ci90->upper;
  }
  if (value.se) {
    verdict.power = upper_bound_power(*value.se, limit, value.neutral, value.prompts);
    if (decision == Decision::kUndecided) {
      verdict.needs_prompts = value.method == IntervalMethod::kRuleOfThree
                                  ? prompts_for_no_event(value, limit)
                                  : prompts_for_bound(*value.se, value.prompts, value.value, limit);
    }
  }
  if (value.method == IntervalMethod::kRuleOfThree) {
    verdict.power = decision == Decision::kInside ? 1.0 : 0.0;
  }
  finish(decision, value, fewest_prompts, fmt::format("at most {:.3g}", limit), verdict);
}

void apply_between(const GateValue& value, double lower, double upper, std::int64_t fewest_prompts,
                   Verdict& verdict) {
  copy_numbers(value, verdict);
  verdict.limit = upper;
  verdict.lower_limit = lower;
  const double middle = 0.5 * (lower + upper);
  const double margin = 0.5 * (upper - lower);
  const Decision decision =
      value.ci90 ? decide_two_sided(*value.ci90, lower, upper) : Decision::kUndecided;
  if (value.ci90) {
    verdict.smallest_margin =
        std::max(std::abs(value.ci90->lower - middle), std::abs(value.ci90->upper - middle));
  }
  if (value.se) {
    verdict.power = equivalence_power(*value.se, margin, value.prompts);
    if (decision == Decision::kUndecided) {
      // Enough for no true difference at all, and enough to tell this value from the nearer end.
      const auto equal = prompts_for_equivalence(*value.se, value.prompts, margin);
      const auto apart =
          prompts_for_bound(*value.se, value.prompts, std::abs(value.value - middle), margin);
      verdict.needs_prompts =
          equal && apart ? std::optional(std::max(*equal, *apart)) : std::nullopt;
    }
  }
  finish(decision, value, fewest_prompts, fmt::format("{:.3g} .. {:.3g}", lower, upper), verdict);
}

}  // namespace mg
