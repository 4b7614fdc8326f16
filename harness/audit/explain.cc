#include "harness/audit/explain.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/convert.h"
#include "kernels/core/rounding.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr std::int64_t kFitBlock = 8192;
constexpr std::int64_t kFitSample = 49152;
constexpr std::int64_t kFitUnit = 131072;
constexpr int kFitSingles = 64;
// A candidate is dropped as soon as a sample block leaves more than this unexplained.
constexpr double kHopelessShare = 0.02;
// ... or, before that, as soon as a few rows in two places leave more than this.
constexpr std::int64_t kGlanceElements = 512;
constexpr double kGlanceShare = 0.25;

void widen_rows(const TensorView& view, std::int64_t from, std::vector<double>& out) {
  const std::size_t width = to_index(dtype_bits(view.dtype) / 8);
  widen_to_double(view.dtype, view.data + to_index(from) * width,
                  static_cast<std::int64_t>(out.size()), out.data());
}

/// One block of rows under one recipe.
class BlockFitter {
 public:
  BlockFitter(const TargetViews& views, const Recipe& recipe, const FitOptions& options,
              RecipeFit& out)
      : views_(views),
        delta_(*views.delta),
        recipe_(recipe),
        options_(options),
        arithmetic_(recipe, views.base.dtype, views.merged.dtype, delta_.rank(),
                    delta_.scale() * options.scale),
        out_(out),
        own_norm_(delta_.has_dora() && has_own_norm(recipe)) {}

  void run(std::int64_t begin, std::int64_t end) {
    begin_ = begin;
    end_ = end;
    first_ = begin * delta_.cols();
    const std::int64_t n = (end - begin) * delta_.cols();
    for (std::vector<double>* buffer : {&weight_, &merged_, &product_, &expected_}) {
      buffer->resize(to_index(n));
    }
    magnitudes_.clear();
    singles_ = 0;
    widen_rows(views_.base, first_, weight_);
    widen_rows(views_.merged, first_, merged_);
    delta_.product(begin, end, product_.data(), options_.scale);
    if (own_norm_ && delta_.dora_by_row()) {
      row_factors_ = dora_factors(views_, recipe_, options_.scale, begin, end);
    }
    expect(n);
    for (std::int64_t i = 0; i < n; ++i) {
      const bool differs = !(merged_[to_index(i)] == expected_[to_index(i)]);
      if (differs || options_.bound_scale) {
        look_at(i, differs);
      }
      if (options_.bound_scale && !(out_.scale_low <= out_.scale_high)) {
        break;  // no scale fits: more elements cannot change that
      }
    }
    out_.elements += n;
  }

 private:
  /// The recipe's nominal result, step by step over the whole block so that each step runs
  /// vectorised.
  void expect(std::int64_t n) {
    update_weights(recipe_, delta_.scale() * options_.scale, weight_, product_, expected_);
    if (delta_.has_dora()) {
      for (std::int64_t i = 0; i < n; ++i) {
        expected_[to_index(i)] *= factor_of(i).value;
      }
    }
    if (recipe_.sum) {
      round_in_place(*recipe_.sum, expected_.data(), n);
    }
    if (recipe_.recast) {
      round_in_place(*recipe_.recast, expected_.data(), n);
    }
    round_in_place(views_.merged.dtype, expected_.data(), n);
  }

  void look_at(std::int64_t i, bool differs) {
    out_.differing += differs ? 1 : 0;
    const double w = weight_[to_index(i)];
    const double m = merged_[to_index(i)];
    const double d = product_[to_index(i)];
    const DoraFactor factor = delta_.has_dora() ? factor_of(i) : DoraFactor{};
    const bool finite =
        std::isfinite(w) && std::isfinite(m) && std::isfinite(d) && std::isfinite(factor.value);
    const Range allowed =
        finite ? arithmetic_.allowed_delta(w, m, magnitude_of(i), factor.value, factor.error)
               : Range{.low = 1.0, .high = 0.0};
    if (differs && !(!allowed.empty() && allowed.low <= d && d <= allowed.high)) {
      ++out_.unexplained;
      if (out_.samples.size() < TargetMeasure::kSamples) {
        out_.samples.push_back({first_ + i, m, expected_[to_index(i)]});
      }
    }
    if (options_.bound_scale) {
      bound_scale(allowed, d / options_.scale);
    }
  }

