#include "harness/model/delta.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/convert.h"
#include "kernels/core/error.h"
#include "kernels/core/rounding.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr std::int64_t kBlockElements = 16384;

std::int64_t row_length(const TensorView& view) {
  return view.dim(0) == 0 ? 0 : view.elements() / view.dim(0);
}

}  // namespace

DeltaRows::DeltaRows(const AttachedDelta& attached, std::optional<DType> adapter_cast)
    : a_(attached.module->a),
      b_(attached.module->b),
      weight_(attached.target->view),
      cast_(adapter_cast),
      transposed_(attached.transposed),
      scale_(attached.module->scale) {
  read_layout(attached);
  if (experts_ == 1) {
    right_ = right_factor(0);
  }
  if (!attached.module->magnitude.empty()) {
    prepare_dora(attached.module->magnitude);
  }
}

DeltaRows DeltaRows::for_bias(const AttachedDelta& attached, std::optional<DType> adapter_cast) {
  MG_CHECK(attached.target_bias != nullptr && !attached.module->bias.empty(),
           "a bias delta needs the base's bias and lora_B's");
  DeltaRows rows;
  rows.b_ = attached.module->bias;
  rows.weight_ = attached.target_bias->view;
  rows.cast_ = adapter_cast;
  rows.scale_ = attached.module->scale;
  rows.rank_ = 1;
  rows.rows_ = rows.b_.elements();
  rows.expert_rows_ = rows.rows_;
  rows.cols_ = 1;
  rows.right_ = PackedRight(1, 1);
  rows.right_.set(0, 0, 1.0);
  MG_CHECK(rows.weight_.elements() == rows.rows_, "a bias and its delta have one length");
  return rows;
}

void DeltaRows::read_layout(const AttachedDelta& attached) {
  experts_ = std::max<std::int64_t>(1, attached.expert_count);
  rank_ = a_.dim(0) / experts_;
  const std::int64_t in = row_length(a_);
  const std::int64_t out = b_.dim(0);
  expert_rows_ = transposed_ ? in : out;
  cols_ = transposed_ ? out : in;
  const bool part = attached.expert >= 0 || attached.first_row > 0;
  rows_ = part ? weight_.dim(0) : expert_rows_ * experts_;
  first_row_ = (attached.expert >= 0 ? attached.expert * expert_rows_ : 0) + attached.first_row;
  MG_CHECK(rank_ > 0 && rank_ * experts_ == a_.dim(0) && row_length(b_) == a_.dim(0),
           "A and B have one rank");
  MG_CHECK(rows_ * cols_ == weight_.elements() && first_row_ + rows_ <= expert_rows_ * experts_,
           "the pair fits the weight it is attached to");
}

void DeltaRows::read(const TensorView& view, std::int64_t offset, std::int64_t n,
                     double* out) const {
  const std::size_t bytes = to_index(dtype_bits(view.dtype) / 8);
  widen_to_double(view.dtype, view.data + to_index(offset) * bytes, n, out);
  if (cast_) {
    for (std::int64_t i = 0; i < n; ++i) {
      out[i] = round_to(*cast_, out[i]);
    }
  }
}

// Rows [begin, end) of the stacked D must lie in one expert.
std::vector<double> DeltaRows::left_rows(std::int64_t begin, std::int64_t end) const {
  const std::int64_t expert = begin / expert_rows_;
  const std::int64_t first = begin - expert * expert_rows_;
  const std::int64_t count = end - begin;
  std::vector<double> left(to_index(count * rank_));
  if (a_.empty()) {  // a bias: one column
    read(b_, first, count, left.data());
    return left;
  }
  if (transposed_) {
    std::vector<double> line(to_index(count));
    for (std::int64_t k = 0; k < rank_; ++k) {
      read(a_, (expert * rank_ + k) * expert_rows_ + first, count, line.data());
      for (std::int64_t i = 0; i < count; ++i) {
        left[to_index(i * rank_ + k)] = line[to_index(i)];
      }
    }
    return left;
  }
  if (experts_ == 1) {
    read(b_, first * rank_, count * rank_, left.data());
    return left;
  }
  const std::int64_t stacked = rank_ * experts_;
  std::vector<double> line(to_index(stacked));
  for (std::int64_t i = 0; i < count; ++i) {
    read(b_, (first + i) * stacked, stacked, line.data());
    for (std::int64_t k = 0; k < rank_; ++k) {
      left[to_index(i * rank_ + k)] = line[to_index(k * experts_ + expert)];
    }
  }
  return left;
}

