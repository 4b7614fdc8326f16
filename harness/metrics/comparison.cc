#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include "harness/metrics/summary.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

// Borders of the buckets by the reference's largest probability (docs/reference/metrics.md
// section 3.1).
constexpr std::array kConfidenceBorders{0.0, 0.25, 0.5, 0.75, 0.95, 1.0};
// Positions: the first bucket, then doubling.
constexpr std::int64_t kFirstBucket = 16;
// KL histogram: from 0, then half decades from 1e-12 to 10.
constexpr int kHistogramLow = -24;  // in half decades
constexpr int kHistogramHigh = 2;

struct Source {
  const MetricAccumulator& rows;
  int pair;
  const SummaryOptions& options;
  ThreadPool& pool;

  const PairSpec& spec() const { return rows.pairs()[static_cast<std::size_t>(pair)]; }
  std::span<const PairRow> values() const { return rows.pair_rows(pair); }
};

template <typename Keep>
std::vector<std::int64_t> rows_where(const Source& source, const Keep& keep) {
  std::vector<std::int64_t> selected;
  for (std::int64_t row = 0; row < source.rows.layout().rows(); ++row) {
    if (keep(row)) {
      selected.push_back(row);
    }
  }
  return selected;
}

Flips count_flips(const Source& source) {
  Flips flips;
  flips.margin = source.options.context.flip_margin;
  const bool has_base = source.spec().base >= 0;
  for (const PairRow& row : source.values()) {
    if (!row.finite || row.agree) {
      continue;
    }
    if (!is_real_flip(row, source.options.context.flip_margin)) {
      ++flips.near_tie;
      continue;
    }
    ++flips.real;
    if (has_base) {
      ++(row.towards_base ? flips.towards_base : flips.away);
    }
  }
  return flips;
}

Place place_of(const RowLayout& layout, std::int64_t row) {
  return {layout.prompts()[static_cast<std::size_t>(layout.prompt_of(row))].id,
          layout.position_of(row), std::nullopt};
}

std::vector<NonFiniteLane> find_non_finite(const Source& source) {
  std::vector<int> lanes{source.spec().reference, source.spec().subject};
  if (source.spec().base >= 0) {
    lanes.push_back(source.spec().base);
  }
  std::vector<NonFiniteLane> found;
  for (const int lane : lanes) {
    NonFiniteLane entry;
    entry.lane = source.rows.lanes()[static_cast<std::size_t>(lane)];
    for (std::int64_t row = 0; row < source.rows.layout().rows(); ++row) {
      const LaneRow& lane_row = source.rows.lane_row(lane, row);
      if (lane_row.finite()) {
        continue;
      }
      if (entry.rows == 0) {
        entry.first = place_of(source.rows.layout(), row);
        entry.first->token = lane_row.first_non_finite;
      }
      ++entry.rows;
      entry.elements += lane_row.non_finite;
    }
    if (entry.rows > 0) {
      found.push_back(std::move(entry));
    }
  }
  return found;
}

std::vector<HistogramBin> kl_histogram(const Source& source) {
  std::vector<HistogramBin> bins;
  double from = 0.0;
  for (int half = kHistogramLow; half <= kHistogramHigh; ++half) {
    const double to = std::pow(10.0, 0.5 * half);
    bins.push_back({from, to, 0});
    from = to;
  }
  bins.push_back({from, std::numeric_limits<double>::max(), 0});
  for (const PairRow& row : source.values()) {
    if (!row.finite) {
      continue;
    }
    const auto bin = std::find_if(bins.begin(), bins.end() - 1,
                                  [&](const HistogramBin& b) { return row.kl < b.to; });
    ++bin->rows;
  }
  return bins;
}

std::vector<Slice> make_slices(const Source& source) {
  const RowLayout& layout = source.rows.layout();
  std::vector<Slice> slices;
  for (const SliceSpec& spec : source.options.slices) {
    std::vector<std::uint8_t> in_slice(static_cast<std::size_t>(layout.rows()), 0);
    for (const RowRange& range : spec.ranges) {
      const std::int64_t first = layout.first_row(range.prompt);
      const std::int64_t rows = layout.prompts()[static_cast<std::size_t>(range.prompt)].rows;
      MG_CHECK(range.begin >= 0 && range.begin <= range.end && range.end <= rows,
               "a slice lies within its prompt");
      std::fill(in_slice.begin() + first + range.begin, in_slice.begin() + first + range.end, 1);
    }
    const auto selected = rows_where(
        source, [&](std::int64_t row) { return in_slice[static_cast<std::size_t>(row)] != 0; });
    slices.push_back(
        {spec.name, static_cast<std::int64_t>(selected.size()),
         summarise_metrics(source.rows, source.pair, selected, source.options, true, source.pool)});
  }
  return slices;
}