  /// `d` at the adapter's own scale.
  void bound_scale(const Range& allowed, double d) {
    if (allowed.empty()) {
      out_.scale_low = TargetMeasure::kNoBound;  // no scale at all
      out_.scale_high = -TargetMeasure::kNoBound;
      return;
    }
    if (d == 0.0) {
      return;
    }
    const double one = allowed.low / d;
    const double other = allowed.high / d;
    out_.scale_low = std::max(out_.scale_low, std::min(one, other));
    out_.scale_high = std::min(out_.scale_high, std::max(one, other));
  }

  double magnitude_of(std::int64_t i) {
    if (magnitudes_.empty() && ++singles_ <= kFitSingles) {
      const std::int64_t flat = first_ + i;
      return std::fabs(options_.scale) *
             delta_.product_magnitude_at(flat / delta_.cols(), flat % delta_.cols());
    }
    if (magnitudes_.empty()) {
      magnitudes_.resize(product_.size());
      delta_.product_magnitude(begin_, end_, magnitudes_.data(), options_.scale);
    }
    return magnitudes_[to_index(i)];
  }

  std::int64_t group_of(std::int64_t i) const {
    const std::int64_t flat = first_ + i;
    return delta_.dora_by_row() ? flat / delta_.cols() : flat % delta_.cols();
  }

  DoraFactor factor_of(std::int64_t i) const {
    const std::int64_t group = group_of(i);
    if (!own_norm_) {
      return {delta_.dora_magnitude(group) / delta_.dora_norm(group, options_.scale),
              delta_.dora_factor_error(group)};
    }
    return delta_.dora_by_row() ? row_factors_[to_index(group - begin_)]
                                : (*options_.column_factors)[to_index(group)];
  }

  const TargetViews& views_;
  const DeltaRows& delta_;
  const Recipe& recipe_;
  const FitOptions& options_;
  ElementArithmetic arithmetic_;
  RecipeFit& out_;
  std::int64_t begin_ = 0;
  std::int64_t end_ = 0;
  std::int64_t first_ = 0;
  std::vector<double> weight_;
  std::vector<double> merged_;
  std::vector<double> product_;
  std::vector<double> expected_;
  std::vector<double> magnitudes_;
  int singles_ = 0;
  bool own_norm_ = false;
  std::vector<DoraFactor> row_factors_;
};

/// Calls body(options) with what DoRA needs added to them.
template <typename Body>
RecipeFit with_columns(const TargetViews& views, const Recipe& recipe, FitOptions options,
                       const Body& body) {
  std::vector<DoraFactor> factors;
  const bool missing = options.column_factors == nullptr && views.delta->has_dora() &&
                       !views.delta->dora_by_row() && has_own_norm(recipe);
  if (missing) {
    factors = dora_factors(views, recipe, options.scale, 0, views.delta->rows());
    options.column_factors = &factors;
  }
  return body(options);
}

/// Whether a glance at two places shows that the recipe is far off in both; most are.
bool is_hopeless(const TargetViews& views, const Recipe& recipe, const FitOptions& options,
                 const std::vector<std::pair<std::int64_t, std::int64_t>>& sample, RecipeFit& fit) {
  const std::int64_t few = rows_per_block(*views.delta, kGlanceElements);
  bool hopeless = true;
  for (const std::size_t at : {std::size_t{0}, sample.size() / 2}) {
    const auto& [begin, end] = sample[at];
    const RecipeFit glance = fit_rows(views, recipe, options, begin, std::min(end, begin + few));
    hopeless = hopeless && glance.unexplained_share() > kGlanceShare;
    fit.add(glance);
  }
  return hopeless;
}

/// The candidate on sample rows; stops where it is hopeless.
RecipeFit fit_sample(const TargetViews& views, const Recipe& recipe) {
  return with_columns(views, recipe, {}, [&](const FitOptions& options) {
    RecipeFit fit;
    const auto sample = sample_rows(*views.delta, kFitSample);
    if (is_hopeless(views, recipe, options, sample, fit)) {
      return fit;
    }
    fit = {};
    for (const auto& [begin, end] : sample) {
      fit.add(fit_rows(views, recipe, options, begin, end));
      if (fit.unexplained_share() > kHopelessShare) {
        break;
      }
    }
    return fit;
  });
}

struct Candidate {
  std::size_t order = 0;
  double share = 0;
};

}  // namespace

void RecipeFit::add(const RecipeFit& later) {
  elements += later.elements;
  differing += later.differing;
  unexplained += later.unexplained;
  scale_low = std::max(scale_low, later.scale_low);
  scale_high = std::min(scale_high, later.scale_high);
  for (const ElementSample& sample : later.samples) {
    if (samples.size() < TargetMeasure::kSamples) {
      samples.push_back(sample);
    }
  }
}

