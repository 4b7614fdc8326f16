#include "reports/format.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"
#include "reports/labels.h"
#include "reports/text.h"

namespace mg::html {
namespace {

constexpr std::size_t kMostTexts = 50;

Markup lanes_table(const GenerationResult& generation) {
  Table table("What each lane wrote", {{"lane"},
                                       {"tokens", Align::kNumber},
                                       {"scenarios passed", Align::kNumber},
                                       {"repeated", Align::kNumber},
                                       {"texts ended"}});
  for (const GenerationLane& lane : generation.lanes) {
    Markup stops;
    for (const StopCount& stop : lane.stops) {
      stops.add("<div>{} {}</div>", format_count(stop.prompts), stop_words(stop.reason));
    }
    table.row({markup("{}", lane_label(lane.lane)), count_cell(lane.tokens),
               lane.scenarios > 0
                   ? markup("{} of {}", format_count(lane.passed), format_count(lane.scenarios))
                   : markup("-"),
               value_cell(lane.repetition, "share"), stops});
  }
  return table.finish();
}

Markup pairs_table(const GenerationResult& generation) {
  Table table("Two lanes' texts side by side", {{"lanes"},
                                                {"prompts", Align::kNumber},
                                                {"identical", Align::kNumber},
                                                {"part at a near tie", Align::kNumber},
                                                {"part beyond it", Align::kNumber},
                                                {"not judged", Align::kNumber},
                                                {"tokens edited", Align::kNumber},
                                                {"scenarios lost", Align::kNumber},
                                                {"gained", Align::kNumber}});
  for (const GenerationPair& pair : generation.pairs) {
    table.row({markup("{} and {}", lane_label(pair.reference), lane_label(pair.subject)),
               count_cell(pair.prompts), count_cell(pair.identical), count_cell(pair.near_ties),
               count_cell(pair.real), count_cell(pair.unjudged),
               value_cell(pair.edit_share, "share"), count_cell(pair.scenarios_lost),
               count_cell(pair.scenarios_gained)});
  }
  return table.finish();
}

Markup text_cell(const GeneratedText& text) {
  Markup out = text.text.empty()
                   ? markup("<span class=faint>{}</span>",
                            format_plural(static_cast<std::int64_t>(text.ids.size()), "token"))
                   : markup("{}", printable(text.text));
  if (text.passed) {
    out.add("<div>{}</div>",
            *text.passed ? status_badge("good", "passed") : status_badge("bad", "not met"));
  }
  for (const std::string& reason : text.not_met) {
    out.add("<div class=faint>{}</div>", printable(reason));
  }
  return out;
}

Markup texts_table(const GenerationResult& generation) {
  if (generation.prompts.empty()) {
    return {};
  }
  std::vector<Column> columns{{"prompt", Align::kName}};
  for (const GeneratedText& text : generation.prompts.front().texts) {
    columns.push_back({lane_label(text.lane)});
  }
  columns.push_back({"where texts part"});
  Table table("Texts", columns);
  for (const GeneratedPrompt& prompt : generation.prompts) {
    if (table.rows() == static_cast<std::int64_t>(kMostTexts)) {
      break;
    }
    std::vector<Markup> cells{name_cell(prompt.prompt)};
    for (const GeneratedText& text : prompt.texts) {
      cells.push_back(text_cell(text));
    }
    Markup departures;
    for (const Departure& departure : prompt.departures) {
      departures.add("<div>{}</div>", departure_text(prompt, departure));
    }
    cells.push_back(departures.empty() ? markup("-") : departures);
    table.row(cells);
  }
  return table.finish();
}

}  // namespace

Markup generation_section(const Report& report) {
  if (!report.generation) {
    return {};
  }
  const GenerationResult& generation = *report.generation;
  Markup out;
  out.add("<p class=intro>Every lane went on from the same prompts, {} at most{}.{}</p>\n",
          format_plural(generation.max_tokens, "token"),
          generation.temperature > 0
              ? " sampled at temperature " + format_number(generation.temperature)
              : std::string(", the most likely one each time"),
          generation.margin ? " Two tokens within " + format_number(*generation.margin) +
                                  " logits are a near tie (" + generation.margin_basis + ")."
                            : std::string());
  out += lanes_table(generation);
  out += pairs_table(generation);
  out += texts_table(generation);
  if (generation.prompts.size() > kMostTexts) {
    out.add("<p class=faint>The first {} prompts; report.json has all {}.</p>\n", kMostTexts,
            generation.prompts.size());
  }
  return out;
}

}  // namespace mg::html
