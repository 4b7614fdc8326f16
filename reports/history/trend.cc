#include "reports/history/trend.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/core/error.h"
#include "reports/format.h"
#include "reports/html/charts.h"
#include "reports/html/shell.h"
#include "reports/html/table.h"
#include "reports/text.h"

namespace mg {
namespace {

const HistorySeries& chosen_series(const std::vector<HistorySeries>& all, const std::string& key) {
  if (all.empty()) {
    throw Error({.code = "history.empty",
                 .what = "the history has no runs yet",
                 .where = {},
                 .expected = {},
                 .actual = {},
                 .hint = "`mergegauge check --history FILE` appends one"});
  }
  if (key.empty()) {
    return all.front();
  }
  std::string known;
  for (const HistorySeries& series : all) {
    const std::string digest = key_digest(series.key);
    if (digest.starts_with(key) || digest.substr(digest.find(':') + 1).starts_with(key)) {
      return series;
    }
    known += (known.empty() ? "" : ", ") + digest;
  }
  throw Error({.code = "history.unknown-key",
               .what = "the history has no runs under this key",
               .where = {},
               .expected = "one of " + known,
               .actual = key,
               .hint = {}},
              ErrorKind::kUsage);
}

std::vector<GateTrend> gates_of(const std::vector<HistoryRun>& runs) {
  std::vector<GateTrend> gates;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    for (const HistoryValue& value : runs[i].values) {
      if (!value.value) {
        continue;
      }
      auto gate = std::find_if(gates.begin(), gates.end(),
                               [&](const GateTrend& one) { return one.gate == value.gate; });
      if (gate == gates.end()) {
        gate = gates.insert(gates.end(), GateTrend{value.gate, value.unit, {}, {}});
      }
      gate->points.push_back({i, value});
    }
  }
  for (GateTrend& gate : gates) {
    std::vector<double> values;
    for (const GateTrend::Point& point : gate.points) {
      values.push_back(*point.value.value);
    }
    gate.steps = find_steps(values);
  }
  // What stepped stands first, then the gate everybody asks for.
  std::stable_sort(gates.begin(), gates.end(), [](const GateTrend& left, const GateTrend& right) {
    const auto rank = [](const GateTrend& gate) {
      return std::pair(gate.steps.empty(), gate.gate != "kl.mean");
    };
    return rank(left) < rank(right);
  });
  return gates;
}

std::string run_name(const Trend& trend, std::size_t run) {
  return fmt::format("run {} of {}{}{}{}", run + 1, trend.runs.size(),
                     trend.runs[run].started.empty() ? "" : " (", trend.runs[run].started,
                     trend.runs[run].started.empty() ? "" : ")");
}

std::string step_text(const Trend& trend, const GateTrend& gate, const Step& step) {
  return fmt::format("step at {}: {} to {}", run_name(trend, gate.points[step.at].run),
                     format_value(step.before, gate.unit), format_value(step.after, gate.unit));
}

html::Markup gate_figure(const Trend& trend, const GateTrend& gate) {
  std::vector<html::TrendPoint> points;
  html::Table table(fmt::format("{} by run", gate.gate), {{"run", html::Align::kNumber},
                                                          {"started"},
                                                          {"status"},
                                                          {"value", html::Align::kNumber},
                                                          {"interval", html::Align::kNumber},
                                                          {"limit", html::Align::kNumber},
                                                          {"noise floor", html::Align::kNumber},
                                                          {"mark"}});
  for (std::size_t i = 0; i < gate.points.size(); ++i) {
    const HistoryValue& value = gate.points[i].value;
    const HistoryRun& run = trend.runs[gate.points[i].run];
    const bool step = std::any_of(gate.steps.begin(), gate.steps.end(),
                                  [i](const Step& one) { return one.at == i; });
    points.push_back({*value.value, value.interval, value.status, step});
    table.row({html::count_cell(static_cast<std::int64_t>(gate.points[i].run) + 1),
               html::markup("{}", run.started), html::markup("{}", value.status),
               html::value_cell(value.value, gate.unit),
               html::markup("{}", format_interval(value.interval, gate.unit)),
               html::value_cell(value.limit, gate.unit), html::value_cell(value.floor, gate.unit),
               step ? html::markup("<strong>step</strong>") : html::Markup{}});
  }
  std::string explanation;
  for (const Step& step : gate.steps) {
    explanation += (explanation.empty() ? "" : "; ") + step_text(trend, gate, step);
  }
  const HistoryValue& last = gate.points.back().value;
  const html::Yardsticks yardsticks{last.floor, std::nullopt, last.limit};
  return html::figure({gate.gate,
                       explanation.empty() ? "No step; each point with its interval, the noise "
                                             "floor as a band, the limit dashed."
                                           : explanation,
                       html::trend_chart(gate.gate + " by run", points, yardsticks), table.finish(),
                       true});
}

}  // namespace

