#include "harness/audit/measure.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "harness/audit/measure_kernel.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr std::int64_t kBlockElements = 16384;
// What few elements need is computed one by one for the first of a block, then for the whole block.
constexpr int kSingles = 64;

/// Measures one block of rows; D is computed once, W and M are widened a chunk at a time.
class BlockMeasurer {
 public:
  BlockMeasurer(const TargetViews& views, TargetMeasure& out)
      : views_(views),
        delta_(*views.delta),
        store_(grid_format(views.merged.dtype)),
        arithmetic_({}, views.base.dtype, views.merged.dtype, delta_.rank(), delta_.scale()),
        out_(out) {
    chunk_.bound_scale = !delta_.has_dora();
  }

  void run(std::int64_t begin, std::int64_t end) {
    const std::int64_t n = start(begin, end);
    compute_delta();
    for (std::int64_t at = 0; at < n; at += KernelChunk::kSize) {
      run_chunk(at, std::min(KernelChunk::kSize, n - at));
    }
  }

  /// A block whose sums are known: D, W and M where an element needs a closer look.
  void run_swept(std::int64_t begin, std::int64_t end, const SweptRows& swept) {
    const std::int64_t n = start(begin, end);
    for (std::int64_t at = 0; at < n; at += KernelChunk::kSize, ++swept_chunks_) {
      sums_.add(swept.sums[swept_chunks_]);
      const auto looks = swept.looks.subspan(swept_chunks_ * kMergeGroups, kMergeGroups);
      for (std::int64_t i = 0; i < std::min(KernelChunk::kSize, n - at); ++i) {
        const GroupLook look = looks[to_index(i / 4)];
        if (look == GroupLook::kNone) {
          i += 3;
        } else if (look == GroupLook::kFinite) {
          look_at(at + i, element(views_.base, at + i), element(views_.merged, at + i));
        } else {
          look_at_non_finite(at + i, element(views_.base, at + i), element(views_.merged, at + i));
        }
      }
    }
  }

  const MergeSums& sums() const { return sums_; }

 private:
  /// The number of elements of the block [begin, end).
  std::int64_t start(std::int64_t begin, std::int64_t end) {
    first_ = begin * delta_.cols();
    begin_row_ = begin;
    end_row_ = end;
    d_.clear();
    single_deltas_ = 0;
    magnitudes_.clear();
    singles_ = 0;
    const std::int64_t n = (end - begin) * delta_.cols();
    out_.elements += n;
    return n;
  }

  /// D of the whole block.
  void compute_delta() {
    const std::int64_t n = (end_row_ - begin_row_) * delta_.cols();
    d_.resize(to_index((n + 3) / 4 * 4));
    std::fill(d_.begin() + n, d_.end(), 0.0);
    delta_.compute(begin_row_, end_row_, d_.data());
  }

  /// Of one element; of the whole block once some have been asked for.
  double delta_of(std::int64_t i) {
    if (d_.empty() && ++single_deltas_ <= kSingles) {
      const std::int64_t flat = first_ + i;
      return delta_.at(flat / delta_.cols(), flat % delta_.cols());
    }
    if (d_.empty()) {
      compute_delta();
    }
    return d_[to_index(i)];
  }

  double element(const TensorView& view, std::int64_t i) const {
    double value = 0;
    widen(view, first_ + i, 1, &value);
    return value;
  }

  void run_chunk(std::int64_t at, std::int64_t n) {
    const std::int64_t padded = (n + 3) / 4 * 4;
    widen(views_.base, first_ + at, n, chunk_.weight);
    widen(views_.merged, first_ + at, n, chunk_.merged);
    std::fill(chunk_.weight + n, chunk_.weight + padded, 0.0);
    std::fill(chunk_.merged + n, chunk_.merged + padded, 0.0);
    chunk_.delta = d_.data() + at;
    chunk_.groups = padded / 4;
    chunk_.scale_low = out_.scale_low;
    chunk_.scale_high = out_.scale_high;
    measure_chunk(chunk_, store_, sums_);
    for (std::int64_t f = 0; f < chunk_.flag_count; ++f) {
      const KernelChunk::Flag flag = chunk_.flags[f];
      for (std::int64_t i = flag.group * 4; i < std::min<std::int64_t>(n, flag.group * 4 + 4);
           ++i) {
        if (flag.finite) {
          look_at(at + i, chunk_.weight[i], chunk_.merged[i]);
        } else {
          look_at_non_finite(at + i, chunk_.weight[i], chunk_.merged[i]);
        }
      }
    }
  }

  static void widen(const TensorView& view, std::int64_t from, std::int64_t n, double* out) {
    const std::size_t width = to_index(dtype_bits(view.dtype) / 8);
    widen_to_double(view.dtype, view.data + to_index(from) * width, n, out);
  }

