// Which merge recipe explains a tensor: candidates are tried on a sample, the first that leaves
// nothing unexplained is proved on every element.  Not for: figures (measure.h), naming faults
// (diagnose.h). Tested in tests/audit/explain_test.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "harness/audit/dora_factors.h"
#include "harness/audit/measure.h"
#include "harness/audit/recipe.h"
#include "harness/model/delta.h"
#include "kernels/core/parallel.h"

namespace mg {

/// What one recipe (at one scale) leaves over.
struct RecipeFit {
  std::int64_t elements = 0;
  std::int64_t differing = 0;    // from the recipe's result when FP32 errors are zero
  std::int64_t unexplained = 0;  // by more than FP32 arithmetic can do
  // Multiples of the scale that every element allows under this recipe, where asked for.
  double scale_low = -TargetMeasure::kNoBound;
  double scale_high = TargetMeasure::kNoBound;
  std::vector<ElementSample> samples;  // first unexplained elements

  void add(const RecipeFit& later);
  bool explains() const { return elements > 0 && unexplained == 0; }
  double unexplained_share() const;
};

struct FitOptions {
  double scale = 1.0;  // times the adapter's own
  bool bound_scale =
      false;  // fill scale_low and scale_high (slow: every element is looked at; not with DoRA)
  // DoRA's factors by column, where a recipe with its own norm takes them along columns: one pass
  // over the tensor, to be made once.
  const std::vector<DoraFactor>* column_factors = nullptr;
};

/// Fits stored rows [begin, end).  `views.delta` must have been made with the recipe's adapter
/// cast.
RecipeFit fit_rows(const TargetViews& views, const Recipe& recipe, const FitOptions& options,
                   std::int64_t begin, std::int64_t end);

/// Rows spread over a tensor, as blocks of [begin, end): at most about `elements` elements.
std::vector<std::pair<std::int64_t, std::int64_t>> sample_rows(const DeltaRows& delta,
                                                               std::int64_t elements);

/// Makes the delta of a recipe: A and B rounded to the given dtype first.
using DeltaMaker = std::function<DeltaRows(std::optional<DType> adapter_cast)>;

struct Explanation {
  Recipe recipe;
  RecipeFit fit;  // over the whole tensor
};

/// The first recipe that explains all of the tensor, or else the one that leaves least over.
/// `one_rounding` is what measure_rows found for recipe 0 of recipes_for().
Explanation find_recipe(const TargetViews& views, const DeltaMaker& make_delta, DType adapter,
                        const TargetMeasure& one_rounding, ThreadPool& pool);

/// All rows, in parallel.
RecipeFit fit_all(const TargetViews& views, const Recipe& recipe, const FitOptions& options,
                  ThreadPool& pool);

}  // namespace mg
