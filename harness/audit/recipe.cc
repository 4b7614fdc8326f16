#include "harness/audit/recipe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr double kUnit32 = 0x1p-24;  // half an ulp of FP32, relative
// Products that underflow may be flushed to zero by the hardware: at most this much each.
constexpr double kFlush32 = 0x1p-126;

/// Dtypes as the table below speaks of them.
enum class As : std::uint8_t { kExact, kBase, kMerged, kBf16, kF16 };

struct Row {
  std::string_view name;
  As load = As::kExact;
  As adapter = As::kExact;
  As product = As::kExact;
  As delta = As::kExact;
  As update = As::kExact;
  As sum = As::kExact;
  As recast = As::kExact;
  bool accumulates_on_weight = false;
};

// Most ordinary first: the first that explains every element names the tensor.
constexpr std::array kRows = {
    Row{.name = "one-rounding"},
    Row{.name = "one-rounding", .accumulates_on_weight = true},
    Row{.name = "delta-in-base-dtype", .delta = As::kBase},
    Row{.name = "adapter-in-base-dtype", .adapter = As::kBase, .delta = As::kBase},
    Row{.name = "adapter-in-base-dtype",
        .adapter = As::kBase,
        .product = As::kBase,
        .delta = As::kBase},
    // PEFT on 16-bit tensors rounds after every step (tuners/lora/variants.py, DoraLinearVariant).
    Row{.name = "adapter-in-base-dtype",
        .adapter = As::kBase,
        .delta = As::kBase,
        .update = As::kBase},
    Row{.name = "base-in-merged-dtype", .load = As::kMerged},
    Row{.name = "delta-in-merged-dtype", .load = As::kMerged, .delta = As::kMerged},
    Row{.name = "adapter-in-merged-dtype",
        .load = As::kMerged,
        .adapter = As::kMerged,
        .delta = As::kMerged},
    Row{.name = "adapter-in-merged-dtype",
        .load = As::kMerged,
        .adapter = As::kMerged,
        .product = As::kMerged,
        .delta = As::kMerged},
    Row{.name = "adapter-in-merged-dtype",
        .load = As::kMerged,
        .adapter = As::kMerged,
        .delta = As::kMerged,
        .update = As::kMerged},
    Row{.name = "merged-in-base-dtype", .sum = As::kBase},
    Row{.name = "merged-in-base-dtype", .delta = As::kBase, .sum = As::kBase},
    Row{.name = "merged-in-base-dtype", .adapter = As::kBase, .delta = As::kBase, .sum = As::kBase},
    Row{.name = "merged-in-base-dtype",
        .adapter = As::kBase,
        .delta = As::kBase,
        .update = As::kBase,
        .sum = As::kBase},
    Row{.name = "bf16-detour", .load = As::kBf16, .sum = As::kBf16},
    Row{.name = "bf16-detour", .load = As::kBf16, .delta = As::kBf16, .sum = As::kBf16},
    Row{.name = "bf16-detour",
        .load = As::kBf16,
        .adapter = As::kBf16,
        .delta = As::kBf16,
        .sum = As::kBf16},
    Row{.name = "bf16-detour",
        .load = As::kBf16,
        .adapter = As::kBf16,
        .delta = As::kBf16,
        .update = As::kBf16,
        .sum = As::kBf16},
    Row{.name = "bf16-detour", .sum = As::kBf16},
    Row{.name = "bf16-detour", .sum = As::kMerged, .recast = As::kBf16},
    Row{.name = "bf16-detour", .delta = As::kBase, .sum = As::kMerged, .recast = As::kBf16},
    Row{.name = "fp16-detour", .load = As::kF16, .sum = As::kF16},
    Row{.name = "fp16-detour", .load = As::kF16, .delta = As::kF16, .sum = As::kF16},
    Row{.name = "fp16-detour",
        .load = As::kF16,
        .adapter = As::kF16,
        .delta = As::kF16,
        .sum = As::kF16},
    Row{.name = "delta-in-bf16", .delta = As::kBf16},
    Row{.name = "delta-in-fp16", .delta = As::kF16},
    Row{.name = "adapter-in-bf16", .adapter = As::kBf16},
    Row{.name = "adapter-in-bf16", .adapter = As::kBf16, .delta = As::kBf16},
    Row{.name = "adapter-in-fp16", .adapter = As::kF16},
    Row{.name = "adapter-in-fp16", .adapter = As::kF16, .delta = As::kF16},
    Row{.name = "base-in-bf16", .load = As::kBf16},
};

