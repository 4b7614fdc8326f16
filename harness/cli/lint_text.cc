#include "harness/cli/lint_text.h"

#include <fmt/format.h>

#include "reports/headline.h"

namespace mg {
namespace {

std::string tag(const Finding& finding, const Terminal& terminal) {
  switch (finding.severity) {
    case Severity::kError:
      return terminal.red("error");
    case Severity::kWarning:
      return terminal.yellow("warning");
    case Severity::kNote:
      return terminal.dim("note");
  }
  return {};
}

std::string plural(std::int64_t n, std::string_view what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

std::string verdict(const Report& report, const SeverityCounts& counts, const Terminal& terminal) {
  const std::string tally =
      fmt::format("{}, {}, {}", plural(counts.errors, "error"), plural(counts.warnings, "warning"),
                  plural(counts.notes, "note"));
  switch (report.status) {
    case RunStatus::kPass:
      return fmt::format("{}  nothing here keeps it from loading as it should ({})",
                         terminal.styled("1;32", "PASS"), tally);
    case RunStatus::kInputError:
      return fmt::format("{}  the files cannot all be read ({})", terminal.styled("1;31", "ERROR"),
                         tally);
    default:
      return fmt::format("{}  it will not load, or not mean what it should ({})",
                         terminal.styled("1;31", "FAIL"), tally);
  }
}

}  // namespace

std::string finding_text(const Finding& finding, const Terminal& terminal) {
  std::string text = fmt::format(
      "\n{}[{}]{}: {}\n", tag(finding, terminal), finding.rule,
      finding.catalogue.empty() ? "" : fmt::format(" {}", fmt::join(finding.catalogue, " ")),
      finding.message);
  if (finding.severity == Severity::kNote) {
    if (!finding.actual.empty()) {
      text += fmt::format("  {}\n", finding.actual);
    }
    return text;
  }
  text += fmt::format("  where:    {}\n", finding.subject);
  if (!finding.expected.empty() || !finding.actual.empty()) {
    text += fmt::format("  expected: {}   actual: {}\n", finding.expected, finding.actual);
  }
  if (finding.fix) {
    text += fmt::format("  fix:      {}{}\n", finding.fix->what,
                        finding.fix->automatic ? " (--fix does it)" : "");
  }
  return text;
}

std::string fix_text(const lint::FixPlan& plan, bool dry_run, const Terminal& terminal) {
  std::string text =
      terminal.bold(dry_run ? "--fix would change:" : "Repaired (old files are NAME.bak):") + "\n";
  for (const lint::Edit& edit : plan.edits) {
    text += fmt::format("  {}\n", lint::describe(edit));
  }
  for (const lint::FileChange& change : plan.changes) {
    if (dry_run && !change.diff.empty()) {
      text += "\n" + change.diff;
    }
  }
  return text + "\n";
}

std::string lint_text(const Report& report, const Terminal& terminal) {
  std::string text = verdict(report, count_findings(report), terminal) + "\n";
  for (const Finding* finding : findings_by_severity(report)) {
    text += finding_text(*finding, terminal);
  }
  return text;
}

}  // namespace mg
