#include <fmt/format.h>

#include <algorithm>

#include "reports/format.h"
#include "reports/headline.h"
#include "reports/html/charts.h"
#include "reports/html/sections.h"
#include "reports/html/table.h"
#include "reports/labels.h"

namespace mg::html {
namespace {

const MetricSummary* kl_of(const std::vector<NamedMetric>& metrics) {
  return find_metric(metrics, "kl");
}

Markup interval_cell(const std::optional<Interval>& interval, std::string_view unit) {
  return markup("{}", format_interval(interval, unit));
}

/// "[2, 4)" as positions: "2-3".
std::string bucket_name(const PositionBucket& bucket) {
  return bucket.to - bucket.from == 1
             ? format_count(bucket.from)
             : fmt::format("{}-{}", format_count(bucket.from), format_count(bucket.to - 1));
}

std::string bucket_name(const ConfidenceBucket& bucket) {
  return fmt::format("{}-{}", format_number(bucket.from), format_number(bucket.to));
}

/// KL of named groups of rows, drawn and as a table.
class Groups {
 public:
  explicit Groups(std::string_view what)
      : table_(fmt::format("KL by {}", what), {{std::string(what)},
                                               {"rows", Align::kNumber},
                                               {"mean KL, nat", Align::kNumber},
                                               {"95 % interval", Align::kNumber},
                                               {"largest", Align::kNumber},
                                               {"same first token", Align::kNumber}}) {}

  void add(const std::string& name, const std::vector<NamedMetric>& metrics) {
    const MetricSummary* kl = kl_of(metrics);
    if (kl == nullptr) {
      return;
    }
    const MetricSummary* agreement = find_metric(metrics, "top1_agreement");
    rows_.push_back({name, kl->mean, kl->ci95});
    table_.row({name_cell(name), count_cell(kl->count), value_cell(kl->mean),
                interval_cell(kl->ci95, ""), value_cell(kl->max),
                value_cell(agreement == nullptr ? std::nullopt : agreement->mean, "share")});
  }

  Markup finish(std::string title, std::string explanation, const Yardsticks& yardsticks) const {
    return rows_.empty() ? Markup{}
                         : figure({title, std::move(explanation),
                                   interval_rows(title, rows_, yardsticks), table_.finish()});
  }

