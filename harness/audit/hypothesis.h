// Another delta or another base tried in place of the right one: a transposed product, some of the
// ranks, another module's pair.  Each is judged on sample rows by the same measure as the right
// one. Tested in tests/audit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "harness/audit/diagnosis.h"

namespace mg {

/// Copies of what an AttachedDelta points to, free to be changed.
class Hypothesis {
 public:
  explicit Hypothesis(const AttachedDelta& attached);
  Hypothesis(const Hypothesis&) = delete;
  Hypothesis& operator=(const Hypothesis&) = delete;

  AttachedDelta& attached() { return attached_; }
  AdapterModule& module() { return module_; }
  /// The base tensor (also what DoRA's norm is taken of).
  StoredTensor& base() { return base_; }

  /// A in double, [R, in]; changing it changes the hypothesis.
  std::vector<double>& own_a();
  /// B in double, [out, R].
  std::vector<double>& own_b();

 private:
  static std::vector<double>& own(TensorView& view, std::vector<double>& values);

  AttachedDelta attached_;
  AdapterModule module_;
  StoredTensor base_;
  std::vector<double> a_;
  std::vector<double> b_;
};

struct HypothesisFit {
  double unexplained_share = 1;
  double c = 0;    // against the hypothesis' own rounded re-merge
  double rho = 1;  // likewise
  /// Explained but for stray elements, or at least all of the delta and little else.
  bool matches() const;
};

/// Fits merged to hypothesis on about `elements` elements.
HypothesisFit fit_hypothesis(Hypothesis& hypothesis, const TensorView& merged,
                             std::int64_t elements = 16384);

// The tests of the table in diagnose.cc that need one.
std::optional<Diagnosis> transposed_story(const TargetCase& c);
std::optional<Diagnosis> partial_rank_story(const TargetCase& c);
std::optional<Diagnosis> slices_story(const TargetCase& c);
std::optional<Diagnosis> experts_story(const TargetCase& c);
std::optional<Diagnosis> dora_story(const TargetCase& c);
std::optional<Diagnosis> wrong_pair_story(const TargetCase& c);
std::optional<Diagnosis> wrong_place_story(const TargetCase& c);

}  // namespace mg