double RecipeFit::unexplained_share() const {
  return elements == 0 ? 0.0 : static_cast<double>(unexplained) / static_cast<double>(elements);
}

RecipeFit fit_rows(const TargetViews& views, const Recipe& recipe, const FitOptions& options,
                   std::int64_t begin, std::int64_t end) {
  return with_columns(views, recipe, options, [&](const FitOptions& complete) {
    RecipeFit fit;
    BlockFitter fitter(views, recipe, complete, fit);
    const std::int64_t block = rows_per_block(*views.delta, kFitBlock);
    for (std::int64_t row = begin; row < end; row += block) {
      fitter.run(row, std::min(end, row + block));
    }
    return fit;
  });
}

std::vector<std::pair<std::int64_t, std::int64_t>> sample_rows(const DeltaRows& delta,
                                                               std::int64_t elements) {
  const std::int64_t block = rows_per_block(delta, kFitBlock);
  const std::int64_t blocks = (delta.rows() + block - 1) / block;
  const std::int64_t wanted = std::clamp<std::int64_t>(
      elements / std::max<std::int64_t>(1, block * delta.cols()), 1, blocks);
  std::vector<std::pair<std::int64_t, std::int64_t>> rows;
  for (std::int64_t i = 0; i < wanted; ++i) {
    const std::int64_t begin = i * blocks / wanted * block;
    rows.emplace_back(begin, std::min(delta.rows(), begin + block));
  }
  return rows;
}

RecipeFit fit_all(const TargetViews& views, const Recipe& recipe, const FitOptions& options,
                  ThreadPool& pool) {
  const std::int64_t block = rows_per_block(*views.delta, kFitUnit);
  const std::int64_t rows = views.delta->rows();
  std::vector<RecipeFit> parts(to_index((rows + block - 1) / block));
  return with_columns(views, recipe, options, [&](const FitOptions& complete) {
    pool.for_chunks(rows, block, [&](std::int64_t begin, std::int64_t end) {
      parts[to_index(begin / block)] = fit_rows(views, recipe, complete, begin, end);
    });
    RecipeFit fit;
    for (const RecipeFit& part : parts) {
      fit.add(part);
    }
    return fit;
  });
}

Explanation find_recipe(const TargetViews& views, const DeltaMaker& make_delta, DType adapter,
                        const TargetMeasure& one_rounding, ThreadPool& pool) {
  const std::vector<Recipe> recipes = recipes_for(views.base.dtype, adapter, views.merged.dtype,
                                                  views.delta->has_dora(), views.dequantised);
  Explanation best{recipes.front(), {}};
  best.fit.elements = one_rounding.elements;
  best.fit.differing = one_rounding.differing;
  best.fit.unexplained = one_rounding.unexplained;
  best.fit.samples = one_rounding.unexplained_samples;
  if (best.fit.unexplained == 0) {
    return best;
  }
  const auto prove = [&](std::size_t i) {
    const DeltaRows delta = make_delta(recipes[i].adapter);
    const TargetViews own{views.base, views.merged, &delta};
    RecipeFit fit = fit_all(own, recipes[i], {}, pool);
    if (fit.unexplained < best.fit.unexplained) {
      best = {recipes[i], std::move(fit)};
    }
  };
  std::vector<Candidate> rest;
  for (std::size_t i = 1; i < recipes.size(); ++i) {
    const DeltaRows delta = make_delta(recipes[i].adapter);
    const TargetViews own{views.base, views.merged, &delta};
    const RecipeFit sample = fit_sample(own, recipes[i]);
    if (sample.unexplained == 0) {
      prove(i);
      if (best.fit.unexplained == 0) {
        return best;
      }
    } else if (sample.unexplained_share() <= kHopelessShare) {
      rest.push_back({i, sample.unexplained_share()});
    }
  }
  // Nothing explains everything: the fewest exceptions win, so that a handful of broken elements is
  // named as such.
  std::sort(rest.begin(), rest.end(), [](const Candidate& x, const Candidate& y) {
    return x.share != y.share ? x.share < y.share : x.order < y.order;
  });
  constexpr std::size_t kProved = 3;
  for (std::size_t i = 0; i < std::min(kProved, rest.size()); ++i) {
    prove(rest[i].order);
  }
  return best;
}

}  // namespace mg