Trend read_trend(const History& history, const std::string& key, std::int64_t most) {
  const std::vector<HistorySeries> all = history.series();
  const HistorySeries& series = chosen_series(all, key);
  Trend trend;
  trend.key = series.key;
  trend.all_runs = series.runs;
  trend.other_keys = std::ssize(all) - 1;
  const auto next = std::find_if(all.begin(), all.end(),
                                 [&](const HistorySeries& one) { return one.key == series.key; });
  if (next + 1 < all.end()) {
    trend.began_with = first_difference(series.key, (next + 1)->key);
  }
  trend.runs = history.runs(series.key, most);
  trend.gates = gates_of(trend.runs);
  return trend;
}

std::string trend_text(const Trend& trend) {
  std::string out = fmt::format(
      "{} of key {}{}\n", format_plural(std::ssize(trend.runs), "run"), key_digest(trend.key),
      trend.other_keys > 0
          ? fmt::format(" ({} not comparable)", format_plural(trend.other_keys, "other key"))
          : std::string());
  if (trend.began_with) {
    out += fmt::format("  began with another {}\n", trend.began_with->field);
  }
  std::size_t width = 4;
  for (const GateTrend& gate : trend.gates) {
    width = std::max(width, display_width(printable(gate.gate)));
  }
  for (const GateTrend& gate : trend.gates) {
    const HistoryValue& last = gate.points.back().value;
    out += fmt::format("  {}  {:<22}", pad_right(printable(gate.gate), width),
                       format_value(last.value, gate.unit));
    if (gate.steps.empty()) {
      out += "  no step";
    }
    for (const Step& step : gate.steps) {
      out += "  " + step_text(trend, gate, step);
    }
    out += '\n';
  }
  return out;
}

std::string render_trend_html(const Trend& trend) {
  html::Markup body;
  body.add("<div class=top><span>mergegauge trend</span><span>{}</span></div>\n",
           trend.runs.empty() ? std::string() : trend.runs.back().started);
  std::int64_t stepped = 0;
  for (const GateTrend& gate : trend.gates) {
    stepped += gate.steps.empty() ? 0 : 1;
  }
  body.add("<h1 id=verdict>{}, {}</h1>\n", format_plural(std::ssize(trend.runs), "comparable run"),
           stepped == 0 ? std::string("no step") : format_plural(stepped, "gate") + " with a step");
  if (trend.began_with) {
    body.add("<p>The series began with another {}: <code>{}</code>, before <code>{}</code>.</p>\n",
             trend.began_with->field, trend.began_with->here, trend.began_with->there);
  }
  for (const GateTrend& gate : trend.gates) {
    body.add("<section>{}</section>\n", gate_figure(trend, gate));
  }
  html::Table key("What the runs share", {{"field"}, {"value"}});
  for (const auto& [name, value] : trend.key.fields) {
    key.row({html::markup("{}", name), html::name_cell(value)});
  }
  body.add("<section><h2>Key</h2>\n{}</section>\n", key.finish());
  return html::whole_page("Trend - mergegauge", body);
}

}  // namespace mg