/// Bits of significand: what decides how much a rounding loses.
int precision(DType dtype) {
  return 53 - grid_format(dtype).shift;
}

/// Whether every value of `from` is a value of `to`.
bool holds(DType to, DType from) {
  return to == from || to == DType::kF64 || (to == DType::kF32 && from != DType::kF64);
}

struct Dtypes {
  DType base;
  DType adapter;
  DType merged;
};

std::optional<DType> resolve(As as, const Dtypes& dtypes) {
  switch (as) {
    case As::kExact:
      return std::nullopt;
    case As::kBase:
      return dtypes.base;
    case As::kMerged:
      return dtypes.merged;
    case As::kBf16:
      return DType::kBF16;
    case As::kF16:
      return DType::kF16;
  }
  return std::nullopt;
}

/// Roundings that change nothing are dropped: to FP32 or finer, or of values that lie on the grid
/// already.
Recipe instantiate(const Row& row, const Dtypes& dtypes) {
  Recipe recipe;
  recipe.name = row.name;
  recipe.accumulates_on_weight = row.accumulates_on_weight;
  const auto rounding = [&](As as) -> std::optional<DType> {
    const std::optional<DType> dtype = resolve(as, dtypes);
    return dtype && precision(*dtype) >= 24 ? std::nullopt : dtype;
  };
  recipe.load = rounding(row.load);
  if (recipe.load && holds(*recipe.load, dtypes.base)) {
    recipe.load.reset();
  }
  recipe.adapter = rounding(row.adapter);
  if (recipe.adapter && holds(*recipe.adapter, dtypes.adapter)) {
    recipe.adapter.reset();
  }
  recipe.product = rounding(row.product);
  recipe.delta = rounding(row.delta);
  recipe.update = rounding(row.update);
  recipe.sum = rounding(row.sum);
  recipe.recast = rounding(row.recast);
  if (recipe.recast == dtypes.merged) {
    recipe.recast.reset();
  }
  if (!recipe.sum) {
    std::swap(recipe.sum, recipe.recast);
  }
  if (!recipe.recast && recipe.sum == dtypes.merged) {
    recipe.sum.reset();
  }
  return recipe;
}

RecipeKind kind_of(const Recipe& recipe, const Dtypes& dtypes) {
  const int base = precision(dtypes.base);
  const int needed = std::min(base, precision(dtypes.merged));
  const auto coarser = [&](const std::optional<DType>& dtype) {
    return dtype && precision(*dtype) < needed;
  };
  if (coarser(recipe.load) || coarser(recipe.update) || coarser(recipe.sum) ||
      coarser(recipe.recast)) {
    return RecipeKind::kDetour;
  }
  if (coarser(recipe.adapter) || coarser(recipe.delta)) {
    return RecipeKind::kDeltaDetour;
  }
  return recipe.sum ? RecipeKind::kCast : RecipeKind::kPlain;
}

bool same_arithmetic(const Recipe& x, const Recipe& y) {
  return x.load == y.load && x.adapter == y.adapter && x.product == y.product &&
         x.delta == y.delta && x.update == y.update && x.sum == y.sum && x.recast == y.recast &&
         x.accumulates_on_weight == y.accumulates_on_weight;
}

std::string plain_name(const Dtypes& dtypes) {
  if (dtypes.merged == DType::kF32) {
    return "fp32-stored";
  }
  return dtypes.base == DType::kF32 ? "fp32-then-cast" : "one-rounding";
}

