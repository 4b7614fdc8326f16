#include "reports/junit/junit.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/markup.h"

namespace mg {
namespace {

using html::Markup;
using html::markup;

enum class Outcome { kPass, kFailure, kError, kSkipped };

struct Case {
  std::string name;
  Outcome outcome = Outcome::kPass;
  std::string type;     // of a failure: "fail", "inconclusive", "invalid", ...
  std::string message;  // one line
  Markup body;
};

struct Suite {
  std::string name;
  std::vector<Case> cases;

  std::int64_t count(Outcome outcome) const {
    return std::count_if(cases.begin(), cases.end(),
                         [outcome](const Case& one) { return one.outcome == outcome; });
  }
};

void add_line(Markup& body, std::string_view name, std::string_view text) {
  if (!text.empty()) {
    body.add("{}: {}\n", name, text);
  }
}

std::string_view command_of(std::string_view gate) {
  const bool of_bench = gate.starts_with("bench.") || gate.starts_with("server.");
  return gate.starts_with("weights.")  ? "audit"
         : gate.starts_with("served.") ? "served"
         : of_bench                    ? "bench"
                                       : "compare";
}

Case gate_case(const Verdict& verdict, const std::string& command) {
  Case out;
  out.name = verdict.gate + (verdict.subject.empty() ? "" : " " + verdict.subject);
  const bool passed = verdict.status == GateStatus::kPass;
  out.outcome =
      passed ? Outcome::kPass : (verdict.blocking ? Outcome::kFailure : Outcome::kSkipped);
  out.type = gate_status_name(verdict.status);
  const std::string value = format_value(verdict.value, verdict.unit);
  out.message = fmt::format("{}{}: {}", verdict.blocking ? "" : "advisory, ",
                            gate_status_word(verdict.status), verdict.reason);
  const GateInterval judged = gate_interval(verdict);
  add_line(out.body, "status", gate_status_word(verdict.status));
  add_line(out.body, "value", value);
  add_line(out.body, "limit", limit_text(verdict));
  if (judged.interval) {
    add_line(out.body, fmt::format("{} % interval", judged.percent),
             format_interval(judged.interval, verdict.unit));
  }
  if (verdict.floor) {
    add_line(out.body, "noise floor", format_value(verdict.floor, verdict.unit));
  }
  add_line(out.body, "place", verdict.subject);
  add_line(out.body, "why", verdict.reason);
  add_line(out.body, "basis of the limit", verdict.basis);
  add_line(out.body, "repeat", command);
  return out;
}

/// A planted fault: it fails where it was missed.
Case detection_case(const Detection& detection, const std::string& command) {
  Case out;
  out.name = detection.damage;
  out.type = detection_outcome_name(detection.outcome);
  out.message = detection.note.empty() ? detection.story : detection.story + ": " + detection.note;
  if (detection.outcome != DetectionOutcome::kCaught) {
    out.outcome =
        detection.outcome == DetectionOutcome::kMissed ? Outcome::kFailure : Outcome::kSkipped;
  }
  add_line(out.body, "planted", detection.story);
  add_line(out.body, "outcome", detection_word(detection.outcome));
  add_line(out.body, "why", detection.note);
  add_line(out.body, "expected", ids_text(detection.expected));
  add_line(out.body, "found by lint", ids_text(detection.lint));
  add_line(out.body, "found by audit", ids_text(detection.audit));
  add_line(out.body, "found by compare", ids_text(detection.compare));
  if (detection.exit_code) {
    out.body.add("exit code of the check: {}\n", *detection.exit_code);
  }
  add_line(out.body, "repeat", command);
  return out;
}

/// All findings of a rule as one case: it fails where one of them is an error.
Case rule_case(const std::string& rule, const std::vector<const Finding*>& findings,
               const std::string& command) {
  Case out;
  out.name = rule;
  for (const Finding* finding : findings) {
    if (finding->rule != rule) {
      continue;
    }
    if (finding->severity == Severity::kError && out.outcome == Outcome::kPass) {
      out.outcome = Outcome::kFailure;
      out.type = "finding";
      out.message = finding->message;
    }
    add_line(out.body, severity_name(finding->severity), finding->message);
    add_line(out.body, "place", finding->subject);
    add_line(out.body, "expected", finding->expected);
    add_line(out.body, "actual", finding->actual);
    add_line(out.body, "fix", finding->fix ? finding->fix->what : "");
  }
  add_line(out.body, "repeat", command);
  return out;
}

Case verdict_case(const ReportView& view) {
  const Report& report = view.report;
  const Headline head = headline(report);
  Case out;
  out.name = "verdict";
  out.type = run_status_name(report.status);
  out.message = head.title;
  if (report.status != RunStatus::kPass) {
    out.outcome = report.error ? Outcome::kError : Outcome::kFailure;
  }
  out.body.add("{}: {}\n{}\n", head.verdict, head.title, head.reason);
  for (const KeyNumber& number : head.numbers) {
    out.body.add("{}: {} ({})\n", number.label, number.value, number.detail);
  }
  for (const std::string& text : report.not_checked) {
    add_line(out.body, "not checked", text);
  }
  if (report.error) {
    add_line(out.body, "error", report.error->code + ": " + report.error->what);
    add_line(out.body, "where", report.error->where);
    add_line(out.body, "expected", report.error->expected);
    add_line(out.body, "actual", report.error->actual);
    add_line(out.body, "hint", report.error->hint);
  }
  out.body.add("{}\n", counts_text(report));
  add_line(out.body, "report.json", view.digest);
  add_line(out.body, "repeat", report.inputs.command);
  return out;
}

Suite& suite_named(std::vector<Suite>& suites, std::string_view name) {
  const auto found = std::find_if(suites.begin(), suites.end(),
                                  [name](const Suite& suite) { return suite.name == name; });
  return found != suites.end() ? *found : suites.emplace_back(Suite{std::string(name), {}});
}

std::vector<Suite> suites_of(const ReportView& view) {
  const Report& report = view.report;
  std::vector<Suite> suites{{"verdict", {verdict_case(view)}}};
  if (report.selftest) {
    for (const Detection& detection : report.selftest->detections) {
      suite_named(suites, "selftest")
          .cases.push_back(detection_case(detection, report.inputs.command));
    }
  }
  for (const Verdict& verdict : report.verdicts) {
    suite_named(suites, command_of(verdict.gate))
        .cases.push_back(gate_case(verdict, report.inputs.command));
  }
  std::vector<std::string> commands;
  for (const Finding& finding : report.findings) {
    if (std::find(commands.begin(), commands.end(), finding.command) == commands.end()) {
      commands.push_back(finding.command);
    }
  }
  for (const std::string& command : commands) {
    std::vector<const Finding*> findings;
    std::vector<std::string> rules;
    for (const Finding& finding : report.findings) {
      if (finding.command == command) {
        findings.push_back(&finding);
        if (std::find(rules.begin(), rules.end(), finding.rule) == rules.end()) {
          rules.push_back(finding.rule);
        }
      }
    }
    for (const std::string& rule : rules) {
      suite_named(suites, command)
          .cases.push_back(rule_case(rule, findings, report.inputs.command));
    }
  }
  return suites;
}

Markup case_markup(const Case& one, const std::string& suite) {
  Markup out;
  out.add("    <testcase classname=\"mergegauge.{}\" name=\"{}\">\n", suite, one.name);
  switch (one.outcome) {
    case Outcome::kPass:
      out.add("      <system-out>{}</system-out>\n", one.body);
      break;
    case Outcome::kFailure:
      out.add("      <failure type=\"{}\" message=\"{}\">{}</failure>\n", one.type, one.message,
              one.body);
      break;
    case Outcome::kError:
      out.add("      <error type=\"{}\" message=\"{}\">{}</error>\n", one.type, one.message,
              one.body);
      break;
    case Outcome::kSkipped:
      out.add("      <skipped type=\"{}\" message=\"{}\">{}</skipped>\n", one.type, one.message,
              one.body);
      break;
  }
  return out.add("    </testcase>\n");
}

Markup suite_markup(const Suite& suite, const ReportView& view, std::size_t index) {
  Markup out;
  out.add(
      "  <testsuite id=\"{}\" name=\"mergegauge.{}\" tests=\"{}\" failures=\"{}\" "
      "errors=\"{}\" skipped=\"{}\"",
      index, suite.name, suite.cases.size(), suite.count(Outcome::kFailure),
      suite.count(Outcome::kError), suite.count(Outcome::kSkipped));
  if (index == 0 && view.report.timing) {
    std::string started = view.report.timing->started;
    if (started.ends_with('Z')) {
      started.pop_back();  // Jenkins reads an ISO 8601 time without a zone, as UTC
    }
    if (!started.empty()) {
      out.add(" timestamp=\"{}\"", started);
    }
    out.add(" time=\"{}\"", fmt::format("{:.3f}", view.report.timing->wall_s));
  }
  out.add(">\n");
  if (index == 0) {
    out.add(
        "    <properties>\n      <property name=\"verdict\" value=\"{}\"/>\n"
        "      <property name=\"counts\" value=\"{}\"/>\n"
        "      <property name=\"digest\" value=\"{}\"/>\n"
        "      <property name=\"version\" value=\"{}\"/>\n    </properties>\n",
        headline(view.report).verdict, counts_text(view.report), view.digest,
        view.report.tool.version);
  }
  for (const Case& one : suite.cases) {
    out += case_markup(one, suite.name);
  }
  return out.add("  </testsuite>\n");
}

}  // namespace

std::string render_junit(const ReportView& view) {
  const std::vector<Suite> suites = suites_of(view);
  Markup body;
  std::size_t tests = 0;
  std::int64_t failures = 0;
  std::int64_t errors = 0;
  for (std::size_t i = 0; i < suites.size(); ++i) {
    tests += suites[i].cases.size();
    failures += suites[i].count(Outcome::kFailure);
    errors += suites[i].count(Outcome::kError);
    body += suite_markup(suites[i], view, i);
  }
  return markup(
             "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
             "<testsuites name=\"mergegauge\" tests=\"{}\" failures=\"{}\" errors=\"{}\">\n{}"
             "</testsuites>\n",
             tests, failures, errors, body)
      .text();
}

}  // namespace mg
