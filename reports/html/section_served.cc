#include <fmt/format.h>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"

namespace mg::html {
namespace {

Markup stored_table(const AlsoModel& model) {
  Table table(fmt::format("What {} stores", model.lane),
              {{"format"}, {"tensors", Align::kNumber}, {"bytes", Align::kNumber}});
  for (const StoredShare& share : model.stored) {
    table.row({markup("{}", share.format), count_cell(share.tensors),
               markup("{}", format_bytes(share.bytes))});
  }
  return table.empty() ? Markup{} : table.finish();
}

Markup gate_table(const Report& report, const AlsoModel& model) {
  Table table(fmt::format("Gates of {}", model.lane), {{"gate"},
                                                       {"status"},
                                                       {"value", Align::kNumber},
                                                       {"interval", Align::kNumber},
                                                       {"limit"},
                                                       {"basis of the limit"}});
  for (const Verdict* verdict : gates_by_importance(report)) {
    if (!is_served(*verdict) || verdict->subject != "merged/" + model.lane) {
      continue;
    }
    const std::string name = verdict->gate.substr(0, verdict->gate.find('['));
    table.row({markup("{}{}", name, verdict->blocking ? "" : " (advisory)"),
               status_badge(tone_of(verdict->status), gate_status_word(verdict->status)),
               markup("{}", format_value(verdict->value, verdict->unit)),
               markup("{}", format_interval(gate_interval(*verdict).interval, verdict->unit)),
               markup("{}", limit_text(*verdict)), markup("{}", verdict->basis)});
  }
  return table.empty() ? Markup{} : table.finish();
}

}  // namespace

Markup served_section(const Report& report) {
  Markup out;
  for (const AlsoModel& model : report.also) {
    const ServedLine line = served_line(report, model);
    out.add("<h3>{} {}</h3>\n<p class=intro>{}. Against merged: {}.</p>\n", model.lane,
            status_badge(tone_of(line.status), gate_status_word(line.status)), line.stored,
            line.numbers);
    out += gate_table(report, model);
    const Comparison* comparison = served_comparison(report, model);
    if (comparison == nullptr) {
      continue;
    }
    if (comparison->culprit) {
      out.add(
          "<p class=intro>Fed merged's own input, <strong>{}</strong> departs by more than "
          "{} times what the file's other layers do.</p>\n",
          place_text(*comparison->culprit), 4);
    }
    out.add("<div class=figures>\n{}{}</div>\n", kl_figure(report, *comparison),
            drift_figure(*comparison));
    out += stored_table(model);
  }
  return out;
}

}  // namespace mg::html