  void look_at_non_finite(std::int64_t i, double w, double m) {
    const double d = delta_of(i);
    const double p = round_to_grid(w + d, store_);
    if (std::isfinite(w) && std::isfinite(d) && std::isfinite(m) && std::isfinite(p)) {
      measure_element(w, m, d, store_, sums_);
      look_at(i, w, m);
      return;
    }
    out_.unusable += std::isfinite(w + d) ? 0 : 1;
    out_.overflow += std::isfinite(w + d) && !std::isfinite(p) ? 1 : 0;
    if (!std::isfinite(m)) {
      ++out_.non_finite;
      sample(out_.non_finite_samples, i, m, p);
      return;
    }
    ++out_.unexplained;  // finite although it could not have become so
    sample(out_.unexplained_samples, i, m, p);
  }

  void look_at(std::int64_t i, double w, double m) {
    const double d = delta_of(i);
    const double p = round_to_grid(w + d, store_);
    const double error = m - p;
    if (error == 0.0 && !may_tighten(w, m, d)) {
      return;
    }
    const double magnitude = magnitude_of(i);
    double factor = 1.0;
    double factor_error = 0.0;
    double product = d;
    if (delta_.has_dora()) {
      const std::int64_t flat = first_ + i;
      const std::int64_t group = delta_.dora_by_row() ? flat / delta_.cols() : flat % delta_.cols();
      factor = delta_.dora_magnitude(group) / delta_.dora_norm(group);
      factor_error = delta_.dora_factor_error(group);
      product = (w + d) / factor - w;
    }
    const Range allowed = arithmetic_.allowed_delta(w, m, magnitude, factor, factor_error);
    if (error != 0.0) {
      count_ulp(error, p, d);
      const bool explained = !allowed.empty() && allowed.low <= product && product <= allowed.high;
      if (!explained) {
        ++out_.unexplained;
        sample(out_.unexplained_samples, i, m, p);
      }
    }
    if (chunk_.bound_scale) {
      tighten(allowed, d);
    }
  }

  bool may_tighten(double w, double m, double d) const {
    if (!chunk_.bound_scale || d == 0.0) {
      return false;
    }
    const RoundingCell cell = rounding_cell(m, store_);
    const double at_low = w + d * out_.scale_low;
    const double at_high = w + d * out_.scale_high;
    return !(cell.low <= at_low && at_low <= cell.high && cell.low <= at_high &&
             at_high <= cell.high);
  }

  void tighten(const Range& allowed, double d) {
    if (d == 0.0 || allowed.empty()) {
      return;
    }
    const double one = allowed.low / d;
    const double other = allowed.high / d;
    out_.scale_low = std::max(out_.scale_low, std::min(one, other));
    out_.scale_high = std::min(out_.scale_high, std::max(one, other));
  }

  double magnitude_of(std::int64_t i) {
    if (magnitudes_.empty() && ++singles_ <= kSingles) {
      const std::int64_t flat = first_ + i;
      return delta_.product_magnitude_at(flat / delta_.cols(), flat % delta_.cols());
    }
    if (magnitudes_.empty()) {
      magnitudes_.resize(to_index((end_row_ - begin_row_) * delta_.cols()));
      delta_.product_magnitude(begin_row_, end_row_, magnitudes_.data());
    }
    return magnitudes_[to_index(i)];
  }

  void count_ulp(double error, double p, double d) {
    // max(ulp(p), ulp(d)) from the exponent bits: a wrong merge asks for it at every element.
    const double larger = std::max({std::fabs(p), std::fabs(d), store_.min_normal});
    const double power =
        std::bit_cast<double>(std::bit_cast<std::uint64_t>(larger) & 0x7FF0000000000000ULL);
    const double units = std::fabs(error) / (power * ulp_per_power_);
    constexpr std::array<double, TargetMeasure::kBuckets - 2> kLimits = {1, 2, 4, 8, 16, 64};
    std::size_t bucket = 1;
    while (bucket <= kLimits.size() && units > kLimits[bucket - 1]) {
      ++bucket;
    }
    ++out_.ulp_histogram[bucket];
  }

  void sample(std::vector<ElementSample>& samples, std::int64_t i, double m, double p) {
    if (samples.size() < TargetMeasure::kSamples) {
      samples.push_back({first_ + i, m, p});
    }
  }

  const TargetViews& views_;
  const DeltaRows& delta_;
  GridFormat store_;
  double ulp_per_power_ = std::ldexp(1.0, store_.shift - 52);
  ElementArithmetic arithmetic_;
  TargetMeasure& out_;
  MergeSums sums_;
  KernelChunk chunk_;
  std::int64_t first_ = 0;
  std::int64_t begin_row_ = 0;
  std::int64_t end_row_ = 0;
  std::vector<double> d_;
  std::vector<double> magnitudes_;
  int singles_ = 0;
  int single_deltas_ = 0;
  std::size_t swept_chunks_ = 0;
};

