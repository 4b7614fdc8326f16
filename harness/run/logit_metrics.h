// Feeds logits, as lockstep produces them, to the metrics.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "harness/lanes/lockstep.h"
#include "harness/metrics/accumulator.h"
#include "harness/run/prompts.h"

namespace mg {

class LogitMetrics final : public Observer {
 public:
  /// Vocabularies of different size (padding) are compared over the entries that all lanes have.
  LogitMetrics(const std::vector<Lane>& lanes, const std::vector<PairSpec>& pairs,
               const Prompts& prompts, ThreadPool& pool, std::function<void(double)> progress);

  void logits(const LogitChunk& rows) override;
  bool placed_logits(const PlacedLogits& rows) override;
  void progress(double done) override { progress_(done); }

  const MetricAccumulator& accumulator() const { return accumulator_; }

 private:
  ThreadPool& pool_;
  std::function<void(double)> progress_;
  std::mutex mutex_;  // of accumulator_: several devices bring rows at once
  MetricAccumulator accumulator_;
};

/// "exact", "fp16", "bf16".
std::string arithmetic_name(Arithmetic arithmetic);

/// Whether a pair's lanes gave the same number in every row: KL, largest difference and NLL all
/// exactly 0.
bool rows_are_identical(const MetricAccumulator& rows, int pair);

}  // namespace mg
