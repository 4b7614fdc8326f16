#include "harness/run/token_rows.h"

#include "harness/metrics/metric_table.h"

namespace mg {

TokenRows collect_token_rows(const MetricAccumulator& metrics, const Prompts& prompts,
                             const MetricContext& context) {
  TokenRows table;
  for (const PairSpec& pair : metrics.pairs()) {
    table.pairs.push_back({metrics.lanes()[static_cast<std::size_t>(pair.reference)],
                           metrics.lanes()[static_cast<std::size_t>(pair.subject)]});
  }
  for (const MetricDef& metric : metric_table()) {
    table.metrics.emplace_back(metric.name);
  }
  const RowLayout& layout = metrics.layout();
  for (std::size_t p = 0; p < metrics.pairs().size(); ++p) {
    const PairSpec& pair = metrics.pairs()[p];
    const auto rows = metrics.pair_rows(static_cast<int>(p));
    for (std::int64_t row = 0; row < layout.rows(); ++row) {
      const PairRow& values = rows[static_cast<std::size_t>(row)];
      TokenRow out;
      out.pair = p;
      out.prompt = layout.prompts()[static_cast<std::size_t>(layout.prompt_of(row))].id;
      out.position = layout.position_of(row);
      out.token = prompts.batch.ids[static_cast<std::size_t>(row)];
      out.next = static_cast<std::int32_t>(layout.next_token(row));
      if (values.finite) {
        out.first_reference = metrics.lane_row(pair.reference, row).top_id[0];
        out.first_subject = metrics.lane_row(pair.subject, row).top_id[0];
      }
      for (const MetricDef& metric : metric_table()) {
        out.values.push_back(metric_applies(metric, values)
                                 ? std::optional(metric.value(values, context))
                                 : std::nullopt);
      }
      table.rows.push_back(std::move(out));
    }
  }
  return table;
}

}  // namespace mg
