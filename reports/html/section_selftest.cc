#include "reports/headline.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"

namespace mg::html {
namespace {

std::string_view tone_of_outcome(DetectionOutcome outcome) {
  switch (outcome) {
    case DetectionOutcome::kCaught:
      return "good";
    case DetectionOutcome::kMissed:
      return "bad";
    case DetectionOutcome::kNotPlanted:
      return "quiet";
  }
  return "quiet";
}

Markup ids_cell(const std::vector<std::string>& ids) {
  Markup out;
  for (const std::string& id : ids) {
    out.add("<div><code>{}</code></div>", id);
  }
  return out.empty() ? markup("-") : out;
}

Markup damage_cell(const Detection& detection) {
  Markup out = markup("<strong>{}</strong><div>{}</div>", detection.damage, detection.story);
  if (!detection.note.empty()) {
    out.add("<div class=faint>{}</div>", detection.note);
  }
  return out;
}

}  // namespace

Markup selftest_section(const Report& report) {
  if (!report.selftest) {
    return {};
  }
  Table table("Faults planted into the merge, and who found them", {{"fault"},
                                                                    {"outcome"},
                                                                    {"expected"},
                                                                    {"lint"},
                                                                    {"audit"},
                                                                    {"compare"},
                                                                    {"exit", Align::kNumber}});
  for (const Detection& detection : report.selftest->detections) {
    table.row({damage_cell(detection),
               status_badge(tone_of_outcome(detection.outcome), detection_word(detection.outcome)),
               ids_cell(detection.expected), ids_cell(detection.lint), ids_cell(detection.audit),
               ids_cell(detection.compare),
               detection.exit_code ? markup("{}", *detection.exit_code) : markup("-")});
  }
  return markup(
      "<p class=intro>Each fault was planted into this merge as it was read, and the whole check "
      "run on it. A rule or gate counts where it does not speak of the undamaged merge, whose "
      "check is the rest of this page.</p>\n{}",
      table.finish());
}

}  // namespace mg::html
