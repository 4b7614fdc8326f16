#include "harness/audit/scale_story.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/core/convert.h"
#include "kernels/core/rounding.h"

namespace mg {
namespace {

// Enough elements to pin the scale, few enough to look at one by one.
constexpr std::int64_t kScaleSample = 32768;

struct Found {
  double low = 0;
  double high = 0;
  std::string recipe;
};

/// Sample rows under a recipe whose scale is left open.
std::optional<Found> scale_under(const TargetCase& c, const Recipe& recipe) {
  const DeltaRows delta(*c.item.delta, recipe.adapter);
  const TargetViews views{c.views.base, c.views.merged, &delta};
  RecipeFit fit;
  for (const auto& [begin, end] : sample_rows(delta, kScaleSample)) {
    fit.add(fit_rows(views, recipe, {.bound_scale = true}, begin, end));
    if (!(fit.scale_low <= fit.scale_high)) {
      return std::nullopt;
    }
  }
  const bool right = fit.scale_low <= 1.0 && 1.0 <= fit.scale_high;
  const bool bounded =
      fit.scale_high < TargetMeasure::kNoBound && fit.scale_low > -TargetMeasure::kNoBound;
  if (right || !bounded) {
    return std::nullopt;
  }
  return Found{fit.scale_low, fit.scale_high, recipe.name};
}

/// DoRA's norm moves with the scale: only named multiples can be tried.
std::optional<Found> scale_with_dora(const TargetCase& c) {
  const std::vector<Recipe> recipes = recipes_for(c.views.base.dtype, c.adapter_dtype,
                                                  c.views.merged.dtype, false, c.views.dequantised);
  for (const NamedScale& named : named_scales(c.config, *c.item.delta->module)) {
    RecipeFit fit;
    for (const auto& [begin, end] : sample_rows(*c.views.delta, kScaleSample)) {
      fit.add(fit_rows(c.views, recipes.front(), {.scale = named.k}, begin, end));
    }
    if (fit.explains()) {
      return Found{named.k, named.k, recipes.front().name};
    }
  }
  return std::nullopt;
}

std::optional<Found> find_scale(const TargetCase& c) {
  if (c.views.delta->has_dora()) {
    return scale_with_dora(c);
  }
  const TargetMeasure& m = c.measure;
  // Elements of the whole tensor that no scale explains would have crossed the bounds.
  if (!m.scale_bounds_cross() && !(m.scale_low <= 1.0 && 1.0 <= m.scale_high)) {
    return Found{m.scale_low, m.scale_high, "one-rounding"};
  }
  const std::vector<Recipe> recipes = recipes_for(c.views.base.dtype, c.adapter_dtype,
                                                  c.views.merged.dtype, false, c.views.dequantised);
  for (std::size_t i = 1; i < recipes.size(); ++i) {
    if (const std::optional<Found> found = scale_under(c, recipes[i])) {
      return found;
    }
  }
  return std::nullopt;
}

/// How far merged lies from W + k*D rounded, on sample rows.
struct Nearness {
  double step_square = 0;   // |P-W|^2
  double move_step = 0;     // <M-W, P-W>
  double error_square = 0;  // |M-P|^2
  double move_square = 0;   // |M-W|^2

  /// All of k*D is there and little else.
  bool matches() const {
    return step_square > 0.0 && std::fabs(move_step / step_square - 1.0) < 0.05 &&
           error_square < 0.25 * move_square;
  }
};

Nearness nearness(const TargetCase& c, double k) {
  Nearness near;
  std::vector<double> d;
  std::vector<double> w;
  std::vector<double> m;
  const auto read = [](const TensorView& view, std::int64_t from, std::vector<double>& out) {
    const auto width = static_cast<std::size_t>(dtype_bits(view.dtype) / 8);
    widen_to_double(view.dtype, view.data + static_cast<std::size_t>(from) * width,
                    static_cast<std::int64_t>(out.size()), out.data());
  };
  for (const auto& [begin, end] : sample_rows(*c.views.delta, kScaleSample)) {
    for (std::vector<double>* buffer : {&d, &w, &m}) {
      buffer->resize(static_cast<std::size_t>((end - begin) * c.cols()));
    }
    c.views.delta->compute(begin, end, d.data(), k);
    read(c.views.base, begin * c.cols(), w);
    read(c.views.merged, begin * c.cols(), m);
    for (std::size_t i = 0; i < d.size(); ++i) {
      const double p = round_to(c.views.merged.dtype, w[i] + d[i]);
      near.step_square += (p - w[i]) * (p - w[i]);
      near.move_step += (m[i] - w[i]) * (p - w[i]);
      near.error_square += (m[i] - p) * (m[i] - p);
      near.move_square += (m[i] - w[i]) * (m[i] - w[i]);
    }
  }
  return near;
}

/// A usual mistake whose factor no single rounding shows: merged twice, say, each time rounded. The
/// nearest of the named factors, if that comes close (failures.md section 1, k*).
std::optional<double> nearest_scale(const TargetCase& c) {
  double best = 1.0;
  double error = nearness(c, 1.0).error_square;
  bool matches = false;
  for (const NamedScale& named : named_scales(c.config, *c.item.delta->module)) {
    const Nearness near = nearness(c, named.k);
    if (near.error_square < error) {
      error = near.error_square;
      best = named.k;
      matches = near.matches();
    }
  }
  return matches ? std::optional<double>(best) : std::nullopt;
}

/// As many digits of the middle as the bounds support.
std::string shown_scale(const Found& found) {
  const double middle = 0.5 * (found.low + found.high);
  const double width = found.high - found.low;
  const double magnitude = std::max(std::fabs(middle), 1e-12);
  const int digits =
      width <= 0.0
          ? 6
          : std::clamp(static_cast<int>(std::floor(std::log10(magnitude / width))) + 1, 2, 6);
  return fmt::format("{:.{}g}", middle, digits);
}

void add(std::vector<std::string>& ids, const std::vector<std::string>& more) {
  for (const std::string& id : more) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
      ids.push_back(id);
    }
  }
}

