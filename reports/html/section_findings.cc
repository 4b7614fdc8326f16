#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/sections.h"

namespace mg::html {
namespace {

std::string_view tone_of_severity(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "bad";
    case Severity::kWarning:
      return "unsure";
    case Severity::kNote:
      return "quiet";
  }
  return "quiet";
}

Markup finding_card(const Finding& finding) {
  const std::string_view tone = tone_of_severity(finding.severity);
  Markup out;
  out.add("<li class=\"finding {}\">{}", tone, status_badge(tone, severity_name(finding.severity)));
  out.add(" <code class=rule>{}</code>", finding.rule);
  for (const std::string& id : finding.catalogue) {
    out.add(" <span class=tag>{}</span>", id);
  }
  out.add(" <span class=faint>{}</span>", finding.command);
  out.add("<p class=message>{}</p><p class=subject><code>{}</code></p>", finding.message,
          finding.subject);
  Markup found;
  if (!finding.expected.empty()) {
    found.add("<div><dt>expected</dt><dd>{}</dd></div>", finding.expected);
  }
  if (!finding.actual.empty()) {
    found.add("<div><dt>actual</dt><dd>{}</dd></div>", finding.actual);
  }
  if (!found.empty()) {
    out.add("<dl class=pair-of>{}</dl>", found);
  }
  if (finding.fix) {
    out.add("<p class=fix><strong>Fix:</strong> {}{}</p>", finding.fix->what,
            finding.fix->automatic ? markup(" <span class=tag>mergegauge lint --fix does it</span>")
                                   : Markup{});
  }
  return out.add("</li>\n");
}

}  // namespace

Markup findings_section(const Report& report) {
  if (report.findings.empty()) {
    return {};
  }
  Markup shown;
  Markup notes;
  std::int64_t note_count = 0;
  for (const Finding* finding : findings_by_severity(report)) {
    const bool note = finding->severity == Severity::kNote;
    note_count += note ? 1 : 0;
    (note ? notes : shown) += finding_card(*finding);
  }
  Markup out;
  if (!shown.empty()) {
    out.add("<ul class=findings>\n{}</ul>\n", shown);
  }
  if (!notes.empty()) {
    // Notes wait folded behind what needs attention; alone they stand open.
    out += shown.empty() ? markup("<details open>") : markup("<details>");
    out.add("<summary>{}</summary><ul class=findings>\n{}</ul></details>\n",
            format_plural(note_count, "note"), notes);
  }
  return out;
}

}  // namespace mg::html
