#include "reports/headline.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "reports/format.h"
#include "reports/labels.h"
#include "reports/server_words.h"

namespace mg {
namespace {

constexpr std::size_t kMostNumbers = 3;

std::string upper_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return out;
}

bool is_blocking(const Verdict& verdict, GateStatus status) {
  return verdict.blocking && verdict.status == status;
}

bool any_blocking_failed(const Report& report) {
  return std::any_of(report.verdicts.begin(), report.verdicts.end(),
                     [](const Verdict& v) { return is_blocking(v, GateStatus::kFail); });
}

bool only_files_failed(const Report& report) {
  const bool beyond_files =
      std::any_of(report.findings.begin(), report.findings.end(), [](const Finding& finding) {
        return finding.severity == Severity::kError && finding.command != "lint";
      });
  return !beyond_files && !any_blocking_failed(report);
}

// The merge passed everything; the arithmetic it is served in is what fails.
bool only_serving_failed(const Report& report) {
  return !any_blocking_failed(report) &&
         std::all_of(report.findings.begin(), report.findings.end(), [](const Finding& finding) {
           return finding.severity != Severity::kError ||
                  finding.rule == "compare.serving-overflow";
         });
}

// Nothing but the speed.
bool only_speed_failed(const Report& report) {
  const bool other_gate =
      std::any_of(report.verdicts.begin(), report.verdicts.end(), [](const Verdict& verdict) {
        return is_blocking(verdict, GateStatus::kFail) && !verdict.gate.starts_with("bench.");
      });
  const bool error =
      std::any_of(report.findings.begin(), report.findings.end(),
                  [](const Finding& finding) { return finding.severity == Severity::kError; });
  return !other_gate && !error;
}

// The merge passed everything; what is to be served in its place is not it.
bool only_served_failed(const Report& report) {
  const bool other_gate =
      std::any_of(report.verdicts.begin(), report.verdicts.end(), [](const Verdict& verdict) {
        return is_blocking(verdict, GateStatus::kFail) && !is_served(verdict);
      });
  const bool other_error =
      std::any_of(report.findings.begin(), report.findings.end(), [](const Finding& finding) {
        return finding.severity == Severity::kError && !is_served(finding);
      });
  return !report.also.empty() && !other_gate && !other_error;
}

std::int64_t missed_faults(const Report& report) {
  return report.selftest ? count_detections(*report.selftest).missed : 0;
}

/// What a run of `mergegauge generate` or `bench` says, which judges no merge as a whole.
std::string title_of_part(const Report& report) {
  if (report.generation) {
    switch (report.status) {
      case RunStatus::kPass:
        return report.verdicts.empty() ? "The texts stand side by side."
                                       : "Merged writes what base + adapter writes.";
      case RunStatus::kFail:
        return "Merged does not write what base + adapter writes.";
      default:
        return "";
    }
  }
  if (report.bench->server) {
    return server_title(report);
  }
  switch (report.status) {
    case RunStatus::kPass:
      return report.verdicts.empty() ? "The lanes were measured."
                                     : "Merged is not slower than base + adapter.";
    case RunStatus::kFail:
      return "Merged is slower than base + adapter.";
    default:
      return "";
  }
}

std::string title_of(const Report& report) {
  if (report.comparisons.empty() && !report.audit && (report.generation || report.bench)) {
    if (std::string title = title_of_part(report); !title.empty()) {
      return title;
    }
  }
  const bool compared = !report.comparisons.empty();
  const bool audited = report.audit.has_value();
  switch (report.status) {
    case RunStatus::kPass:
      if (report.selftest) {
        return "The checks are alive: every planted fault was caught.";
      }
      return compared  ? "The merged checkpoint answers as base + adapter does."
             : audited ? "The merged checkpoint holds base + adapter."
                       : "No problem was found in the files.";
    case RunStatus::kFail:
      if (missed_faults(report) > 0) {
        return "The checks did not catch every planted fault.";
      }
      if (report.bench && only_speed_failed(report)) {
        return "The merge is right, but it is slower than base + adapter.";
      }
      if (compared && only_served_failed(report)) {
        return "The merge is right, but what is to be served in its place does not answer as it "
               "does.";
      }
      if (compared && only_serving_failed(report)) {
        return "The merge is right, but the model overflows in the arithmetic that serves it.";
      }
      if (!only_files_failed(report)) {
        return "The merged checkpoint is not base + adapter.";
      }
      return compared ? "The outputs are right, but the checkpoint's files are not."
                      : "The checkpoint's files are not right.";
    case RunStatus::kInconclusive:
      return "This run could not decide.";
    case RunStatus::kInvalid:
      return "This run's numbers would mean nothing.";
    case RunStatus::kInputError:
      return "The run stopped: it cannot use what it was given.";
    case RunStatus::kInternalError:
      return "The run stopped by a fault of the program or the device.";
  }
  return "";
}

std::string sentence(std::string text) {
  if (!text.empty() && text.back() != '.') {
    text += '.';
  }
  if (!text.empty() && text.front() >= 'a' && text.front() <= 'z') {
    text.front() = static_cast<char>(text.front() - 'a' + 'A');
  }
  return text;
}

void add_sentence(std::string& text, std::string next) {
  if (!text.empty()) {
    text += ' ';
  }
  text += sentence(std::move(next));
}

std::string gate_sentence(const Verdict& verdict) {
  std::string text = fmt::format("gate {}", verdict.gate);
  if (verdict.gate == "server.answers") {  // its reason says which and how often
    text += fmt::format(": {}", verdict.reason);
  } else if (verdict.gate == "server.logprobs" && verdict.value) {  // and this one whose
    text += fmt::format(": {}: {}, {}", verdict.reason, format_value(*verdict.value, verdict.unit),
                        limit_text(verdict));
  } else if (verdict.value) {
    text += fmt::format(": {}", format_value(*verdict.value, verdict.unit));
    const std::string limit = limit_text(verdict);
    text += limit.empty() ? "" : fmt::format(", {}", limit);
  } else if (!verdict.reason.empty()) {
    text += fmt::format(": {}", verdict.reason);
  }
  return text;
}

std::string fail_reason(const Report& report) {
  std::string text;
  std::int64_t untold = 0;
  bool told = false;
  // What is wrong in the weights or outputs explains more than what is wrong in a file.
  for (const bool of_lint : {false, true}) {
    for (const Finding& finding : report.findings) {
      if (finding.severity != Severity::kError || (finding.command == "lint") != of_lint) {
        continue;
      }
      if (told) {
        ++untold;
        continue;
      }
      add_sentence(text, fmt::format("{} ({})", finding.message, finding.subject));
      told = true;
    }
  }
  const Verdict* first_gate = nullptr;
  std::int64_t failed_gates = 0;
  for (const Verdict& verdict : report.verdicts) {
    if (is_blocking(verdict, GateStatus::kFail)) {
      first_gate = first_gate == nullptr ? &verdict : first_gate;
      ++failed_gates;
    }
  }
  if (first_gate != nullptr) {
    add_sentence(text, gate_sentence(*first_gate));
  }
  const Comparison* comparison = main_comparison(report);
  if (comparison != nullptr && comparison->culprit && !only_served_failed(report)) {
    add_sentence(text,
                 fmt::format("the difference begins at {}", place_text(*comparison->culprit)));
  }
  std::string more;
  if (untold > 0) {
    more = format_plural(untold, "more error finding");
  }
  if (failed_gates > 1) {
    more += fmt::format("{}{} failed", more.empty() ? "" : ", ",
                        format_plural(failed_gates - 1, "more blocking gate"));
  }
  if (!more.empty()) {
    add_sentence(text, more);
  }
  return text;
}

std::string undecided_reason(const Report& report) {
  std::string text;
  std::int64_t needs = 0;
  for (const Verdict& verdict : report.verdicts) {
    const bool undecided = is_blocking(verdict, GateStatus::kInconclusive) ||
                           is_blocking(verdict, GateStatus::kNotRun);
    if (undecided && text.empty()) {
      add_sentence(text, verdict.reason.empty()
                             ? gate_sentence(verdict)
                             : fmt::format("gate {}: {}", verdict.gate, verdict.reason));
    }
    needs = undecided ? std::max(needs, verdict.needs_prompts.value_or(0)) : needs;
  }
  if (needs > 0 && text.find(format_count(needs)) == std::string::npos) {
    add_sentence(text, fmt::format("{} or more could decide", format_plural(needs, "prompt")));
  }
  if (!report.not_checked.empty()) {
    add_sentence(text, fmt::format("not checked: {}", report.not_checked.front()));
    const auto others = std::ssize(report.not_checked) - 1;
    if (others > 0) {
      add_sentence(text, fmt::format("{} could not be checked either",
                                     format_plural(others, "other thing")));
    }
  } else if (report.audit && report.audit->summary.not_checked > 0) {
    add_sentence(text, fmt::format("{} could not be checked",
                                   format_plural(report.audit->summary.not_checked, "tensor")));
  }
  return text.empty() ? "Nothing was measured that a verdict could rest on." : text;
}

std::string invalid_reason(const Report& report) {
  for (const Verdict& verdict : report.verdicts) {
    if (is_blocking(verdict, GateStatus::kInvalid)) {
      return sentence(verdict.reason.empty() ? gate_sentence(verdict) : verdict.reason);
    }
  }
  return "A guard fired.";
}

std::string selftest_reason(const SelftestResult& selftest) {
  std::string text = sentence(detections_text(selftest));
  for (const Detection& detection : selftest.detections) {
    if (detection.outcome == DetectionOutcome::kMissed) {
      add_sentence(text, fmt::format("missed {}: {}", detection.damage, detection.note));
    }
  }
  return text;
}

std::string pass_reason(const Report& report) {
  const GateCounts gates = count_gates(report);
  const SeverityCounts findings = count_findings(report);
  std::string text;
  if (const std::int64_t blocking = gates.all() - gates.advisory; blocking > 0) {
    text = fmt::format("All {} passed", format_plural(blocking, "blocking gate"));
    const std::string size = size_text(report);
    text += size.empty() ? "." : fmt::format(" on {}.", size);
  }
  if (findings.warnings > 0) {
    add_sentence(text, fmt::format("{} to look at", format_plural(findings.warnings, "warning")));
  }
  return text.empty() ? sentence(format_plural(findings.notes, "note")) : text;
}

std::string error_reason(const Report& report) {
  if (!report.error) {
    return "";
  }
  const ErrorRecord& error = *report.error;
  return error.where.empty() ? sentence(error.what)
                             : sentence(fmt::format("{} ({})", error.what, error.where));
}

std::string reason_of(const Report& report) {
  switch (report.status) {
    case RunStatus::kPass:
      return report.selftest
                 ? selftest_reason(*report.selftest) + " Without damage: " + pass_reason(report)
                 : pass_reason(report);
    case RunStatus::kFail:
      return missed_faults(report) > 0 ? selftest_reason(*report.selftest) : fail_reason(report);
    case RunStatus::kInconclusive:
      return undecided_reason(report);
    case RunStatus::kInvalid:
      return invalid_reason(report);
    case RunStatus::kInputError:
    case RunStatus::kInternalError:
      return error_reason(report);
  }
  return "";
}

/// Interval, limit and floor of a number, as far as they are known.
std::string detail_of(const std::optional<Interval>& interval, std::string_view unit,
                      const Verdict* gate) {
  std::string text;
  const auto add = [&text](std::string part) {
    text += (text.empty() ? "" : ", ") + std::move(part);
  };
  const GateInterval judged = gate == nullptr ? GateInterval{} : gate_interval(*gate);
  if (judged.interval) {
    add(fmt::format("{} % interval {}", judged.percent, format_interval(judged.interval, unit)));
  } else if (interval) {
    add("95 % interval " + format_interval(interval, unit));
  }
  if (gate != nullptr) {
    const std::string limit = limit_text(*gate);
    if (!limit.empty()) {
      add(limit);
    }
    if (gate->floor) {
      add("noise floor " + format_value(*gate->floor, unit == "nat" ? "" : unit));
    }
  }
  return text;
}

GateStatus status_of(const Verdict* gate) {
  return gate == nullptr ? GateStatus::kNotRun : gate->status;
}

KeyNumber kl_number(const Report& report, const Comparison& comparison, const MetricSummary& kl) {
  const Verdict* gate = find_verdict(report, "kl.mean", comparison);
  KeyNumber number;
  number.label = fmt::format("KL divergence, {} to {}", lane_label(comparison.reference),
                             lane_label(comparison.subject));
  number.value = kl.mean ? format_value(*kl.mean, "nat")
                         : fmt::format("not finite in {} rows", format_count(kl.non_finite));
  number.detail = detail_of(kl.ci95, "nat", gate);
  number.status = status_of(gate);
  return number;
}

std::optional<KeyNumber> mer_number(const Report& report, const Comparison& comparison) {
  if (!comparison.ratios.mer.value) {
    return std::nullopt;
  }
  const Verdict* gate = find_verdict(report, "merge.error-ratio", comparison);
  KeyNumber number;
  number.label = "adapter's effect lost by the merge";
  number.value = format_percent(*comparison.ratios.mer.value);
  // The gate's unit is a ratio; here it reads as a share.
  std::optional<Verdict> as_share;
  if (gate != nullptr) {
    as_share = *gate;
    as_share->unit = "share";
  }
  number.detail = detail_of(comparison.ratios.mer.ci95, "share", as_share ? &*as_share : nullptr);
  number.status = status_of(gate);
  return number;
}

KeyNumber flip_number(const Report& report, const Comparison& comparison) {
  const Verdict* gate = find_verdict(report, "flips.real", comparison);
  KeyNumber number;
  number.label = "first tokens that really changed";
  number.value =
      fmt::format("{} of {}", format_count(comparison.flips.real), format_count(comparison.tokens));
  number.detail =
      fmt::format("and {} within the arithmetic's noise", format_count(comparison.flips.near_tie));
  const std::string limit = gate == nullptr ? "" : limit_text(*gate);
  number.detail += limit.empty() ? "" : ", " + limit;
  number.status = status_of(gate);
  return number;
}

std::optional<KeyNumber> weight_number(const Report& report) {
  if (!report.audit) {
    return std::nullopt;
  }
  std::int64_t all = 0;
  std::int64_t right = 0;
  std::int64_t wrong_others = 0;
  for (const TensorAudit& tensor : report.audit->tensors) {
    const bool adapted = tensor.tensor_class == TensorClass::kTarget ||
                         tensor.tensor_class == TensorClass::kReplaced;
    const bool failed = tensor.verdict == GateStatus::kFail;
    all += adapted ? 1 : 0;
    right += adapted && tensor.verdict == GateStatus::kPass ? 1 : 0;
    wrong_others += !adapted && failed ? 1 : 0;
  }
  if (all == 0) {
    return std::nullopt;
  }
  KeyNumber number;
  number.label = "tensors that hold the adapter once";
  number.value = fmt::format("{} of {}", format_count(right), format_count(all));
  number.status = right == all && wrong_others == 0 ? GateStatus::kPass : GateStatus::kFail;
  const MergeRecipe& recipe = report.audit->recipe;
  if (recipe.share) {
    number.detail = fmt::format("{} of their elements as {} gives them",
                                format_percent(*recipe.share), recipe.name);
  }
  if (wrong_others > 0) {
    number.detail += fmt::format("{}{} wrong", number.detail.empty() ? "" : ", ",
                                 format_plural(wrong_others, "other tensor"));
  }
  return number;
}

KeyNumber detection_number(const SelftestResult& selftest) {
  const DetectionCounts counts = count_detections(selftest);
  KeyNumber number;
  number.label = "planted faults that were caught";
  number.value = fmt::format("{} of {}", counts.caught, counts.planted());
  number.detail = counts.not_planted == 0 ? ""
                                          : format_plural(counts.not_planted, "other") +
                                                " not planted: of no meaning for this merge";
  number.status = counts.missed > 0 ? GateStatus::kFail : GateStatus::kPass;
  return number;
}

std::vector<KeyNumber> numbers_of(const Report& report) {
  std::vector<KeyNumber> numbers;
  if (report.selftest) {
    numbers.push_back(detection_number(*report.selftest));
  }
  if (report.bench && report.bench->server) {
    numbers = server_numbers(report);
  }
  if (const Comparison* comparison = main_comparison(report)) {
    if (const MetricSummary* kl = find_metric(comparison->metrics, "kl")) {
      numbers.push_back(kl_number(report, *comparison, *kl));
    }
    if (auto mer = mer_number(report, *comparison)) {
      numbers.push_back(std::move(*mer));
    }
  }
  if (auto weights = weight_number(report)) {
    numbers.push_back(std::move(*weights));
  }
  if (const Comparison* comparison = main_comparison(report)) {
    numbers.push_back(flip_number(report, *comparison));
  }
  const bool linted = !report.findings.empty() || report.status == RunStatus::kPass;
  if (numbers.empty() && !report.error && linted) {
    const SeverityCounts findings = count_findings(report);
    const auto add = [&numbers](std::int64_t count, std::string_view noun, GateStatus status) {
      numbers.push_back(
          {fmt::format("{}{}", noun, count == 1 ? "" : "s"), format_count(count), "", status});
    };
    add(findings.errors, "error", findings.errors > 0 ? GateStatus::kFail : GateStatus::kPass);
    add(findings.warnings, "warning", GateStatus::kNotRun);
    add(findings.notes, "note", GateStatus::kNotRun);
  }
  std::stable_partition(numbers.begin(), numbers.end(),
                        [](const KeyNumber& number) { return number.status == GateStatus::kFail; });
  numbers.resize(std::min(numbers.size(), kMostNumbers));
  return numbers;
}

/// Smaller is more worth reading.
int importance(const Verdict& verdict) {
  switch (verdict.status) {
    case GateStatus::kFail:
      return verdict.blocking ? 0 : 4;
    case GateStatus::kInvalid:
      return verdict.blocking ? 1 : 5;
    case GateStatus::kInconclusive:
      return verdict.blocking ? 2 : 6;
    case GateStatus::kNotRun:
      return verdict.blocking ? 3 : 8;
    case GateStatus::kPass:
      return 7;
  }
  return 9;
}

}  // namespace