/// Where a delta that is missing or mis-scaled has an entry of its own (F24, F25).
void add_by_kind(const AuditItem& item, std::vector<std::string>& ids) {
  const LowRankKind kind = item.delta->module->kind;
  const bool head = item.name.ends_with("lm_head.weight");
  if (item.kind == ItemKind::kBias || kind == LowRankKind::kEmbedding || head) {
    add(ids, {"F24"});
  }
  if (kind == LowRankKind::kParameter) {
    add(ids, {"F25"});
  }
}

Diagnosis not_merged(const TargetCase& c) {
  Diagnosis d;
  d.rule = "audit.not-merged";
  d.catalogue = {"F08"};  // F07 where no tensor changed: known only at the end
  add_by_kind(c.item, d.catalogue);
  d.key = "0";
  d.message = "is the base's: the delta is not in it";
  d.expected = "base + delta";
  d.actual = "base";
  d.fix = "merge again; if tensors were left out, check the tool's map of names";
  return d;
}

}  // namespace

std::vector<NamedScale> named_scales(const AdapterConfig& config, const AdapterModule& module) {
  const double s = module.scale;
  const auto r = static_cast<double>(module.rank);
  const double alpha = module.alpha;
  const double root = std::sqrt(r);
  std::vector<NamedScale> names;
  const auto name = [&](double k, std::vector<std::string> ids, std::string text) {
    if (std::isfinite(k) && std::fabs(k - 1.0) > 1e-9) {
      names.push_back({k, std::move(ids), std::move(text)});
    }
  };
  name(2.0, {"F18"}, "merged twice");
  name(-1.0, {"F61"}, "sign flipped");
  if (s != 0.0) {
    name(1.0 / s, {"F19"}, "scale left out (1 instead of " + fmt::format("{:g}", s) + ")");
    name(s, {"F19", "F54"}, "scale applied twice");
    name(alpha / s, {"F19"}, "alpha used as the scale");
  }
  if (config.use_rslora) {
    name(1.0 / root, {"F20"}, "use_rslora ignored: alpha/r instead of alpha/sqrt(r)");
  } else {
    name(root, {"F20"}, "alpha/sqrt(r) used although use_rslora is off");
    name(1.0 / r, {"F19"}, "divided by r twice");
  }
  // What the module would have without its pattern (F21).
  const auto divisor = [&](double rank) { return config.use_rslora ? std::sqrt(rank) : rank; };
  const auto global_r = static_cast<double>(config.r);
  if (s != 0.0 && (alpha != config.lora_alpha || r != global_r)) {
    name(config.lora_alpha / divisor(global_r) / s, {"F21"},
         "rank_pattern and alpha_pattern ignored");
    name(config.lora_alpha / divisor(r) / s, {"F21"}, "alpha_pattern ignored");
    name(alpha / divisor(global_r) / s, {"F21"}, "rank_pattern ignored");
  }
  return names;
}

std::optional<Diagnosis> scale_story(const TargetCase& c) {
  std::optional<Found> found = find_scale(c);
  const std::optional<double> nearest = found ? std::nullopt : nearest_scale(c);
  if (nearest) {
    found = Found{*nearest, *nearest, {}};
  }
  if (!found) {
    return std::nullopt;
  }
  if (found->low <= 0.0 && 0.0 <= found->high) {
    return not_merged(c);
  }
  // The bounds are exact; a named value may differ from its own by the rounding of a division.
  const double slack = 1e-9 * std::max(std::fabs(found->low), std::fabs(found->high));
  Diagnosis d;
  d.rule = "audit.scale";
  std::vector<std::string> stories;
  double key = 0.5 * (found->low + found->high);
  for (const NamedScale& named : named_scales(c.config, *c.item.delta->module)) {
    if (found->low - slack <= named.k && named.k <= found->high + slack) {
      key = named.k;
      add(d.catalogue, named.catalogue);
      if (std::find(stories.begin(), stories.end(), named.name) == stories.end()) {
        stories.push_back(named.name);
      }
    }
  }
  const std::string scale = (nearest ? "about " : "") + shown_scale(*found);
  if (stories.empty()) {
    d.catalogue = {"F19"};
    stories.push_back("no usual mistake gives this factor");
  }
  add_by_kind(c.item, d.catalogue);
  d.key = fmt::format("{:.3g}", key);
  d.message = fmt::format("holds {} times the delta: {}", scale, fmt::join(stories, ", or "));
  d.expected = "1 times the delta";
  d.actual = nearest
                 ? fmt::format("{:.4g} times, rounded more than once", c.measure.c().value_or(0.0))
                 : fmt::format("every element allows {:.6g} to {:.6g} times ({})", found->low,
                               found->high, found->recipe);
  d.fix = "merge again with the adapter's own scale";
  return d;
}

}  // namespace mg