PackedRight DeltaRows::right_factor(std::int64_t expert) const {
  PackedRight right(rank_, cols_);
  if (transposed_) {
    const std::int64_t stacked = rank_ * experts_;
    std::vector<double> line(to_index(stacked));
    for (std::int64_t j = 0; j < cols_; ++j) {
      read(b_, j * stacked, stacked, line.data());
      for (std::int64_t k = 0; k < rank_; ++k) {
        right.set(k, j, line[to_index(k * experts_ + expert)]);
      }
    }
    return right;
  }
  std::vector<double> line(to_index(cols_));
  for (std::int64_t k = 0; k < rank_; ++k) {
    read(a_, (expert * rank_ + k) * cols_, cols_, line.data());
    for (std::int64_t j = 0; j < cols_; ++j) {
      right.set(k, j, line[to_index(j)]);
    }
  }
  return right;
}

// Cuts [begin, end) of the stored rows where the expert changes and calls
// body(begin, end of stacked rows, factor, offset of the first row in the caller's block).
template <typename Body>
void DeltaRows::for_each_expert(std::int64_t begin, std::int64_t end, const Body& body) const {
  MG_CHECK(begin >= 0 && end <= rows_, "rows of the stored weight");
  std::int64_t row = begin;
  while (row < end) {
    const std::int64_t stacked = first_row_ + row;
    const std::int64_t expert = stacked / expert_rows_;
    const std::int64_t stop = std::min(end, (expert + 1) * expert_rows_ - first_row_);
    if (experts_ == 1) {
      body(stacked, first_row_ + stop, right_, row - begin);
    } else {
      body(stacked, first_row_ + stop, right_factor(expert), row - begin);
    }
    row = stop;
  }
}

void DeltaRows::product(std::int64_t begin, std::int64_t end, double* out, double scale) const {
  for_each_expert(
      begin, end,
      [&](std::int64_t first, std::int64_t last, const PackedRight& right, std::int64_t offset) {
        const std::vector<double> left = left_rows(first, last);
        multiply_low_rank(left.data(), last - first, right, scale_ * scale, out + offset * cols_);
      });
}

std::optional<DeltaRows::Factors> DeltaRows::factors() const {
  if (has_dora() || experts_ > 1) {
    return std::nullopt;
  }
  return Factors{left_rows(first_row_, first_row_ + rows_), &right_};
}

double DeltaRows::at(std::int64_t row, std::int64_t col) const {
  MG_CHECK(!has_dora() && experts_ == 1, "a delta that is one product");
  const std::vector<double> left = left_rows(first_row_ + row, first_row_ + row + 1);
  double sum = 0;
  for (std::int64_t k = 0; k < rank_; ++k) {
    sum += right_.at(k, col) * left[to_index(k)];
  }
  return sum * scale_;
}

void DeltaRows::product_magnitude(std::int64_t begin, std::int64_t end, double* out,
                                  double scale) const {
  for_each_expert(
      begin, end,
      [&](std::int64_t first, std::int64_t last, PackedRight right, std::int64_t offset) {
        std::vector<double> left = left_rows(first, last);
        for (double& value : left) {
          value = std::fabs(value);
        }
        right.make_absolute();
        multiply_low_rank(left.data(), last - first, right, std::fabs(scale_ * scale),
                          out + offset * cols_);
      });
}

double DeltaRows::product_magnitude_at(std::int64_t row, std::int64_t col) const {
  const std::int64_t stacked = first_row_ + row;
  const std::vector<double> left = left_rows(stacked, stacked + 1);
  const std::int64_t expert = stacked / expert_rows_;
  const std::int64_t line = rank_ * experts_;
  double sum = 0;
  for (std::int64_t k = 0; k < rank_; ++k) {
    double right = 1.0;
    if (experts_ == 1) {
      right = right_.at(k, col);
    } else if (transposed_) {
      read(b_, col * line + k * experts_ + expert, 1, &right);
    } else {
      read(a_, (expert * rank_ + k) * cols_ + col, 1, &right);
    }
    sum += std::fabs(left[to_index(k)] * right);
  }
  return std::fabs(scale_) * sum;
}

