#include "reports/markdown/markdown.h"

#include <fmt/format.h>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/text.h"

namespace mg {
namespace {

constexpr std::size_t kMostGates = 8;
constexpr std::size_t kMostFindings = 5;
constexpr std::size_t kMostColumns = 160;

std::string_view sign(RunStatus status) {
  switch (status) {
    case RunStatus::kPass:
      return "✅";
    case RunStatus::kInconclusive:
    case RunStatus::kInvalid:
      return "❔";
    case RunStatus::kFail:
    case RunStatus::kInputError:
    case RunStatus::kInternalError:
      return "❌";
  }
  return "";
}

std::string shown(std::string_view text) {
  return markdown_text(fit(printable(text), kMostColumns));
}

std::string numbers(const Headline& head) {
  if (head.numbers.empty()) {
    return "";
  }
  std::string out = "\n| | | | |\n|---|---|---|---|\n";
  for (const KeyNumber& number : head.numbers) {
    out += fmt::format("| {} | **{}** | {} | {} |\n", shown(number.label), shown(number.value),
                       number.status == GateStatus::kNotRun ? "" : gate_status_word(number.status),
                       shown(number.detail));
  }
  return out;
}

std::string planted_faults(const Report& report) {
  if (!report.selftest) {
    return "";
  }
  std::string out =
      "\n| | planted fault | expected | lint | audit | compare | exit |\n"
      "|---|---|---|---|---|---|---|\n";
  for (const Detection& detection : report.selftest->detections) {
    const std::string note = detection.note.empty() ? "" : " (" + detection.note + ")";
    out += fmt::format("| {} | {} | {} | {} | {} | {} | {} |\n", detection_word(detection.outcome),
                       shown(detection.damage + ": " + detection.story + note),
                       shown(ids_text(detection.expected)), shown(ids_text(detection.lint)),
                       shown(ids_text(detection.audit)), shown(ids_text(detection.compare)),
                       detection.exit_code ? fmt::format("{}", *detection.exit_code) : "-");
  }
  return out;
}

/// Gates that did not pass, the most important first.
std::string gates(const Report& report) {
  std::string rows;
  std::size_t left = 0;
  std::size_t listed = 0;
  for (const Verdict* verdict : gates_by_importance(report)) {
    if (verdict->status == GateStatus::kPass) {
      continue;
    }
    if (listed == kMostGates) {
      ++left;
      continue;
    }
    ++listed;
    rows += fmt::format("| {} | {}{} | {} | {} | {} |\n", gate_status_word(verdict->status),
                        shown(verdict->gate), verdict->blocking ? "" : " (advisory)",
                        shown(format_value(verdict->value, verdict->unit)),
                        shown(limit_text(*verdict)), shown(verdict->reason));
  }
  if (rows.empty()) {
    return "";
  }
  std::string out = "\n| | gate | value | limit | why |\n|---|---|---|---|---|\n" + rows;
  if (left > 0) {
    out += fmt::format("\nand {} more that did not pass\n", left);
  }
  return out;
}

std::string served(const Report& report) {
  if (report.also.empty()) {
    return "";
  }
  std::string out =
      "\n| | served in merged's place | against merged | stored |\n|---|---|---|---|\n";
  for (const AlsoModel& model : report.also) {
    const ServedLine line = served_line(report, model);
    out += fmt::format("| {} | {} | {} | {} |\n", gate_status_word(line.status), shown(line.lane),
                       shown(line.numbers), shown(line.stored));
  }
  return out;
}

std::string findings(const Report& report) {
  std::string out;
  std::size_t listed = 0;
  std::size_t left = 0;
  for (const Finding* finding : findings_by_severity(report)) {
    if (finding->severity == Severity::kNote) {
      continue;
    }
    if (listed == kMostFindings) {
      ++left;
      continue;
    }
    ++listed;
    out += fmt::format("- **{}** {}: {} ({})", severity_name(finding->severity),
                       shown(finding->rule), shown(finding->message), shown(finding->subject));
    out += finding->fix ? fmt::format(". Fix: {}\n", shown(finding->fix->what)) : "\n";
  }
  if (left > 0) {
    out += fmt::format("- and {} more\n", left);
  }
  return out.empty() ? out : "\n" + out;
}

}  // namespace

std::string markdown_text(std::string_view text) {
  std::string out;
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '@':  // would notify people
        out += "&#64;";
        break;
      case '\\':
      case '`':
      case '*':
      case '_':
      case '[':
      case ']':
      case '|':
      case '#':
      case '~':
      case '!':
        out += '\\';
        out += c;
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string render_markdown(const ReportView& view) {
  const Report& report = view.report;
  const Headline head = headline(report);
  std::string out = fmt::format("## {} {}: {}\n\n{}\n", sign(report.status), head.verdict,
                                markdown_text(head.title), markdown_text(head.reason));
  out += numbers(head);
  out += planted_faults(report);
  out += served(report);
  out += gates(report);
  out += findings(report);
  out += fmt::format("\n{}\n", counts_text(report));
  const std::string size = size_text(report);
  out += fmt::format("\nmergegauge {}{}{}, report.json {}\n", markdown_text(report.tool.version),
                     size.empty() ? "" : ", ", size, view.digest);
  if (!report.inputs.command.empty()) {
    out += fmt::format("\nRepeat: {}\n", markdown_text(report.inputs.command));
  }
  return out;
}

}  // namespace mg