/// The table's recipes for these dtypes that are not in the list yet; with `load` they begin with
/// numbers rounded to it.
void append_recipes(const Dtypes& dtypes, bool dora, std::optional<DType> load,
                    std::vector<Recipe>& recipes) {
  for (const Row& row : kRows) {
    Recipe recipe = instantiate(row, dtypes);
    recipe.load = recipe.load ? recipe.load : load;
    const bool known = std::any_of(recipes.begin(), recipes.end(), [&](const Recipe& other) {
      return same_arithmetic(other, recipe);
    });
    if (known || (recipe.update && !dora)) {
      continue;
    }
    recipe.kind = kind_of(recipe, dtypes);
    const bool one_rounding = recipe.load == load && !recipe.adapter && !recipe.product &&
                              !recipe.delta && !recipe.update && !recipe.sum;
    if (one_rounding) {
      recipe.name = plain_name(dtypes);
    }
    recipes.push_back(std::move(recipe));
  }
}

/// "dequantised-fp16", "dequantised-fp16, adapter-in-base-dtype", from `first` on.
void name_by_start(DType start, std::size_t first, std::vector<Recipe>& recipes) {
  const std::string prefix = start == DType::kF32   ? "dequantised-fp32"
                             : start == DType::kF16 ? "dequantised-fp16"
                                                    : "dequantised-bf16";
  const std::string one_rounding = recipes[first].name;
  for (std::size_t i = first; i < recipes.size(); ++i) {
    const bool plain = recipes[i].name == one_rounding;
    recipes[i].name = plain ? prefix : prefix + ", " + recipes[i].name;
  }
}

/// n roundings in a row, each off by at most half an ulp of FP32 (Higham, Accuracy and Stability,
/// section 3.1).
double gamma(std::int64_t n) {
  const double nu = static_cast<double>(n) * kUnit32;
  return nu / (1.0 - nu);
}

bool is_even(double value, const GridFormat& format) {
  if (std::fabs(value) < format.min_normal) {
    return std::fmod(std::fabs(value) / format.subnormal_step, 2.0) == 0.0;
  }
  return ((std::bit_cast<std::uint64_t>(value) >> format.shift) & 1U) == 0;
}

}  // namespace

std::vector<Recipe> recipes_for(DType base, DType adapter, DType merged, bool dora,
                                std::optional<DType> dequantised) {
  std::vector<Recipe> recipes;
  append_recipes({base, adapter, merged}, dora, std::nullopt, recipes);
  if (dequantised) {
    name_by_start(DType::kF32, 0, recipes);
  }
  if (dequantised && precision(*dequantised) < 24) {
    const std::size_t first = recipes.size();
    append_recipes({*dequantised, adapter, merged}, dora, dequantised, recipes);
    name_by_start(*dequantised, first, recipes);
  }
  return recipes;
}

Range preimage(const Range& range, DType dtype) {
  const GridFormat format = grid_format(dtype);
  Range result{.low = 1.0, .high = 0.0};  // empty
  double low = range.low;
  if (std::isfinite(low)) {
    low = round_to_grid(range.low, format);
    if (low < range.low || (low == range.low && range.low_open)) {
      low = next_on_grid(low, format, true);
    }
  }
  double high = range.high;
  if (std::isfinite(high)) {
    high = round_to_grid(range.high, format);
    if (high > range.high || (high == range.high && range.high_open)) {
      high = next_on_grid(high, format, false);
    }
  }
  if (!(low <= high)) {
    return result;
  }
  result = {};
  // A tie goes to the even neighbour: an odd value's cell lacks its ends.
  if (std::isfinite(low)) {
    result.low = rounding_cell(low, format).low;
    result.low_open = !is_even(low, format);
  }
  if (std::isfinite(high)) {
    result.high = rounding_cell(high, format).high;
    result.high_open = !is_even(high, format);
  }
  return result;
}

