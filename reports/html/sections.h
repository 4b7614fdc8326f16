// The parts of a page, one file each, in the page's order.  A part without anything to show is
// empty, and the page leaves it out of its list of contents.  Private to reports/html.
#pragma once

#include "reports/html/markup.h"
#include "reports/view.h"

namespace mg::html {

Markup summary_section(const ReportView& view);  // the first screen: not in a <section>
Markup selftest_section(const Report& report);
Markup gates_section(const Report& report);
Markup findings_section(const Report& report);
Markup outputs_section(const Report& report);
Markup layers_section(const Report& report);
Markup served_section(const Report& report);  // --also
Markup weights_section(const Report& report);
Markup examples_section(const Report& report);
Markup files_section(const Report& report);  // what differs in the configs
Markup generation_section(const Report& report);
Markup bench_section(const Report& report);
Markup provenance_section(const ReportView& view);

/// A pair's distribution of KL; its drift by layer, with what is said of the culprit.  Empty where
/// there is nothing to draw.
Markup kl_figure(const Report& report, const Comparison& comparison);
Markup drift_figure(const Comparison& comparison);

/// What the drawings of the main comparison are held against.
struct Yardsticks;
Yardsticks kl_yardsticks(const Report& report);

/// A status as a sign and a word, for people who see no colour and for those who do.
Markup status_badge(std::string_view tone, std::string_view word);
/// "good", "bad", "unsure", "quiet".
std::string_view tone_of(GateStatus status);
std::string_view tone_of(RunStatus status);

}  // namespace mg::html
