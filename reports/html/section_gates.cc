#include <fmt/format.h>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"

namespace mg::html {
namespace {

/// What would decide an undecided gate, and how sure a pass is.
std::string outlook(const Verdict& verdict) {
  std::string text;
  const auto add = [&text](const std::string& part) { text += (text.empty() ? "" : "; ") + part; };
  if (verdict.needs_prompts) {
    add(fmt::format("{} prompts or more could decide", format_count(*verdict.needs_prompts)));
  }
  if (verdict.smallest_margin && verdict.status != GateStatus::kPass) {
    add("smallest limit that would pass: " + format_value(*verdict.smallest_margin, verdict.unit));
  }
  if (verdict.power) {
    add("power " + format_percent(*verdict.power));
  }
  return text;
}

Markup cell(std::string_view label, const Markup& value) {
  return markup("<td role=cell data-label=\"{}\">{}</td>", label, value);
}

Markup gate_row(const Verdict& verdict) {
  const std::string_view unit = verdict.unit;
  const GateInterval judged = gate_interval(verdict);
  Markup out;
  out.add("<tr role=row class=\"{}\"><th role=rowheader scope=row>{}", tone_of(verdict.status),
          status_badge(tone_of(verdict.status), gate_status_word(verdict.status)));
  out.add("<span class=gate>{}{}</span><span class=pair>{}</span></th>", verdict.gate,
          verdict.blocking ? "" : " (advisory)", verdict.subject);
  out += cell("value", markup("{}", format_value(verdict.value, unit)));
  const Markup strip = gate_strip(verdict);
  out += strip.empty() ? markup("<td role=cell class=strip></td>")
                       : markup("<td role=cell class=strip>{}</td>", strip);
  out += markup("<td role=cell>{}</td>", limit_text(verdict));
  out += cell("interval", judged.interval
                              ? markup("{} <span class=faint>{}&nbsp;%</span>",
                                       format_interval(judged.interval, unit), judged.percent)
                              : Markup{});
  out += cell("noise floor",
              verdict.floor ? markup("{}", format_value(verdict.floor, unit)) : Markup{});
  out.add("<td role=cell class=why>{}", verdict.reason);
  const std::string more = outlook(verdict);
  if (!more.empty()) {
    out.add(" <span class=basis>{}</span>", more);
  }
  if (!verdict.basis.empty()) {
    out.add(" <span class=basis>Limit: {}</span>", verdict.basis);
  }
  return out.add("</td></tr>\n");
}

}  // namespace

Markup gates_section(const Report& report) {
  if (report.verdicts.empty()) {
    return {};
  }
  Markup out;
  out.add(
      "<p class=intro>Each gate holds a measured value, with its interval, against a limit. In the "
      "drawings the shaded range is allowed, the dashed line is the limit, the bar is the interval "
      "and the dotted line is the noise of the arithmetic itself. Advisory gates never change the "
      "verdict.</p>\n"
      "<table class=gates role=table id=gate-table><caption class=hide>Gates</caption>\n"
      "<thead role=rowgroup><tr role=row><th role=columnheader scope=col>Gate</th>"
      "<th role=columnheader scope=col>Value</th><th role=columnheader scope=col>Drawn</th>"
      "<th role=columnheader scope=col>Limit</th><th role=columnheader scope=col>Interval</th>"
      "<th role=columnheader scope=col>Noise floor</th><th role=columnheader scope=col>Why</th>"
      "</tr></thead>\n<tbody role=rowgroup>\n");
  for (const Verdict* verdict : gates_by_importance(report)) {
    out += gate_row(*verdict);
  }
  return out.add("</tbody></table>\n");
}

}  // namespace mg::html
