// The last runs of a comparability key, gate by gate: as text and as a page.
// Tested in tests/reports/history_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "reports/history/steps.h"
#include "reports/history/store.h"

namespace mg {

/// One gate over the runs; runs in which it had no value are left out.
struct GateTrend {
  struct Point {
    std::size_t run = 0;  // index in Trend::runs
    HistoryValue value;
  };
  std::string gate;
  std::string unit;
  std::vector<Point> points;
  std::vector<Step> steps;  // `at` counts points
};

struct Trend {
  ComparabilityKey key;       // of the newest run
  std::int64_t all_runs = 0;  // that are followed together
  /// Different adapters among the runs shown, and the runs that began with another one: where the
  /// adapter is trained anew every night, what is followed is the merging of it.
  std::int64_t adapters = 1;
  std::vector<std::size_t> adapter_changes;
  std::int64_t other_keys = 0;
  /// Where another key's run came before this one's first: what changed then.
  std::optional<FieldDifference> began_with;
  std::vector<HistoryRun> runs;  // oldest first
  std::vector<GateTrend> gates;
};

/// The last `most` runs that share everything but the adapter with the newest run; or, with `key`,
/// those of the one key whose digest begins so.  Throws Error "history.empty",
/// "history.unknown-key".
Trend read_trend(const History& history, const std::string& key, std::int64_t most);

/// "kl.mean  2.6e-6 nat  step at run 17 of 30 (2024-05-17T02:00:00Z): 2.6e-6 to 3.1e-5 nat".
std::string trend_text(const Trend& trend);

std::string render_trend_html(const Trend& trend);

}  // namespace mg
