#include "reports/csv/csv.h"

#include <fmt/format.h>

#include <optional>
#include <string_view>

#include "reports/text.h"

namespace mg {
namespace {

/// A field in quotes.  A name that begins like a formula would be run by a spreadsheet.
std::string field(std::string_view text) {
  const std::string plain = printable(text);
  std::string out = "\"";
  if (!plain.empty() && std::string_view("=+-@").find(plain.front()) != std::string_view::npos) {
    out += '\'';
  }
  for (const char c : plain) {
    out += c == '"' ? "\"\"" : std::string(1, c);
  }
  return out + "\"";
}

std::string number(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

class Rows {
 public:
  explicit Rows(const Comparison& comparison)
      : lanes_(field(comparison.reference) + "," + field(comparison.subject)) {}

  void add(std::string_view group, std::string_view name, const NamedMetric& metric) {
    const MetricSummary& m = metric.summary;
    const auto end = [&m](double Interval::*side) {
      return m.ci95 ? std::optional((*m.ci95).*side) : std::nullopt;
    };
    text_ += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{}\r\n", lanes_, group, field(name),
                         field(metric.name), number(m.mean), number(end(&Interval::lower)),
                         number(end(&Interval::upper)), number(m.p50), number(m.p95), number(m.p99),
                         number(m.max), m.count, m.non_finite);
  }

  void add(std::string_view group, std::string_view name, const std::vector<NamedMetric>& metrics) {
    for (const NamedMetric& metric : metrics) {
      add(group, name, metric);
    }
  }

  std::string take() { return std::move(text_); }

 private:
  std::string lanes_;
  std::string text_;
};

void add_prompts(const Comparison& comparison, Rows& rows) {
  for (const PromptDetail& prompt : comparison.prompts_detail) {
    NamedMetric kl{"kl", {}};
    kl.summary.mean = prompt.kl_mean;
    kl.summary.max = prompt.kl_max;
    kl.summary.count = prompt.tokens;
    kl.summary.non_finite = prompt.non_finite;
    rows.add("prompt", prompt.id, kl);
    NamedMetric nll{"delta_nll", {}};
    nll.summary.mean = prompt.delta_nll_mean;
    nll.summary.count = prompt.tokens;
    rows.add("prompt", prompt.id, nll);
  }
}

}  // namespace

std::string render_csv(const ReportView& view) {
  std::string out =
      "reference,subject,group,name,metric,mean,ci95_lower,ci95_upper,p50,p95,p99,max,count,"
      "non_finite\r\n";
  for (const Comparison& comparison : view.report.comparisons) {
    Rows rows(comparison);
    rows.add("all", "", comparison.metrics);
    for (const Slice& slice : comparison.slices) {
      rows.add("slice", slice.name, slice.metrics);
    }
    for (const PositionBucket& bucket : comparison.positions) {
      rows.add("position", fmt::format("{}..{}", bucket.from, bucket.to - 1), bucket.metrics);
    }
    for (const ConfidenceBucket& bucket : comparison.confidence) {
      rows.add("confidence", fmt::format("{}..{}", bucket.from, bucket.to), bucket.metrics);
    }
    add_prompts(comparison, rows);
    out += rows.take();
  }
  return out;
}

std::string render_token_csv(const TokenRows& table) {
  std::string out =
      "reference,subject,prompt,position,token,next_token,first_reference,first_subject";
  for (const std::string& metric : table.metrics) {
    out += "," + metric;
  }
  out += "\r\n";
  const auto id = [](std::int32_t value) { return value < 0 ? "" : fmt::format("{}", value); };
  for (const TokenRow& row : table.rows) {
    const TokenRows::Pair& pair = table.pairs[row.pair];
    out += fmt::format("{},{},{},{},{},{},{},{}", field(pair.reference), field(pair.subject),
                       field(row.prompt), row.position, row.token, id(row.next),
                       id(row.first_reference), id(row.first_subject));
    for (const std::optional<double>& value : row.values) {
      out += "," + number(value);
    }
    out += "\r\n";
  }
  return out;
}

}  // namespace mg
