#include "reports/history/baseline.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>

#include "kernels/core/error.h"
#include "reports/format.h"
#include "reports/headline.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

constexpr double kTolerated = 1.1;  // growth that matters to nobody
constexpr std::array<std::string_view, 3> kFollowed{"kl.mean", "merge.error-ratio", "flips.real"};

Error incomparable(const std::string& file, const FieldDifference& difference) {
  return Error({.code = "baseline.incomparable",
                .what = fmt::format("the baseline was measured on another {}", difference.field),
                .where = file,
                .expected = difference.here,
                .actual = difference.there,
                .hint = "give a baseline of the same base, adapter, prompts, arithmetic, backend "
                        "and version"});
}

bool is_database(const std::filesystem::path& file) {
  constexpr std::string_view kMagic = "SQLite format 3";
  std::string head(kMagic.size(), '\0');
  std::ifstream stream(file, std::ios::binary);
  stream.read(head.data(), static_cast<std::streamsize>(head.size()));
  return stream && head == kMagic;
}

std::optional<Baseline> from_history(const std::filesystem::path& file,
                                     const ComparabilityKey& key) {
  const History history = History::open(file, false);
  constexpr std::int64_t kMost = 1000;
  const std::vector<HistoryRun> runs = history.runs(key, kMost);
  const auto passed = std::find_if(runs.rbegin(), runs.rend(),
                                   [](const HistoryRun& run) { return run.status == "pass"; });
  if (passed != runs.rend()) {
    return Baseline{fmt::format("{}, run {} of {}", file.string(), passed->id, passed->started),
                    key, passed->values};
  }
  if (!runs.empty()) {
    throw Error({.code = "baseline.none-passed",
                 .what = "no comparable run of the history passed",
                 .where = file.string(),
                 .expected = "a run that passed",
                 .actual = format_plural(std::ssize(runs), "comparable run"),
                 .hint = "give a report.json as the baseline"});
  }
  const std::vector<HistorySeries> series = history.series();
  if (series.empty()) {
    return std::nullopt;
  }
  throw incomparable(file.string(), first_difference(key, series.front().key)
                                        .value_or(FieldDifference{"run", "a comparable run", ""}));
}

Finding first_run(const std::filesystem::path& file) {
  return {.rule = "baseline.first-run",
          .catalogue = {},
          .severity = Severity::kNote,
          .command = "compare",
          .subject = file.string(),
          .message = "the history is empty: there is no earlier run to hold this one against",
          .expected = {},
          .actual = {},
          .fix = std::nullopt};
}

}  // namespace

std::optional<Baseline> read_baseline(const std::filesystem::path& file, const Report& report) {
  const ComparabilityKey key = comparability_key(report);
  if (is_database(file)) {
    return from_history(file, key);
  }
  const Report earlier = read_report_file(file);
  const ComparabilityKey other = comparability_key(earlier);
  if (const auto difference = first_difference(key, other)) {
    throw incomparable(file.string(), *difference);
  }
  return Baseline{file.string(), other, history_values(earlier)};
}

std::vector<Verdict> judge_against(const Baseline& baseline, const Report& report) {
  std::vector<Verdict> verdicts;
  for (const std::string_view gate : kFollowed) {
    const auto now = std::find_if(report.verdicts.begin(), report.verdicts.end(),
                                  [gate](const Verdict& verdict) { return verdict.gate == gate; });
    const auto then =
        std::find_if(baseline.values.begin(), baseline.values.end(),
                     [gate](const HistoryValue& value) { return value.gate == gate; });
    if (now == report.verdicts.end() || then == baseline.values.end() || !now->value ||
        !then->interval) {
      continue;
    }
    Verdict verdict = *now;
    verdict.gate = fmt::format("baseline.{}", gate);
    verdict.limit = std::max(kTolerated * then->interval->upper, now->floor.value_or(0.0));
    verdict.lower_limit.reset();
    verdict.power.reset();
    verdict.needs_prompts.reset();
    verdict.smallest_margin.reset();
    verdict.basis =
        fmt::format("max({} x the baseline's upper bound, floor); {}", kTolerated, baseline.source);
    const auto interval = gate_interval(*now).interval;
    const Interval judged = interval.value_or(Interval{*now->value, *now->value});
    if (judged.upper <= *verdict.limit) {
      verdict.status = GateStatus::kPass;
      verdict.reason = "no further from the reference than the baseline was";
    } else if (judged.lower > *verdict.limit) {
      verdict.status = GateStatus::kFail;
      verdict.reason = fmt::format("the baseline had {}", format_value(then->value, now->unit));
    } else {
      verdict.status = GateStatus::kInconclusive;
      verdict.reason = fmt::format("the interval reaches across; the baseline had {}",
                                   format_value(then->value, now->unit));
    }
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

void hold_against_baseline(const std::filesystem::path& file, Report& report) {
  if (report.error) {
    return;
  }
  try {
    const std::optional<Baseline> baseline = read_baseline(file, report);
    if (!baseline) {
      report.findings.push_back(first_run(file));
      return;
    }
    for (Verdict& verdict : judge_against(*baseline, report)) {
      report.verdicts.push_back(std::move(verdict));
    }
  } catch (const Error& error) {
    const ErrorParts& parts = error.parts();
    report.error =
        ErrorRecord{parts.code, parts.what, parts.where, parts.expected, parts.actual, parts.hint};
  }
  report.status = decide_status({.findings = report.findings,
                                 .verdicts = report.verdicts,
                                 .input_error = report.error.has_value(),
                                 .internal_error = false,
                                 .not_checked = !report.not_checked.empty()});
}

void require_readable_baseline(const std::filesystem::path& file) {
  if (is_database(file)) {
    History::open(file, false);
  } else {
    read_report_file(file);
  }
}

}  // namespace mg
