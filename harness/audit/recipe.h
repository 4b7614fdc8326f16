// Merge recipes: the orders of roundings by which tools turn W and s*B*A into the stored value, and
// which deltas each of them allows for one stored value.  The catalogue's and PEFT's conventions
// (docs/reference/peers.md, section 5; PEFT 0.21 peft/tuners/lora/layer.py, merge and
// get_delta_weight). Not for: walking tensors (measure.h, explain.h).  Tested in
// tests/audit/recipe_test.cc.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "kernels/core/dtype.h"
#include "kernels/core/rounding.h"

namespace mg {

/// How far a recipe strays from what the stored dtypes make necessary.
enum class RecipeKind {
  kPlain,   // one rounding to the stored dtype, or that of the delta to the base's or merged's own
            // dtype
  kCast,    // merged in the base's dtype and widened or narrowed afterwards: no loss beyond an
            // ordinary merge
  kDetour,  // the weights went through a dtype coarser than both base and merged
  kDeltaDetour  // only the adapter or the delta did
};

struct Recipe {
  std::string name;
  RecipeKind kind = RecipeKind::kPlain;
  // Roundings, in the order they happen; nothing: FP32 or finer.
  std::optional<DType> load;     // of W before the merge
  std::optional<DType> adapter;  // of A, B and DoRA's magnitude
  std::optional<DType> product;  // of B*A before it is scaled
  std::optional<DType> delta;    // of s*B*A
  std::optional<DType> update;   // of W + delta, and of DoRA's norm and factor; DoRA only
  std::optional<DType> sum;      // of the result, before it is stored in the merged dtype
  std::optional<DType> recast;   // of the finished result, which was then stored once more
  // W takes part in the FP32 accumulation (one GEMM with beta = 1): its rounding errors scale with
  // |W| too.
  bool accumulates_on_weight = false;
};

/// The recipes that make sense for these stored dtypes, most ordinary first, without repeats.
/// `dequantised`: the base is FP32 numbers decoded from codes, which their library itself hands out
/// in this dtype; names say which of the two the merge began with.
std::vector<Recipe> recipes_for(DType base, DType adapter, DType merged, bool dora = false,
                                std::optional<DType> dequantised = std::nullopt);

/// An interval of real numbers; an open end is not part of it.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;
  bool high_open = false;

  bool empty() const { return !(low <= high) || (low == high && (low_open || high_open)); }
};

/// The numbers that round (nearest even) to a value of the format inside `range`; empty where the
/// grid has none.
Range preimage(const Range& range, DType dtype);

/// One recipe on tensors of given dtypes.
class ElementArithmetic {
 public:
  /// `rank` products are summed.
  ElementArithmetic(const Recipe& recipe, DType base, DType merged, std::int64_t rank,
                    double scale);

  /// What the recipe stores for weight `w` and exact delta `d` when FP32 rounding plays no part;
  /// `factor` is DoRA's m/|W+D|, 1 without.
  double expected(double w, double d, double factor = 1.0) const;

  /// The exact deltas from which the recipe may have made `merged`, `magnitude` being |s| *
  /// sum|b||a|: widened by the error of FP32 products and sums in any order, and by `factor_error`
  /// (relative) of DoRA's factor. Empty where no delta gives `merged`.
  Range allowed_delta(double w, double merged, double magnitude, double factor = 1.0,
                      double factor_error = 0.0) const;

  /// |computed - exact| of s*B*A for this magnitude.
  double delta_error(double w, double magnitude) const;

  const Recipe& recipe() const { return recipe_; }

 private:
  Recipe recipe_;
  DType base_;
  DType merged_;
  double scale_;
  double gamma_;         // FP32 products and sums, relative to the magnitude
  double gamma_weight_;  // the same relative to |W|, where W is accumulated upon
  double sum_error_;  // of W + delta in FP32, relative; 0 where the sum is exact or is itself the
                      // store
};

}  // namespace mg
