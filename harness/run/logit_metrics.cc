#include "harness/run/logit_metrics.h"

#include <algorithm>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/row_statistics.h"

namespace mg {
namespace {

std::int64_t shared_vocabulary(const std::vector<Lane>& lanes) {
  std::int64_t shared = lanes.front().source->globals().lm_head.weight.outputs();
  for (const Lane& lane : lanes) {
    shared = std::min(shared, lane.source->globals().lm_head.weight.outputs());
  }
  return shared;
}

std::vector<std::string> names_of(const std::vector<Lane>& lanes) {
  std::vector<std::string> names;
  for (const Lane& lane : lanes) {
    names.push_back(lane.name);
  }
  return names;
}

}  // namespace

LogitMetrics::LogitMetrics(const std::vector<Lane>& lanes, const std::vector<PairSpec>& pairs,
                           const Prompts& prompts, ThreadPool& pool,
                           std::function<void(double)> progress)
    : pool_(pool),
      progress_(std::move(progress)),
      accumulator_(RowLayout(prompts.rows), shared_vocabulary(lanes), names_of(lanes), pairs) {}

void LogitMetrics::logits(const LogitChunk& rows) {
  std::vector<LogitRows> lanes;
  for (std::size_t i = 0; i < rows.lanes.size(); ++i) {
    lanes.push_back({.logits = rows.lanes[i].data(), .stride = rows.vocab[i]});
  }
  const std::lock_guard lock(mutex_);
  accumulator_.add_rows(rows.first_row, rows.rows, lanes, pool_);
}

bool LogitMetrics::placed_logits(const PlacedLogits& rows) {
  const auto count = static_cast<std::size_t>(rows.rows);
  std::vector<LaneSweep> lanes(accumulator_.lanes().size() * count);
  std::vector<PairSweep> pairs(accumulator_.pairs().size() * count);
  std::vector<std::int32_t> next;
  for (std::int64_t row = rows.first_row; row < rows.first_row + rows.rows; ++row) {
    next.push_back(static_cast<std::int32_t>(accumulator_.layout().next_token(row)));
  }
  rows.statistics->sweep_logits({.lanes = rows.lanes,
                                 .vocabulary = accumulator_.vocabulary(),
                                 .pairs = accumulator_.pairs(),
                                 .next_token = next},
                                lanes, pairs);
  const std::lock_guard lock(mutex_);
  accumulator_.add_sweeps(rows.first_row, rows.rows, lanes, pairs);
  return true;
}

std::string arithmetic_name(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kExact:
      return "exact";
    case Arithmetic::kFp16:
      return "fp16";
    case Arithmetic::kBf16:
      return "bf16";
  }
  MG_CHECK(false, "every arithmetic has a name");
}

bool rows_are_identical(const MetricAccumulator& rows, int pair) {
  const std::span<const PairRow> all = rows.pair_rows(pair);
  return std::all_of(all.begin(), all.end(), [](const PairRow& row) {
    // A row without numbers (NaN in both lanes) proves nothing either way; it fails its own gate.
    return !row.finite || (row.kl == 0.0 && row.max_abs == 0.0 && row.agree);
  });
}

}  // namespace mg
