// From the drift of hidden states to the report: layer by layer, and the half of a layer that
// causes a difference.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/lanes/lockstep.h"
#include "harness/result/comparison.h"
#include "harness/result/finding.h"

namespace mg {

/// The drift that is to be expected in each half of a layer: of our own re-merge where that lane
/// ran (rounding to the stored dtype, nothing else), else the arithmetic's own noise.
struct ExpectedDrift {
  std::vector<HalfDrift> halves;
  bool by_prompt = false;  // expect of a prompt what it had; false: the forced drift serves
  std::string basis;       // "our re-merge's" or "the arithmetic's own"

  /// Of the same part; null where it was not measured.
  const HalfDrift* find(const HalfDrift& half) const;
  static double forced(const HalfDrift& half) { return half.forced_rel.value_or(half.free_rel); }
};

/// A half departs when its drift is above this many times the expected one.  Halves that are right
/// have the re-merge's own drift to within a few elements that rounded the other way.
inline constexpr double kDeparted = 4.0;

ExpectedDrift expected_of_remerge(std::span<const HalfDrift> drift);

/// Of what is stored otherwise throughout every half drifts, by how sensitive it is: expected of a
/// half is `yardstick`'s drift there (of another lane whose weights were rounded, or of the
/// arithmetic), times the median of what the halves of the same kind make of it.  Empty where the
/// yardstick does not measure every half.
ExpectedDrift expected_of_others(std::span<const HalfDrift> drift,
                                 std::span<const HalfDrift> yardstick);

/// Fills `comparison.layers`, and the first departed layer of each evidence card.
void add_layers(std::span<const HalfDrift> drift, const std::optional<NonFiniteHidden>& non_finite,
                const ExpectedDrift& expected, const Batch& batch, Comparison& comparison);

/// The first half of a layer that departed, fed the reference's input, as a warning naming it, or
/// nothing.  It becomes the comparison's culprit.
/// `drift` is what add_layers() got.
std::optional<Finding> departing_half(std::span<const HalfDrift> drift, Comparison& comparison,
                                      const ExpectedDrift& expected);

/// A NaN or infinity in a lane's hidden states: an error naming lane, layer, half, prompt and
/// position.
Finding non_finite_finding(const std::string& lane, const NonFiniteHidden& place,
                           const Batch& batch);

/// F31: the reference lane overflows in the arithmetic that servers use, whatever the merge did.
/// `stored_so`: merged is stored in that dtype, so that this is what users would get: an error;
/// otherwise a warning.
Finding serving_overflow_finding(const std::string& arithmetic, bool stored_so,
                                 const NonFiniteHidden& place, const Batch& batch);

}  // namespace mg