std::vector<PositionBucket> make_positions(const Source& source) {
  const RowLayout& layout = source.rows.layout();
  std::int64_t longest = 0;
  for (const PromptRows& prompt : layout.prompts()) {
    longest = std::max(longest, prompt.rows);
  }
  std::vector<PositionBucket> buckets;
  for (std::int64_t from = 0; from < longest;) {
    const std::int64_t to = from == 0 ? kFirstBucket : 2 * from;
    const auto selected = rows_where(source, [&](std::int64_t row) {
      const std::int64_t position = layout.position_of(row);
      return position >= from && position < to;
    });
    buckets.push_back({from, to,
                       summarise_metrics(source.rows, source.pair, selected, source.options, false,
                                         source.pool)});
    from = to;
  }
  return buckets;
}

std::vector<ConfidenceBucket> make_confidence(const Source& source) {
  std::vector<ConfidenceBucket> buckets;
  for (std::size_t i = 0; i + 1 < kConfidenceBorders.size(); ++i) {
    const double from = kConfidenceBorders[i];
    const double to = kConfidenceBorders[i + 1];
    const bool last = i + 2 == kConfidenceBorders.size();
    const auto selected = rows_where(source, [&](std::int64_t row) {
      const PairRow& values = source.values()[static_cast<std::size_t>(row)];
      return values.finite && values.confidence >= from && (last || values.confidence < to);
    });
    if (!selected.empty()) {
      buckets.push_back({from, to,
                         summarise_metrics(source.rows, source.pair, selected, source.options,
                                           false, source.pool)});
    }
  }
  return buckets;
}

PromptDetail prompt_detail(const Source& source, std::int64_t prompt) {
  const PromptRows& layout = source.rows.layout().prompts()[static_cast<std::size_t>(prompt)];
  PromptDetail detail;
  detail.id = layout.id;
  detail.tokens = layout.rows;
  double kl = 0.0;
  double delta_nll = 0.0;
  std::int64_t finite = 0;
  std::int64_t scored = 0;
  for (std::int64_t i = 0; i < layout.rows; ++i) {
    const PairRow& row =
        source.values()[static_cast<std::size_t>(source.rows.layout().first_row(prompt) + i)];
    if (!row.finite) {
      ++detail.non_finite;
      continue;
    }
    ++finite;
    kl += row.kl;
    detail.kl_max = std::max(detail.kl_max.value_or(0.0), row.kl);
    detail.flips += row.agree ? 0 : 1;
    if (!std::isnan(row.delta_nll)) {
      ++scored;
      delta_nll += row.delta_nll;
    }
  }
  if (finite > 0) {
    detail.kl_mean = kl / static_cast<double>(finite);
  }
  if (scored > 0) {
    detail.delta_nll_mean = delta_nll / static_cast<double>(scored);
  }
  return detail;
}

}  // namespace

Comparison summarise(const MetricAccumulator& rows, int pair, const SummaryOptions& options,
                     ThreadPool& pool) {
  MG_CHECK(rows.complete(), "every row was added before summing up");
  const Source source{rows, pair, options, pool};
  const RowLayout& layout = rows.layout();
  Comparison out;
  out.reference = rows.lanes()[static_cast<std::size_t>(source.spec().reference)];
  out.subject = rows.lanes()[static_cast<std::size_t>(source.spec().subject)];
  out.prompts = static_cast<std::int64_t>(layout.prompts().size());
  out.tokens = layout.rows();
  out.scored_tokens = layout.scored_rows();
  std::vector<std::int64_t> all(static_cast<std::size_t>(layout.rows()));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  out.metrics = summarise_metrics(rows, pair, all, options, true, pool);
  out.ratios = summarise_ratios(rows, pair, options.bootstrap, pool);
  out.flips = count_flips(source);
  out.non_finite = find_non_finite(source);
  out.kl_histogram = kl_histogram(source);
  out.slices = make_slices(source);
  out.positions = make_positions(source);
  out.confidence = make_confidence(source);
  for (std::int64_t prompt = 0; prompt < out.prompts; ++prompt) {
    out.prompts_detail.push_back(prompt_detail(source, prompt));
  }
  out.evidence = select_evidence(rows, pair, options.context, options.evidence);
  out.bootstrap_replicates = options.bootstrap.replicates;
  out.bootstrap_seed = options.bootstrap.seed;
  return out;
}

}  // namespace mg
