#include "harness/run/logit_metrics.h"

#include <algorithm>
#include <utility>

#include "kernels/core/error.h"

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
  accumulator_.add_rows(rows.first_row, rows.rows, lanes, pool_);
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
