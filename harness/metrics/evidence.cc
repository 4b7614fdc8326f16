#include <algorithm>
#include <cmath>

#include "harness/metrics/summary.h"

namespace mg {
namespace {

constexpr std::size_t kShownTokens = 5;

// The rows with the largest positive scores, best first; equal scores in row order.
std::vector<std::int64_t> largest(std::span<const PairRow> rows, const auto& score,
                                  std::int64_t count) {
  std::vector<std::pair<double, std::int64_t>> scored;
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const double value = score(rows[row]);
    if (value > 0.0) {
      scored.emplace_back(value, static_cast<std::int64_t>(row));
    }
  }
  const auto kept = std::min(static_cast<std::ptrdiff_t>(scored.size()), count);
  std::partial_sort(
      scored.begin(), scored.begin() + kept, scored.end(), [](const auto& left, const auto& right) {
        return left.first != right.first ? left.first > right.first : left.second < right.second;
      });
  std::vector<std::int64_t> out;
  for (std::ptrdiff_t i = 0; i < kept; ++i) {
    out.push_back(scored[static_cast<std::size_t>(i)].second);
  }
  return out;
}

LaneTop lane_top(const MetricAccumulator& rows, int lane, std::int64_t row) {
  LaneTop top;
  top.lane = rows.lanes()[static_cast<std::size_t>(lane)];
  const LaneRow& values = rows.lane_row(lane, row);
  if (!values.finite()) {
    return top;
  }
  for (std::size_t k = 0; k < kShownTokens && values.top_id[k] >= 0; ++k) {
    top.tokens.push_back(
        {values.top_id[k], "", std::exp(static_cast<double>(values.top_logit[k]) - values.lse)});
  }
  return top;
}

double reference_margin(const LaneRow& row, const PairRow& values) {
  if (!values.agree) {
    return values.flip_gap_reference;
  }
  return static_cast<double>(row.top_logit[0]) - static_cast<double>(row.top_logit[1]);
}

Evidence make_card(const MetricAccumulator& rows, int pair, std::int64_t row, const char* why) {
  const RowLayout& layout = rows.layout();
  const PairSpec& spec = rows.pairs()[static_cast<std::size_t>(pair)];
  const PairRow& values = rows.pair_rows(pair)[static_cast<std::size_t>(row)];
  Evidence card;
  card.prompt = layout.prompts()[static_cast<std::size_t>(layout.prompt_of(row))].id;
  card.position = layout.position_of(row);
  card.why = why;
  if (const std::int64_t next = layout.next_token(row); next >= 0) {
    card.target_id = next;
  }
  if (spec.base >= 0) {
    card.top.push_back(lane_top(rows, spec.base, row));
  }
  card.top.push_back(lane_top(rows, spec.reference, row));
  card.top.push_back(lane_top(rows, spec.subject, row));
  if (values.finite) {
    card.kl = values.kl;
    if (!std::isnan(values.delta_nll)) {
      card.delta_nll = values.delta_nll;
    }
    const LaneRow& reference = rows.lane_row(spec.reference, row);
    if (reference.top_id[1] >= 0) {
      card.margin = reference_margin(reference, values);
    }
  }
  return card;
}

}  // namespace

std::vector<Evidence> select_evidence(const MetricAccumulator& rows, int pair,
                                      const MetricContext& context, std::int64_t count) {
  const std::span<const PairRow> values = rows.pair_rows(pair);
  struct Kind {
    const char* why;
    std::vector<std::int64_t> rows;
  };
  // Each kind gets a share; what one does not use goes to those after it.
  const std::array kinds{
      Kind{"not finite",
           largest(
               values, [](const PairRow& row) { return row.finite ? 0.0 : 1.0; }, (count + 3) / 4)},
      Kind{"real flip", largest(
                            values,
                            [&](const PairRow& row) {
                              return row.finite && is_real_flip(row, context.flip_margin)
                                         ? row.flip_gap_reference + row.flip_gap_subject
                                         : 0.0;
                            },
                            (count + 2) / 3)},
      Kind{"largest change of likelihood", largest(
                                               values,
                                               [](const PairRow& row) {
                                                 return std::isnan(row.delta_nll)
                                                            ? 0.0
                                                            : std::abs(row.delta_nll);
                                               },
                                               (count + 3) / 4)},
      Kind{"largest KL",
           largest(
               values, [](const PairRow& row) { return row.finite ? row.kl : 0.0; }, 2 * count)},
  };
  std::vector<Evidence> cards;
  std::vector<std::int64_t> taken;
  for (const Kind& kind : kinds) {
    for (const std::int64_t row : kind.rows) {
      const bool known = std::find(taken.begin(), taken.end(), row) != taken.end();
      if (!known && static_cast<std::int64_t>(cards.size()) < count) {
        taken.push_back(row);
        cards.push_back(make_card(rows, pair, row, kind.why));
      }
    }
  }
  return cards;
}

}  // namespace mg
