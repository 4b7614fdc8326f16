#include "harness/model/dora.h"

#include <cmath>

#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

std::vector<double> widened(const TensorView& view) {
  std::vector<double> values(static_cast<std::size_t>(view.elements()));
  widen_to_double(view.dtype, view.data, view.elements(), values.data());
  return values;
}

/// Adds scale * (coefficients of one row of the stored weight) times the factor matrix [R, cols] to
/// the row.
void add_combination(const double* coefficients, std::int64_t stride, std::int64_t rank,
                     const std::vector<double>& factor, double scale, std::vector<double>& row) {
  const std::size_t cols = row.size();
  for (std::int64_t r = 0; r < rank; ++r) {
    const double c = scale * coefficients[r * stride];
    const double* line = factor.data() + static_cast<std::size_t>(r) * cols;
    for (std::size_t i = 0; i < cols; ++i) {
      row[i] += c * line[i];
    }
  }
}

std::vector<double> transpose(const std::vector<double>& matrix, std::int64_t rows,
                              std::int64_t cols) {
  std::vector<double> result(matrix.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      result[static_cast<std::size_t>(c * rows + r)] =
          matrix[static_cast<std::size_t>(r * cols + c)];
    }
  }
  return result;
}

}  // namespace

std::vector<double> dora_factors(const AttachedDelta& attached) {
  const TensorView& weight = attached.target->view;
  const AdapterModule& module = *attached.module;
  const std::int64_t rows = weight.dim(0);
  const std::int64_t cols = weight.dim(1);
  const std::int64_t rank = module.a.dim(0);
  const std::int64_t outputs = attached.transposed ? cols : rows;
  if (module.magnitude.elements() != outputs) {
    throw Error({.code = "adapter.dora",
                 .what = "lora_magnitude_vector does not fit its weight",
                 .where = module.module,
                 .expected = std::to_string(outputs) + " elements",
                 .actual = std::to_string(module.magnitude.elements()) + " elements",
                 .hint = "the adapter was trained on a model of another size"});
  }
  // A stored row is an output's inputs ([out, in]: B's row combines A's rows) or, transposed, an
  // input's outputs (A's column combines B's columns); norms are over inputs either way.
  const std::vector<double> a = widened(module.a);  // [R, in]
  const std::vector<double> b = widened(module.b);  // [out, R]
  const std::vector<double> factor = attached.transposed ? transpose(b, outputs, rank) : a;
  std::vector<double> squares(static_cast<std::size_t>(outputs), 0.0);
  std::vector<double> row(static_cast<std::size_t>(cols));
  const std::size_t row_bytes = static_cast<std::size_t>(cols * dtype_bits(weight.dtype) / 8);
  for (std::int64_t r = 0; r < rows; ++r) {
    widen_to_double(weight.dtype, weight.data + static_cast<std::size_t>(r) * row_bytes, cols,
                    row.data());
    const double* coefficients = attached.transposed ? a.data() + r : b.data() + r * rank;
    add_combination(coefficients, attached.transposed ? rows : 1, rank, factor, module.scale, row);
    for (std::int64_t c = 0; c < cols; ++c) {
      const double value = row[static_cast<std::size_t>(c)];
      squares[static_cast<std::size_t>(attached.transposed ? c : r)] += value * value;
    }
  }
  std::vector<double> factors = widened(module.magnitude);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    factors[i] /= std::sqrt(squares[i]);
  }
  return factors;
}

}  // namespace mg
