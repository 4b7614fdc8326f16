#include "harness/audit/dora_factors.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/convert.h"
#include "kernels/core/rounding.h"
#include "kernels/core/shape.h"

namespace mg {
namespace {

constexpr double kHalfUlp32 = 0x1p-24;
constexpr std::int64_t kFactorBlock = 16384;

/// Sums of squares of one group, and between which the FP32 errors of D may move it.
struct Squares {
  double nominal = 0;
  double low = 0;
  double high = 0;
};

class Norms {
 public:
  Norms(const TargetViews& views, const Recipe& recipe, double scale)
      : views_(views),
        delta_(*views.delta),
        recipe_(recipe),
        scale_(scale),
        arithmetic_(recipe, views.base.dtype, views.merged.dtype, delta_.rank(),
                    delta_.scale() * scale) {}

  std::vector<DoraFactor> run(std::int64_t begin, std::int64_t end) {
    const bool by_row = delta_.dora_by_row();
    first_group_ = by_row ? begin : 0;
    squares_.assign(to_index(by_row ? end - begin : delta_.cols()), {});
    const std::int64_t block = rows_per_block(delta_, kFactorBlock);
    const std::int64_t last = by_row ? end : delta_.rows();
    for (std::int64_t row = by_row ? begin : 0; row < last; row += block) {
      add_rows(row, std::min(last, row + block));
    }
    std::vector<DoraFactor> factors;
    for (std::size_t i = 0; i < squares_.size(); ++i) {
      factors.push_back(factor(squares_[i], first_group_ + static_cast<std::int64_t>(i)));
    }
    return factors;
  }

 private:
  void add_rows(std::int64_t begin, std::int64_t end) {
    const std::int64_t cols = delta_.cols();
    const std::size_t n = to_index((end - begin) * cols);
    std::vector<double> weight(n);
    std::vector<double> product(n);
    std::vector<double> error(n);
    const std::size_t width = to_index(dtype_bits(views_.base.dtype) / 8);
    widen_to_double(views_.base.dtype, views_.base.data + to_index(begin * cols) * width,
                    (end - begin) * cols, weight.data());
    delta_.product(begin, end, product.data(), scale_);
    delta_.product_magnitude(begin, end, error.data(), scale_);
    for (std::size_t i = 0; i < n; ++i) {
      error[i] = arithmetic_.delta_error(weight[i], error[i]);
    }
    std::vector<double> nominal;
    update_weights(recipe_, delta_.scale() * scale_, weight, product, nominal);
    for (std::size_t i = 0; i < n; ++i) {
      product[i] -= error[i];
    }
    std::vector<double> low;
    update_weights(recipe_, delta_.scale() * scale_, weight, product, low);
    for (std::size_t i = 0; i < n; ++i) {
      product[i] += 2.0 * error[i];
    }
    std::vector<double> high;
    update_weights(recipe_, delta_.scale() * scale_, weight, product, high);
    for (std::size_t i = 0; i < n; ++i) {
      const auto at = static_cast<std::int64_t>(i);
      const std::int64_t group = delta_.dora_by_row() ? begin + at / cols : at % cols;
      Squares& squares = squares_[to_index(group - first_group_)];
      const double one = low[i] * low[i];
      const double other = high[i] * high[i];
      squares.nominal += nominal[i] * nominal[i];
      squares.high += std::max(one, other);
      squares.low += (low[i] < 0.0) != (high[i] < 0.0) ? 0.0 : std::min(one, other);
    }
  }

  DoraFactor factor(const Squares& squares, std::int64_t group) const {
    const double m = delta_.dora_magnitude(group);
    const auto length = static_cast<double>(delta_.dora_by_row() ? delta_.cols() : delta_.rows());
    // n squares and their sum in FP32, halved by the root; root and quotient round once more each.
    const double error = kHalfUlp32 * (0.5 * (length + 2.0) + 3.0);
    const auto round = [&](double x) { return recipe_.update ? round_to(*recipe_.update, x) : x; };
    const auto of_norm = [&](double norm) { return round(m / round(norm)); };
    const double value = of_norm(std::sqrt(squares.nominal));
    const double low = of_norm(std::sqrt(squares.high) * (1.0 + error));
    const double high = of_norm(std::sqrt(squares.low) * (1.0 - error));
    const double spread = std::max(std::fabs(high - value), std::fabs(value - low));
    return {value, spread / std::fabs(value)};
  }

  const TargetViews& views_;
  const DeltaRows& delta_;
  const Recipe& recipe_;
  double scale_;
  ElementArithmetic arithmetic_;
  std::int64_t first_group_ = 0;
  std::vector<Squares> squares_;
};

}  // namespace

bool has_own_norm(const Recipe& recipe) {
  return recipe.load || recipe.product || recipe.delta || recipe.update;
}

void update_weights(const Recipe& recipe, double scale, const std::vector<double>& weight,
                    const std::vector<double>& product, std::vector<double>& out) {
  out = product;
  const auto n = static_cast<std::int64_t>(out.size());
  if (recipe.product && scale != 0.0) {
    for (double& value : out) {
      value /= scale;
    }
    round_in_place(*recipe.product, out.data(), n);
    for (double& value : out) {
      value *= scale;
    }
  }
  if (recipe.delta) {
    round_in_place(*recipe.delta, out.data(), n);
  }
  if (recipe.load) {
    std::vector<double> loaded = weight;
    round_in_place(*recipe.load, loaded.data(), n);
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] += loaded[i];
    }
  } else {
    for (std::size_t i = 0; i < out.size(); ++i) {
      out[i] += weight[i];
    }
  }
  if (recipe.update) {
    round_in_place(*recipe.update, out.data(), n);
  }
}

std::vector<DoraFactor> dora_factors(const TargetViews& views, const Recipe& recipe, double scale,
                                     std::int64_t begin, std::int64_t end) {
  return Norms(views, recipe, scale).run(begin, end);
}

}  // namespace mg