Headline headline(const Report& report) {
  return {upper_case(run_status_name(report.status)), title_of(report), reason_of(report),
          numbers_of(report)};
}

const Comparison* main_comparison(const Report& report) {
  const auto found = std::find_if(
      report.comparisons.begin(), report.comparisons.end(),
      [](const Comparison& c) { return c.reference == "adapter" && c.subject == "merged"; });
  if (found != report.comparisons.end()) {
    return &*found;
  }
  return report.comparisons.empty() ? nullptr : &report.comparisons.front();
}

const Verdict* find_verdict(const Report& report, std::string_view gate,
                            const Comparison& comparison) {
  const std::string pair = comparison.reference + "/" + comparison.subject;
  const auto found =
      std::find_if(report.verdicts.begin(), report.verdicts.end(), [&](const Verdict& verdict) {
        return verdict.gate == gate && (verdict.subject.empty() || verdict.subject == pair);
      });
  return found == report.verdicts.end() ? nullptr : &*found;
}

SeverityCounts count_findings(const Report& report) {
  SeverityCounts counts;
  for (const Finding& finding : report.findings) {
    counts.errors += finding.severity == Severity::kError ? 1 : 0;
    counts.warnings += finding.severity == Severity::kWarning ? 1 : 0;
    counts.notes += finding.severity == Severity::kNote ? 1 : 0;
  }
  return counts;
}

