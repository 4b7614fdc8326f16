#include "harness/run/selftest.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <tuple>
#include <utility>

#include "harness/io/temporary_folder.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// What is planted shows on few tokens; the undamaged merge is judged on all of them.
constexpr std::int64_t kTokensOfAPrompt = 32;
constexpr std::int64_t kForcedTokens = 256;

enum class Finder { kLint, kAudit, kCompare };

/// A rule or a gate that said something is wrong, and of what.
struct Alarm {
  Finder finder = Finder::kCompare;
  std::string id;
  std::string subject;
  bool operator<(const Alarm& other) const {
    return std::tie(finder, id, subject) < std::tie(other.finder, other.id, other.subject);
  }
};

Finder finder_of(const std::string& command) {
  return command == "lint" ? Finder::kLint : command == "audit" ? Finder::kAudit : Finder::kCompare;
}

/// Findings from warnings on and blocking gates that did not pass.
std::set<Alarm> alarms_of(const Report& report) {
  std::set<Alarm> alarms;
  for (const Finding& finding : report.findings) {
    if (finding.severity != Severity::kNote) {
      alarms.insert({finder_of(finding.command), finding.rule, finding.subject});
    }
  }
  for (const Verdict& verdict : report.verdicts) {
    if (verdict.blocking &&
        (verdict.status == GateStatus::kFail || verdict.status == GateStatus::kInvalid)) {
      const Finder finder =
          verdict.gate.starts_with("weights.") ? Finder::kAudit : Finder::kCompare;
      alarms.insert({finder, verdict.gate, verdict.subject});
    }
  }
  if (report.error) {
    alarms.insert({Finder::kLint, report.error->code, report.error->where});
  }
  return alarms;
}

void add_once(std::vector<std::string>& ids, const std::string& id) {
  if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
    ids.push_back(id);
  }
}