ElementArithmetic::ElementArithmetic(const Recipe& recipe, DType base, DType merged,
                                     std::int64_t rank, double scale)
    : recipe_(recipe), base_(base), merged_(merged), scale_(scale) {
  // rank products and rank - 1 sums; the scale is itself rounded and may be multiplied in up to
  // twice (its root folded into both factors): rank + 4 roundings on any path from a product to the
  // sum.
  gamma_ = gamma(rank + 4);
  gamma_weight_ = recipe.accumulates_on_weight ? gamma(rank + 1) : 0.0;
  const DType rounded_next = recipe.sum.value_or(merged);
  const DType weight = recipe.load.value_or(base);
  // The sum of two 16-bit values of one format, taken in FP32 and rounded to that format, is the
  // correct rounding: 24 >= 2p + 2 bits (Figueroa 1995).  Where FP32 is what is stored, its
  // rounding is the store's.
  const bool innocuous = recipe.delta && *recipe.delta == weight && weight == rounded_next;
  sum_error_ = innocuous || precision(rounded_next) >= 24 ? 0.0 : kUnit32;
}

double ElementArithmetic::delta_error(double w, double magnitude) const {
  return gamma_ * magnitude + gamma_weight_ * (std::fabs(w) + magnitude) + 512.0 * kFlush32;
}

double ElementArithmetic::expected(double w, double d, double factor) const {
  const double weight = recipe_.load ? round_to(*recipe_.load, w) : w;
  double delta = d;
  if (recipe_.product && scale_ != 0.0) {
    delta = round_to(*recipe_.product, d / scale_) * scale_;
  }
  if (recipe_.delta) {
    delta = round_to(*recipe_.delta, delta);
  }
  double sum = weight + delta;
  if (recipe_.update) {
    sum = round_to(*recipe_.update, sum);
  }
  sum *= factor;
  if (recipe_.sum) {
    sum = round_to(*recipe_.sum, sum);
  }
  if (recipe_.recast) {
    sum = round_to(*recipe_.recast, sum);
  }
  return round_to(merged_, sum);
}

Range ElementArithmetic::allowed_delta(double w, double merged, double magnitude, double factor,
                                       double factor_error) const {
  Range range = preimage({.low = merged, .high = merged}, merged_);
  for (const std::optional<DType>& dtype : {recipe_.recast, recipe_.sum}) {
    if (dtype && !range.empty()) {
      range = preimage(range, *dtype);
    }
  }
  if (range.empty()) {
    return range;
  }
  const double widen = sum_error_ + factor_error;
  range.low -= widen * std::fabs(range.low);
  range.high += widen * std::fabs(range.high);
  if (factor != 1.0) {
    range.low /= factor;
    range.high /= factor;
    if (factor < 0.0) {
      std::swap(range.low, range.high);
      std::swap(range.low_open, range.high_open);
    }
    // W + D is itself rounded to FP32 before the factor.
    range.low -= kUnit32 * std::fabs(range.low);
    range.high += kUnit32 * std::fabs(range.high);
  }
  if (recipe_.update) {
    range = preimage(range, *recipe_.update);
    if (range.empty()) {
      return range;
    }
  }
  const double weight = recipe_.load ? round_to(*recipe_.load, w) : w;
  range.low -= weight;
  range.high -= weight;
  if (recipe_.delta) {
    range = preimage(range, *recipe_.delta);
  }
  if (recipe_.product && !range.empty() && scale_ != 0.0) {
    Range scaled{range.low / scale_, range.high / scale_, range.low_open, range.high_open};
    if (scale_ < 0.0) {
      std::swap(scaled.low, scaled.high);
      std::swap(scaled.low_open, scaled.high_open);
    }
    scaled = preimage(scaled, *recipe_.product);
    if (scaled.empty()) {
      return scaled;
    }
    range = {scaled.low * scale_, scaled.high * scale_, scaled.low_open, scaled.high_open};
    if (scale_ < 0.0) {
      std::swap(range.low, range.high);
      std::swap(range.low_open, range.high_open);
    }
  }
  if (range.empty()) {
    return range;
  }
  const double error = delta_error(weight, magnitude);
  range.low -= error;
  range.high += error;
  return range;
}

}  // namespace mg
