// Gate profiles: which numbers of a run are judged, against which limits, and where each limit
// comes from.  They are JSON files (configs/gates/*.json, compiled in) that users copy and change.
// Not for: judging (judge.h). Tested in tests/verdict/gate_profile_test.cc.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dtype.h"

namespace mg {

/// How a value is held against its limit.
enum class GateRule {
  kAtMost,        // one-sided 95 % upper bound <= limit
  kEquivalent,    // 90 % interval inside (-limit, +limit): two one-sided tests at 5 %
  kBetween,       // 90 % interval inside (lower, upper)
  kNearRounding,  // within `limit` of the same ratio of the re-merge, which holds what rounding
                  // alone does
};

/// Which comparison of the run a gate looks at.
enum class GateComparison {
  kTotal,      // reference against subject: everything that changed
  kTool,       // re-merge against subject: what the merge tool added to unavoidable rounding
  kOtherBase,  // the adapter on the other of two bases against subject; no gate without such a lane
};

enum class GateStatistic {
  kMean,
  kP99,
  kValue,  // of a ratio: "mer", "slope", "r2", "perplexity_ratio"
};

/// A limit for weights of this many bits and more, where what is stored decides what is to be
/// expected.
struct BitsLimit {
  double bits = 0.0;
  double value = 0.0;
  std::string basis;
};

/// The larger of the parts that are set: a number, and a multiple of the run's noise floor in the
/// same statistic.
struct GateLimit {
  std::optional<double> value;
  std::optional<double> times_floor;
  std::vector<BitsLimit> by_bits = {};  // fewer and fewer bits; at_bits() makes one of them `value`
};

struct GateSpec {
  std::string gate;  // "kl.mean"
  GateComparison comparison = GateComparison::kTotal;
  std::string metric;
  GateStatistic statistic = GateStatistic::kMean;
  GateRule rule = GateRule::kAtMost;
  GateLimit limit;
  double lower = 0.0;  // kBetween
  double upper = 0.0;
  std::optional<GateLimit>
      warn;  // kAtMost: above this but below the limit a warning is given (F30)
  bool excused_by_rounding =
      false;  // kAtMost on "mer": rounding alone may cost as much; then a warning (F30)
  bool blocking = true;
  bool slices = false;  // also judge every slice, advisory
  std::string basis;
};

struct WeightLimits {
  double slope_within = 0.01;     // |c_remerge - 1|
  double residual_at_most = 0.1;  // rho_remerge
  std::string basis;
};

struct GateProfile {
  std::string name;
  std::string purpose;               // JSON "for"
  std::int64_t fewest_prompts = 20;  // with fewer, a gate is at best inconclusive
  WeightLimits weights;
  std::vector<GateSpec> gates;
};

/// Parses a profile; `where` names it in errors.  Throws Error "gates.syntax", "gates.unknown-key",
/// "gates.missing-key", "gates.wrong-type", "gates.unknown-name", "gates.bad-limit",
/// "gates.duplicate".
GateProfile parse_gate_profile(std::string_view json, std::string_view where);

/// The profile for a model whose weights take this many bits each: of every list of limits by bits
/// the first that is for so few, and its basis; a gate none of them is for is left out.
GateProfile at_bits(GateProfile profile, double bits);

/// Names of the profiles compiled in: "bf16", "qlora", "served", "strict".
std::vector<std::string_view> builtin_gate_profiles();

/// A compiled-in profile by name, or a file.  Throws Error "gates.not-found" naming those compiled
/// in.
GateProfile load_gate_profile(const std::string& name_or_file);

/// The profile for a merged checkpoint stored like this: "qlora" over a quantised base, else "bf16"
/// or "strict".
std::string_view default_gate_profile(DType merged_dtype, bool quantised_base);

/// The profile for what is served in merged's place (--also).
inline constexpr const char* kServedProfile = "served";

}  // namespace mg
