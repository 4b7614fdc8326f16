// An earlier run as the yardstick of this one.  Tested in tests/reports/history_test.cc.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "reports/history/store.h"

namespace mg {

struct Baseline {
  std::string source;  // the file, and the run in it
  ComparabilityKey key;
  std::vector<HistoryValue> values;
};

/// Reads a baseline for `report`: a report.json, or the newest passed run of the report's key in a
/// history; nothing where the history has no runs at all.  Throws Error "baseline.incomparable"
/// naming the first field that differs, and what reading a report or a history throws.
std::optional<Baseline> read_baseline(const std::filesystem::path& file, const Report& report);

/// Gates "baseline.GATE" for the non-negative quantities of `report` that the baseline has with an
/// interval: the value may not be certainly above 1.1 times the baseline's upper bound, nor above
/// the noise floor.  Pass where the upper bound stays within, fail where the lower bound lies
/// above, else inconclusive.
std::vector<Verdict> judge_against(const Baseline& baseline, const Report& report);

/// Adds the baseline's gates to a finished report and decides its status anew.  A baseline that
/// cannot be used becomes the report's error; a report that has one already stays as it is.  The
/// first run of a history gets the note "baseline.first-run".
void hold_against_baseline(const std::filesystem::path& file, Report& report);

/// Throws what reading the file throws, before anything is computed.
void require_readable_baseline(const std::filesystem::path& file);

}  // namespace mg