void append(std::vector<ElementSample>& to, const std::vector<ElementSample>& from) {
  for (const ElementSample& sample : from) {
    if (to.size() < TargetMeasure::kSamples) {
      to.push_back(sample);
    }
  }
}

std::optional<double> root_ratio(double residual, double projection, double square) {
  if (!(square > 0.0)) {
    return std::nullopt;
  }
  return std::sqrt(std::max(0.0, residual - projection * projection / square) / square);
}

}  // namespace

std::int64_t rows_per_block(const DeltaRows& delta, std::int64_t elements) {
  const std::int64_t rows = elements / std::max<std::int64_t>(1, delta.cols());
  return std::max<std::int64_t>(1, rows >= 4 ? rows / 4 * 4 : rows);
}

std::int64_t leading_rows(const DeltaRows& delta) {
  return std::min(delta.rows(), rows_per_block(delta, kBlockElements));
}

std::vector<MergeChunk> chunks_of(const DeltaRows& delta, std::int64_t begin, std::int64_t end) {
  std::vector<MergeChunk> chunks;
  const std::int64_t block = rows_per_block(delta, kBlockElements);
  for (std::int64_t row = begin; row < end; row += block) {
    const std::int64_t last = std::min(end, row + block) * delta.cols();
    for (std::int64_t at = row * delta.cols(); at < last; at += kMergeChunk) {
      chunks.push_back({at, std::min(kMergeChunk, last - at)});
    }
  }
  return chunks;
}

TargetMeasure measure_rows(const TargetViews& views, std::int64_t begin, std::int64_t end,
                           const SweptRows* swept) {
  const std::int64_t elements = views.delta->rows() * views.delta->cols();
  MG_CHECK(views.base.elements() == elements && views.merged.elements() == elements,
           "base, merged and delta have one size");
  TargetMeasure out;
  if (swept != nullptr) {
    out.scale_low = swept->scale_low;
    out.scale_high = swept->scale_high;
  }
  BlockMeasurer measurer(views, out);
  const std::int64_t block = rows_per_block(*views.delta, kBlockElements);
  for (std::int64_t row = begin; row < end; row += block) {
    if (swept != nullptr) {
      measurer.run_swept(row, std::min(end, row + block), *swept);
    } else {
      measurer.run(row, std::min(end, row + block));
    }
  }
  static_cast<MergeSums&>(out) = measurer.sums();
  out.ulp_histogram[0] = out.elements - out.differing - out.non_finite;
  return out;
}

void TargetMeasure::add(const TargetMeasure& later) {
  MergeSums::add(later);
  elements += later.elements;
  unexplained += later.unexplained;
  non_finite += later.non_finite;
  unusable += later.unusable;
  overflow += later.overflow;
  scale_low = std::max(scale_low, later.scale_low);
  scale_high = std::min(scale_high, later.scale_high);
  for (std::size_t i = 0; i < kBuckets; ++i) {
    ulp_histogram[i] += later.ulp_histogram[i];
  }
  append(unexplained_samples, later.unexplained_samples);
  append(non_finite_samples, later.non_finite_samples);
}

std::optional<double> TargetMeasure::c() const {
  if (!(delta_square > 0.0)) {
    return std::nullopt;
  }
  return 1.0 + residual_delta / delta_square;
}

std::optional<double> TargetMeasure::rho() const {
  return root_ratio(residual_square, residual_delta, delta_square);
}

std::optional<double> TargetMeasure::c_remerge() const {
  if (!(step_square > 0.0)) {
    return std::nullopt;
  }
  return 1.0 + error_step / step_square;
}

std::optional<double> TargetMeasure::rho_remerge() const {
  return root_ratio(error_square, error_step, step_square);
}

std::optional<double> TargetMeasure::unchanged_share() const {
  if (nonzero_delta == 0) {
    return std::nullopt;
  }
  return static_cast<double>(unchanged) / static_cast<double>(nonzero_delta);
}

std::optional<double> TargetMeasure::noise_share() const {
  if (!(delta_square > 0.0)) {
    return std::nullopt;
  }
  return std::sqrt(noise_square / delta_square);
}

std::int64_t TargetMeasure::max_ulp() const {
  constexpr std::array<std::int64_t, kBuckets> kUpper = {0, 1, 2, 4, 8, 16, 64, 65};
  for (std::size_t i = kBuckets; i-- > 1;) {
    if (ulp_histogram[i] > 0) {
      return kUpper[i];
    }
  }
  return 0;
}

}  // namespace mg
