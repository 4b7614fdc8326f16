// The history of runs: an SQLite file to which each run is appended, safe under several writers.
// A damaged file, or one that is not a history, is reported and never changed.
// Not for: what a series of runs means (steps.h, trend.h).  Tested in
// tests/reports/history_test.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "reports/history/key.h"
#include "reports/view.h"

namespace mg {

/// A gate's value in a run.
struct HistoryValue {
  std::string gate;
  std::optional<double> value;
  std::optional<Interval> interval;  // what was held against the limit
  std::optional<double> limit;
  std::optional<double> floor;
  std::string status;
  std::string unit;
};

struct HistoryRun {
  std::int64_t id = 0;
  std::string started;  // UTC
  std::string digest;   // of report.json
  std::string status;
  std::string merged;  // as given on the command line
  std::vector<HistoryValue> values;
};

struct HistorySeries {
  ComparabilityKey key;
  std::int64_t runs = 0;
  std::string last_started;
};

class History {
 public:
  /// Opens the file, making it where there is none (`create`).  Throws Error
  ///   history.missing     there is no such file and it is not to be made
  ///   history.damaged     SQLite finds it damaged
  ///   history.foreign     a database of something else
  ///   history.newer       written by a later version
  ///   history.unreadable  SQLite cannot open it
  static History open(const std::filesystem::path& path, bool create);

  History(History&&) noexcept;
  History& operator=(History&&) noexcept;
  ~History();

  /// Appends a run under its comparability key; the same report.json a second time changes nothing.
  /// Waits up to 30 seconds for other writers.  Throws what comparability_key throws, and
  /// "history.busy", "history.cannot-write".
  void append(const ReportView& view);

  /// Every key with its number of runs, the one with the newest run first.
  std::vector<HistorySeries> series() const;

  /// The last `most` runs of a key, oldest first.
  std::vector<HistoryRun> runs(const ComparabilityKey& key, std::int64_t most) const;

 private:
  class Database;
  explicit History(std::unique_ptr<Database> database);
  std::unique_ptr<Database> database_;
};

/// The gates' values of a report that are worth following: those of the main comparison and of the
/// weights.
std::vector<HistoryValue> history_values(const Report& report);

}  // namespace mg