 private:
  std::vector<IntervalRow> rows_;
  Table table_;
};

Markup prompt_figure(const Report& report, const Comparison& comparison) {
  Table table("KL by prompt", {{"prompt", Align::kName},
                               {"tokens", Align::kNumber},
                               {"mean KL, nat", Align::kNumber},
                               {"largest KL", Align::kNumber},
                               {"change of NLL, nat/token", Align::kNumber},
                               {"flips", Align::kNumber},
                               {"not finite", Align::kNumber}});
  std::vector<RankedPoint> points;
  for (const PromptDetail& prompt : comparison.prompts_detail) {
    if (prompt.kl_mean) {
      points.push_back({prompt.id, *prompt.kl_mean});
    }
    table.row({markup("{}", prompt.id), count_cell(prompt.tokens), value_cell(prompt.kl_mean),
               value_cell(prompt.kl_max), value_cell(prompt.delta_nll_mean),
               count_cell(prompt.flips), count_cell(prompt.non_finite)});
  }
  if (table.empty()) {
    return {};
  }
  return figure({"KL by prompt", "Each point is a prompt's mean; the largest are named.",
                 ranked_points("KL by prompt", std::move(points), kl_yardsticks(report)),
                 table.finish()});
}

Markup group_figures(const Report& report, const Comparison& comparison) {
  const Yardsticks yardsticks = kl_yardsticks(report);
  Groups positions("position");
  for (const PositionBucket& bucket : comparison.positions) {
    positions.add(bucket_name(bucket), bucket.metrics);
  }
  Groups confidence("confidence");
  for (const ConfidenceBucket& bucket : comparison.confidence) {
    confidence.add(bucket_name(bucket), bucket.metrics);
  }
  Groups slices("slice");
  for (const Slice& slice : comparison.slices) {
    slices.add(slice.name, slice.metrics);
  }
  Markup out;
  out += positions.finish("KL by position",
                          "Mean KL with its 95 % interval, by the row's place in its prompt.",
                          yardsticks);
  out += prompt_figure(report, comparison);
  out += slices.finish("KL by slice",
                       "Mean KL with its 95 % interval, by tag or span of the suite.", yardsticks);
  out += confidence.finish(
      "KL by confidence",
      "Mean KL with its 95 % interval, by the largest probability of the reference.", yardsticks);
  return out;
}

Markup metric_table(const Comparison& comparison) {
  Table table(fmt::format("Every metric, {} to {}", lane_label(comparison.reference),
                          lane_label(comparison.subject)),
              {{"metric"},
               {"unit"},
               {"mean", Align::kNumber},
               {"95 % interval", Align::kNumber},
               {"median", Align::kNumber},
               {"p95", Align::kNumber},
               {"p99", Align::kNumber},
               {"largest", Align::kNumber},
               {"where"},
               {"not finite", Align::kNumber}});
  for (const NamedMetric& metric : comparison.metrics) {
    const MetricLabel label = metric_label(metric.name);
    const MetricSummary& m = metric.summary;
    // What a metric means is said where the pointer rests and to screen readers.
    table.row({label.explanation.empty()
                   ? markup("{}", label.title)
                   : markup("<abbr title=\"{}\">{}</abbr>", label.explanation, label.title),
               markup("{}", label.unit == "share" ? "%" : label.unit),
               value_cell(m.mean, label.unit == "share" ? "share" : ""),
               interval_cell(m.ci95, label.unit),
               value_cell(m.p50, label.unit == "share" ? "share" : ""),
               value_cell(m.p95, label.unit == "share" ? "share" : ""),
               value_cell(m.p99, label.unit == "share" ? "share" : ""),
               value_cell(m.max, label.unit == "share" ? "share" : ""),
               m.worst ? markup("{}", place_text(*m.worst)) : Markup{}, count_cell(m.non_finite)});
  }
  return table.finish();
}

Markup ratio_table(const Report& report) {
  Table table("All pairs of lanes", {{"reference"},
                                     {"subject"},
                                     {"mean KL, nat", Align::kNumber},
                                     {"95 % interval", Align::kNumber},
                                     {"largest KL", Align::kNumber},
                                     {"real flips", Align::kNumber},
                                     {"near ties", Align::kNumber},
                                     {"effect lost", Align::kNumber},
                                     {"slope", Align::kNumber},
                                     {"R²", Align::kNumber},
                                     {"perplexity ratio", Align::kNumber}});
  for (const Comparison& c : report.comparisons) {
    const MetricSummary* kl = kl_of(c.metrics);
    table.row({markup("{}", lane_label(c.reference)), markup("{}", lane_label(c.subject)),
               value_cell(kl == nullptr ? std::nullopt : kl->mean),
               interval_cell(kl == nullptr ? std::nullopt : kl->ci95, ""),
               value_cell(kl == nullptr ? std::nullopt : kl->max), count_cell(c.flips.real),
               count_cell(c.flips.near_tie), value_cell(c.ratios.mer.value, "share"),
               value_cell(c.ratios.slope.value), value_cell(c.ratios.r2.value),
               value_cell(c.ratios.perplexity_ratio.value)});
  }
  return table.finish();
}

Markup other_pairs(const Report& report, const Comparison& main) {
  Markup figures;
  for (const Comparison& comparison : report.comparisons) {
    const bool served = std::any_of(
        report.also.begin(), report.also.end(),
        [&](const AlsoModel& model) { return served_comparison(report, model) == &comparison; });
    if (&comparison != &main && !served) {
      figures += kl_figure(report, comparison);
    }
  }
  return figures.empty()
             ? Markup{}
             : markup(
                   "<details class=more><summary>The other pairs' distributions</summary>"
                   "<div class=figures>\n{}</div></details>\n",
                   figures);
}

Markup flips_text(const Comparison& c) {
  Markup out;
  out.add("<p class=intro>Of {} rows, the most likely token changed in {}: ",
          format_count(c.tokens), format_count(c.flips.real + c.flips.near_tie));
  out.add(
      "{} really ({} towards the base, {} elsewhere) and {} between tokens that are as good "
      "as tied",
      format_count(c.flips.real), format_count(c.flips.towards_base), format_count(c.flips.away),
      format_count(c.flips.near_tie));
  if (c.flips.margin) {
    out.add(" (logits within {})", format_number(*c.flips.margin));
  }
  return out.add(".</p>\n");
}

}  // namespace

Markup kl_figure(const Report& report, const Comparison& comparison) {
  HistogramInput input;
  input.name = fmt::format("Distribution of KL, {} to {}", lane_label(comparison.reference),
                           lane_label(comparison.subject));
  Table table(input.name,
              {{"KL from, nat", Align::kNumber}, {"to", Align::kNumber}, {"rows", Align::kNumber}});
  for (const HistogramBin& bin : comparison.kl_histogram) {
    input.bins.push_back({bin.from, bin.to, bin.rows});
    if (bin.rows > 0) {
      table.row({value_cell(bin.from), bin.to < 1e300 ? value_cell(bin.to) : markup("and more"),
                 count_cell(bin.rows)});
    }
  }
  const MetricSummary* kl = kl_of(comparison.metrics);
  input.mean = kl == nullptr ? std::nullopt : kl->mean;
  const bool main = &comparison == main_comparison(report);
  input.yardsticks = main ? kl_yardsticks(report)
                          : Yardsticks{report.floor ? report.floor->kl_mean : std::nullopt,
                                       std::nullopt, std::nullopt};
  Markup drawing = histogram(input);
  return drawing.empty() ? Markup{}
                         : figure({input.name,
                                   "Rows of logits by their KL divergence, on a logarithmic scale. "
                                   "In the shaded band the arithmetic's own noise is as large.",
                                   std::move(drawing), table.finish()});
}

Yardsticks kl_yardsticks(const Report& report) {
  Yardsticks yardsticks;
  if (report.floor) {
    yardsticks.floor = report.floor->kl_mean;
    yardsticks.floor_interval = report.floor->kl_mean_ci95;
  }
  const Comparison* comparison = main_comparison(report);
  const Verdict* gate =
      comparison == nullptr ? nullptr : find_verdict(report, "kl.mean", *comparison);
  yardsticks.limit = gate == nullptr ? std::nullopt : gate->limit;
  return yardsticks;
}

Markup outputs_section(const Report& report) {
  const Comparison* main = main_comparison(report);
  if (main == nullptr) {
    return {};
  }
  Markup out;
  out.add("<p class=intro>{} against {}, {}, {} prompts, {} rows of logits.{}</p>\n",
          lane_label(main->subject), lane_label(main->reference),
          arithmetic_label(main->arithmetic), format_count(main->prompts),
          format_count(main->tokens),
          report.floor ? " Noise floor: " + report.floor->basis + "." : std::string());
  out += flips_text(*main);
  for (const NonFiniteLane& lane : main->non_finite) {
    out.add("<p class=unchecked>Not finite: {} logits in {} rows of {}{}.</p>\n",
            format_count(lane.elements), format_count(lane.rows), lane_label(lane.lane),
            lane.first ? ", first at " + place_text(*lane.first) : std::string());
  }
  out.add("<div class=figures>\n{}{}</div>\n", kl_figure(report, *main),
          group_figures(report, *main));
  out += ratio_table(report);
  out.add("<details class=more><summary>Every metric</summary>\n{}</details>\n",
          metric_table(*main));
  return out += other_pairs(report, *main);
}

}  // namespace mg::html
