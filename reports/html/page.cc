#include <fmt/format.h>

#include <vector>

#include "reports/headline.h"
#include "reports/html/html_report.h"
#include "reports/html/sections.h"
#include "reports/html/shell.h"

namespace mg {
namespace html {
namespace {

struct Section {
  std::string_view id;
  std::string_view title;
  Markup content;
};

std::vector<Section> sections_of(const ReportView& view) {
  const Report& report = view.report;
  std::vector<Section> sections;
  const auto add = [&sections](std::string_view id, std::string_view title, Markup content) {
    if (!content.empty()) {
      sections.push_back({id, title, std::move(content)});
    }
  };
  add("selftest", "Planted faults", selftest_section(report));
  add("gates", "Gates", gates_section(report));
  add("findings", "Findings", findings_section(report));
  add("outputs", "Outputs", outputs_section(report));
  add("layers", "Layers", layers_section(report));
  add("served", "Served in merged's place", served_section(report));
  add("weights", "Weights", weights_section(report));
  add("examples", "Examples", examples_section(report));
  add("configs", "Config differences", files_section(report));
  add("texts", "Texts", generation_section(report));
  add("throughput", "Throughput", bench_section(report));
  add("provenance", "Provenance", provenance_section(view));
  return sections;
}

Markup contents_of(const std::vector<Section>& sections) {
  Markup out;
  out.add("<nav aria-label=\"Parts of the report\"><ul>\n");
  for (const Section& section : sections) {
    out.add("<li><a href=\"#{}\">{}</a></li>\n", section.id, section.title);
  }
  return out.add("</ul></nav>\n");
}

Markup body_of(const ReportView& view) {
  const std::vector<Section> sections = sections_of(view);
  Markup out;
  out.add("<div class=top><span>mergegauge report</span><span>{}</span></div>\n",
          view.report.timing ? view.report.timing->started : std::string());
  out += summary_section(view);
  out += contents_of(sections);
  for (const Section& section : sections) {
    out.add("<section aria-labelledby=\"h-{}\" id=\"{}\">\n<h2 id=\"h-{}\">{}</h2>\n{}</section>\n",
            section.id, section.id, section.id, section.title, section.content);
  }
  return out.add(
      "<footer>Made from report.json ({}) by mergegauge {}. Information quantities are "
      "in nats.</footer>\n",
      view.digest, view.report.tool.version);
}

}  // namespace
}  // namespace html

std::string render_html(const ReportView& view) {
  const Headline head = headline(view.report);
  return html::whole_page(fmt::format("{}: {} - mergegauge", head.verdict, head.title),
                          html::body_of(view));
}

}  // namespace mg
