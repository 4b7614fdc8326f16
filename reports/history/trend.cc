#include "reports/history/trend.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

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

std::string field_of(const ComparabilityKey& key, std::string_view name) {
  const auto found = std::find_if(key.fields.begin(), key.fields.end(),
                                  [name](const auto& field) { return field.first == name; });
  return found == key.fields.end() ? std::string() : found->second;
}

bool differ_in_adapter_alone(const ComparabilityKey& left, const ComparabilityKey& right) {
  ComparabilityKey other = right;
  for (auto& [name, value] : other.fields) {
    if (name == "adapter") {
      value = field_of(left, name);
    }
  }
  return left == other;
}

/// The newest `most` runs of several keys, oldest first, and where the adapter changed.
void add_runs(const History& history, const std::vector<const HistorySeries*>& family,
              std::int64_t most, Trend& trend) {
  std::vector<std::pair<HistoryRun, std::string>> runs;  // with the adapter's digest
  for (const HistorySeries* series : family) {
    trend.all_runs += series->runs;
    for (HistoryRun& run : history.runs(series->key, most)) {
      runs.emplace_back(std::move(run), field_of(series->key, "adapter"));
    }
  }
  std::sort(runs.begin(), runs.end(),
            [](const auto& left, const auto& right) { return left.first.id < right.first.id; });
  const auto extra = std::max<std::int64_t>(0, std::ssize(runs) - most);
  runs.erase(runs.begin(), runs.begin() + extra);
  std::set<std::string> adapters;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    adapters.insert(runs[i].second);
    if (i > 0 && runs[i].second != runs[i - 1].second) {
      trend.adapter_changes.push_back(i);
    }
    trend.runs.push_back(std::move(runs[i].first));
  }
  trend.adapters = std::ssize(adapters);
}

bool began_with_adapter(const Trend& trend, std::size_t run) {
  return std::find(trend.adapter_changes.begin(), trend.adapter_changes.end(), run) !=
         trend.adapter_changes.end();
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
  const std::size_t run = gate.points[step.at].run;
  return fmt::format("step at {}: {} to {}{}", run_name(trend, run),
                     format_value(step.before, gate.unit), format_value(step.after, gate.unit),
                     began_with_adapter(trend, run) ? ", with another adapter" : "");
}

bool never_moves(const GateTrend& gate) {
  return std::all_of(gate.points.begin(), gate.points.end(), [&](const GateTrend::Point& point) {
    return point.value.value == gate.points.front().value.value &&
           point.value.status == gate.points.front().value.status;
  });
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
    const bool other_adapter = began_with_adapter(trend, gate.points[i].run);
    points.push_back({*value.value, value.interval, value.status, step, other_adapter});
    std::string mark = step ? "step" : "";
    mark += other_adapter ? (step ? ", another adapter" : "another adapter") : "";
    table.row({html::count_cell(static_cast<std::int64_t>(gate.points[i].run) + 1),
               html::markup("{}", run.started), html::markup("{}", value.status),
               html::value_cell(value.value, gate.unit),
               html::markup("{}", format_interval(value.interval, gate.unit)),
               html::value_cell(value.limit, gate.unit), html::value_cell(value.floor, gate.unit),
               html::markup("{}", mark)});
  }
  std::string explanation;
  for (const Step& step : gate.steps) {
    explanation += (explanation.empty() ? "" : "; ") + step_text(trend, gate, step);
  }
  const HistoryValue& last = gate.points.back().value;
  const html::Yardsticks yardsticks{last.floor, std::nullopt, last.limit, "limit"};
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
  std::vector<const HistorySeries*> family;
  bool newer = true;  // than the chosen series: of no interest
  for (const HistorySeries& one : all) {
    const bool chosen = one.key == series.key;
    newer = newer && !chosen;
    if (chosen || (key.empty() && differ_in_adapter_alone(series.key, one.key))) {
      family.push_back(&one);
    } else if (!newer && !trend.began_with) {
      trend.began_with = first_difference(series.key, one.key);
    }
  }
  trend.other_keys = std::ssize(all) - std::ssize(family);
  add_runs(history, family, most, trend);
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
  if (trend.adapters > 1) {
    out += fmt::format("  {} of one base\n", format_plural(trend.adapters, "adapter"));
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
  if (trend.adapters > 1) {
    body.add(
        "<p>The runs are of {} of one base; where the adapter changed, the axis has a tick and the "
        "table says so.</p>\n",
        format_plural(trend.adapters, "adapter"));
  }
  html::Markup moving;
  html::Markup constant;
  std::int64_t constants = 0;
  for (const GateTrend& gate : trend.gates) {
    const bool still = never_moves(gate);
    constants += still ? 1 : 0;
    (still ? constant : moving) += gate_figure(trend, gate);
  }
  body.add("<div class=trends>\n{}</div>\n", moving);
  if (!constant.empty()) {
    body.add("<details class=more><summary>{}</summary>\n<div class=trends>\n{}</div></details>\n",
             format_plural(constants, "gate") + " that never moved", constant);
  }
  html::Table key("What the runs share", {{"field"}, {"value"}});
  for (const auto& [name, value] : trend.key.fields) {
    key.row({html::markup("{}", name), html::name_cell(value)});
  }
  body.add("<section><h2>Key</h2>\n{}</section>\n", key.finish());
  return html::whole_page("Trend - mergegauge", body);
}

}  // namespace mg