bool contains(const std::vector<std::string>& ids, const std::string& id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

std::string joined(const std::vector<std::string>& ids) {
  std::string text;
  for (const std::string& id : ids) {
    text += (text.empty() ? "" : ", ") + id;
  }
  return text;
}

/// What was expected and did not speak up.
std::string missing_of(const Detection& detection, bool must_fail) {
  std::vector<std::string> silent;
  for (const std::string& id : detection.expected) {
    if (!contains(detection.lint, id) && !contains(detection.audit, id) &&
        !contains(detection.compare, id)) {
      silent.push_back(id);
    }
  }
  if (!silent.empty()) {
    return "silent: " + joined(silent);
  }
  const bool failed = detection.exit_code == exit_code(RunStatus::kFail) ||
                      detection.exit_code == exit_code(RunStatus::kInputError);
  return must_fail && !failed ? "the check did not fail" : "";
}

Detection row_of(const DamageName& damage) {
  Detection row;
  row.damage = damage.name;
  row.story = damage.story;
  row.expected.assign(damage.expected.begin(), damage.expected.end());
  return row;
}

/// DoRA's norm moves with the delta, so that the audit names neither a small error of the scale
/// nor a transposition there: it says that the tensor is not what it should be.
DamageName expectation(DamageName damage, const OpenAdapter& adapter) {
  const auto& deltas = adapter.attached.deltas;
  const bool dora = std::any_of(deltas.begin(), deltas.end(), [](const AttachedDelta& delta) {
    return !delta.module->magnitude.empty();
  });
  if (dora && (damage.damage == Damage::kScale2 || damage.damage == Damage::kTranspose)) {
    damage.expected = {"audit.target-differs", "weights.targets"};
  }
  return damage;
}

class Selftest {
 public:
  Selftest(const CheckOptions& options, ThreadPool& pool, const CheckProgress& progress)
      : options_(options), pool_(pool), progress_(progress) {}

  Report run() {
    const auto begin = Clock::now();
    CheckOptions undamaged = options_;
    undamaged.known_floor = floor_;
    Report report = check(undamaged);
    if (report.error) {
      return report;
    }
    report.selftest.emplace();
    for (const DamageName& damage : damages()) {
      const auto started = Clock::now();
      report.selftest->detections.push_back(plant(damage, report));
      const std::chrono::duration<double> seconds = Clock::now() - started;
      report.timing->phases.push_back({"planted " + std::string(damage.name), seconds.count()});
    }
    add_missed(report);
    report.timing->wall_s = std::chrono::duration<double>(Clock::now() - begin).count();
    return report;
  }

 private:
  using Clock = std::chrono::steady_clock;

  Report check(const CheckOptions& options) {
    // One bar over all checks: the undamaged merge's, which weighs several others, and one a
    // damage.
    constexpr double kUndamagedWeight = 4.0;
    const double all = kUndamagedWeight + static_cast<double>(damages().size());
    const double begin = done_;
    const double weight = done_ == 0.0 ? kUndamagedWeight : 1.0;
    done_ += weight;
    // What a phase's end is of the whole check, from runs on SmolLM2.
    const std::pair<const char*, std::pair<double, double>> spans[] = {
        {"audit", {0.05, 0.2}}, {"floor", {0.2, 0.4}}, {"compare", {0.4, 1.0}}};
    return run_check(options, pool_, [&](const std::string& phase, double done) {
      double share = 0.0;
      for (const auto& [span_name, span] : spans) {
        if (phase == span_name) {
          share = span.first + done * (span.second - span.first);
        }
      }
      progress_("selftest", (begin + share * weight) / all);
    });
  }

  Detection plant(DamageName damage, const Report& right) {
    CheckOptions options = options_;
    options.digests = false;
    options.known_floor = floor_;
    options.prompt_tokens = kTokensOfAPrompt;
    options.compare.token_rows = nullptr;
    options.compare.forced_tokens = std::min(options.compare.forced_tokens, kForcedTokens);
    TemporaryFolder folder;
    std::string problem;
    if (damage.in_files) {
      options.merged = folder.path() / "merged";
      problem = write_damaged_files(options_.merged, damage.damage, options.merged);
    } else {
      options.damage = damage.damage;
      const OpenModel base(options_.base);
      const OpenAdapter adapter(options_.adapter, base);
      const OpenModel merged(options_.merged);
      problem = DamagedTensors(base, adapter, merged, damage.damage).not_planted();
      damage = expectation(damage, adapter);
    }
    if (!problem.empty()) {
      done_ += 1.0;
      Detection row = row_of(damage);
      row.outcome = DetectionOutcome::kNotPlanted;
      row.note = problem;
      return row;
    }
    return detect(damage, right, check(options));
  }

  static void add_missed(Report& report) {
    for (const Detection& row : report.selftest->detections) {
      if (row.outcome == DetectionOutcome::kMissed) {
        report.findings.push_back({.rule = "selftest.missed",
                                   .catalogue = {},
                                   .severity = Severity::kError,
                                   .command = "selftest",
                                   .subject = row.damage,
                                   .message = "a planted fault was not caught: " + row.story,
                                   .expected = joined(row.expected),
                                   .actual = row.note,
                                   .fix = std::nullopt});
      }
    }
    report.status = decide_status({.findings = report.findings,
                                   .verdicts = report.verdicts,
                                   .not_checked = !report.not_checked.empty()});
  }

  const CheckOptions& options_;
  ThreadPool& pool_;
  const CheckProgress& progress_;
  std::shared_ptr<std::optional<FloorRun>> floor_ = std::make_shared<std::optional<FloorRun>>();
  double done_ = 0.0;
};

}  // namespace

Detection detect(const DamageName& damage, const Report& right, const Report& damaged) {
  Detection row = row_of(damage);
  const std::set<Alarm> before = alarms_of(right);
  for (const Alarm& alarm : alarms_of(damaged)) {
    if (before.count(alarm) == 0) {
      add_once(alarm.finder == Finder::kLint    ? row.lint
               : alarm.finder == Finder::kAudit ? row.audit
                                                : row.compare,
               alarm.id);
    }
  }
  row.exit_code = exit_code(damaged.status);
  row.note = missing_of(row, damage.fails);
  row.outcome = row.note.empty() ? DetectionOutcome::kCaught : DetectionOutcome::kMissed;
  if (row.outcome == DetectionOutcome::kCaught && !damage.fails) {
    row.note = "a lossy recipe, not a wrong one: warned of with its price";
  }
  return row;
}

Report run_selftest(const CheckOptions& options, ThreadPool& pool, const CheckProgress& progress) {
  MG_CHECK(options.damage == Damage::kNone, "a selftest plants its own damage");
  return Selftest(options, pool, progress).run();
}

}  // namespace mg