// The norm runs over all of W's dimensions but the output's (peft.tuners.lora.dora,
// get_weight_norm): along the stored row, or along the column where the output is the second
// dimension (Conv1D, embeddings).
void DeltaRows::prepare_dora(const TensorView& magnitude) {
  MG_CHECK(experts_ == 1 && first_row_ == 0, "DoRA does not come with fused experts");
  const std::int64_t groups = dora_by_row() ? rows_ : cols_;
  MG_CHECK(magnitude.elements() == groups, "DoRA has one magnitude per output");
  magnitude_.resize(to_index(groups));
  read(magnitude, 0, groups, magnitude_.data());
  norm_.assign(to_index(groups), 0.0);
  weight_square_ = weight_product_ = product_square_ = magnitude_square_ = norm_;
  const std::int64_t block = std::max<std::int64_t>(4, kBlockElements / cols_);
  std::vector<double> delta(to_index(block * cols_));
  std::vector<double> weight(delta.size());
  std::vector<double> bound(delta.size());
  const std::size_t width = to_index(dtype_bits(weight_.dtype) / 8);
  for (std::int64_t begin = 0; begin < rows_; begin += block) {
    const std::int64_t end = std::min(rows_, begin + block);
    product(begin, end, delta.data());
    product_magnitude(begin, end, bound.data());
    widen_to_double(weight_.dtype, weight_.data + to_index(begin * cols_) * width,
                    (end - begin) * cols_, weight.data());
    for (std::int64_t i = begin; i < end; ++i) {
      for (std::int64_t j = 0; j < cols_; ++j) {
        const std::size_t at = to_index((i - begin) * cols_ + j);
        const std::size_t group = to_index(dora_by_row() ? i : j);
        const double w = weight[at];
        const double d = delta[at];
        norm_[group] += (w + d) * (w + d);
        weight_square_[group] += w * w;
        weight_product_[group] += w * d;
        product_square_[group] += d * d;
        magnitude_square_[group] += bound[at] * bound[at];
      }
    }
  }
  for (double& value : norm_) {
    value = std::sqrt(value);
  }
}

double DeltaRows::dora_norm(std::int64_t i, double scale) const {
  const std::size_t at = to_index(i);
  if (scale == 1.0) {
    return norm_[at];
  }
  const double square =
      weight_square_[at] + 2.0 * scale * weight_product_[at] + scale * scale * product_square_[at];
  return std::sqrt(std::max(0.0, square));
}

// The norm sums n squares (n + 1 roundings each way, halved by the root), of values that are off by
// half an ulp and by the product's own error; root, quotient and product round once more each.
double DeltaRows::dora_factor_error(std::int64_t i) const {
  constexpr double kUnit32 = 0x1p-24;
  const double n = static_cast<double>(dora_by_row() ? cols_ : rows_);
  const double spread = std::sqrt(magnitude_square_[to_index(i)]) / norm_[to_index(i)];
  return kUnit32 * (0.5 * (n + 2.0) + 5.0 + static_cast<double>(rank_ + 4) * spread);
}

void DeltaRows::compute(std::int64_t begin, std::int64_t end, double* out, double scale) const {
  product(begin, end, out, scale);
  if (!has_dora()) {
    return;
  }
  const std::size_t width = to_index(dtype_bits(weight_.dtype) / 8);
  std::vector<double> weight(to_index(cols_));
  for (std::int64_t i = begin; i < end; ++i) {
    widen_to_double(weight_.dtype, weight_.data + to_index(i * cols_) * width, cols_,
                    weight.data());
    double* row = out + (i - begin) * cols_;
    for (std::int64_t j = 0; j < cols_; ++j) {
      const std::int64_t group = dora_by_row() ? i : j;
      const double factor = dora_magnitude(group) / dora_norm(group, scale);
      const double w = weight[to_index(j)];
      row[j] = factor * (w + row[j]) - w;
    }
  }
}

}  // namespace mg
