#include <fmt/format.h>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"
#include "reports/labels.h"

namespace mg::html {
namespace {

bool same_place(const std::optional<LayerPlace>& left, const LayerPlace& right) {
  return left && left->stack == right.stack && left->layer == right.layer &&
         left->module == right.module;
}

}  // namespace

Markup drift_figure(const Comparison& comparison) {
  if (comparison.layers.empty()) {
    return {};
  }
  bool several_stacks = false;
  for (const LayerDrift& drift : comparison.layers) {
    several_stacks |= drift.place.stack != comparison.layers.front().place.stack;
  }
  const std::string pair =
      fmt::format("{} to {}", lane_label(comparison.reference), lane_label(comparison.subject));
  Table table("Drift by layer, " + pair, {{"part"},
                                          {"free", Align::kNumber},
                                          {"forced", Align::kNumber},
                                          {"not finite", Align::kNumber},
                                          {"mark"}});
  std::vector<DriftPoint> points;
  for (const LayerDrift& drift : comparison.layers) {
    const bool culprit = same_place(comparison.culprit, drift.place);
    const std::string short_name =
        fmt::format("{}{} {}", several_stacks ? drift.place.stack + " " : "", drift.place.layer,
                    drift.place.module);
    points.push_back({short_name, drift.free_rel, drift.forced_rel, drift.non_finite > 0, culprit});
    table.row({markup("{}", place_text(drift.place)), value_cell(drift.free_rel),
               value_cell(drift.forced_rel), count_cell(drift.non_finite),
               culprit ? markup("<strong>begins here</strong>") : Markup{}});
  }
  return figure(
      {"Drift of the hidden state",
       "|subject - reference| / |reference| after each half of a layer. Free: each lane on "
       "its own input. Forced: the subject fed the reference's input, which names the part "
       "that causes a difference.",
       drift_lines("Drift of the hidden state by layer, " + pair, points), table.finish(), true});
}

Markup layers_section(const Report& report) {
  const Comparison* comparison = main_comparison(report);
  if (comparison == nullptr || comparison->layers.empty()) {
    return {};
  }
  Markup out;
  out += comparison->culprit
             ? markup(
                   "<p class=intro>The difference begins at <strong>{}</strong>: fed the "
                   "reference's own input, this part departs by more than the arithmetic's "
                   "noise.</p>\n",
                   place_text(*comparison->culprit))
             : markup("<p class=intro>No part departs by more than the arithmetic's noise.</p>\n");
  return out += drift_figure(*comparison);
}

}  // namespace mg::html
