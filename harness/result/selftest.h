// What a selftest planted, and who saw it.  Filled by harness/run/selftest.cc, written by reports/.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mg {

enum class DetectionOutcome {
  kCaught,
  kMissed,
  kNotPlanted,  // the damage does not apply to this merge
};

/// One planted fault.  Rules and gates are those that the undamaged merge does not set off.
struct Detection {
  std::string damage;  // "drop-layer"
  std::string story;   // "one layer was left at the base"
  DetectionOutcome outcome = DetectionOutcome::kMissed;
  std::vector<std::string> expected;  // rules and gates that must speak
  std::vector<std::string> lint;      // rules that found it, from warnings on
  std::vector<std::string> audit;     // rules, and failed gates of the weights
  std::vector<std::string> compare;   // rules, and failed gates of the outputs
  std::optional<int> exit_code;       // of the check on the damaged merge
  std::string note;                   // why it was missed, or not planted
};

struct SelftestResult {
  std::vector<Detection> detections;
};

struct DetectionCounts {
  std::int64_t caught = 0;
  std::int64_t missed = 0;
  std::int64_t not_planted = 0;
  std::int64_t planted() const { return caught + missed; }
};
DetectionCounts count_detections(const SelftestResult& selftest);

/// "caught", "missed", "not_planted".
std::string_view detection_outcome_name(DetectionOutcome outcome);
std::optional<DetectionOutcome> detection_outcome_from_name(std::string_view name);

}  // namespace mg