GateCounts count_gates(const Report& report) {
  GateCounts counts;
  for (const Verdict& verdict : report.verdicts) {
    counts.pass += verdict.status == GateStatus::kPass ? 1 : 0;
    counts.fail += verdict.status == GateStatus::kFail ? 1 : 0;
    counts.inconclusive += verdict.status == GateStatus::kInconclusive ? 1 : 0;
    counts.invalid += verdict.status == GateStatus::kInvalid ? 1 : 0;
    counts.not_run += verdict.status == GateStatus::kNotRun ? 1 : 0;
    counts.advisory += verdict.blocking ? 0 : 1;
  }
  return counts;
}

std::string counts_text(const Report& report) {
  const GateCounts gates = count_gates(report);
  const SeverityCounts findings = count_findings(report);
  return fmt::format(
      "Gates: {} passed, {} failed, {} undecided, {} invalid, {} not run. Findings: {}, {}, {}.",
      gates.pass, gates.fail, gates.inconclusive, gates.invalid, gates.not_run,
      format_plural(findings.errors, "error"), format_plural(findings.warnings, "warning"),
      format_plural(findings.notes, "note"));
}

std::vector<const Verdict*> gates_by_importance(const Report& report) {
  std::vector<const Verdict*> gates;
  for (const Verdict& verdict : report.verdicts) {
    gates.push_back(&verdict);
  }
  std::stable_sort(gates.begin(), gates.end(), [](const Verdict* left, const Verdict* right) {
    return importance(*left) < importance(*right);
  });
  return gates;
}

std::vector<const Finding*> findings_by_severity(const Report& report) {
  std::vector<const Finding*> findings;
  for (const Finding& finding : report.findings) {
    findings.push_back(&finding);
  }
  std::stable_sort(findings.begin(), findings.end(), [](const Finding* left, const Finding* right) {
    return left->severity < right->severity;
  });
  return findings;
}

}  // namespace mg
