#include <algorithm>

#include "kernels/contract/arguments.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/check.h"

namespace mg::cuda {
namespace {

// A weight that must be converted and was not announced: this much of it at a time.
constexpr std::int64_t kPieceElements = std::int64_t{1} << 27;
constexpr std::int64_t kOutputsUnit = 64;  // pieces start at multiples, where rows stay aligned

}  // namespace

void CudaBackend::multiply(const Rows& x, const void* w, std::int64_t w_stride,
                           const Weight& weight, const void* bias, const Rows& out) {
  gemm_.multiply({.x = x.data,
                  .x_stride = x.stride,
                  .w = w,
                  .w_stride = w_stride,
                  .transposed = weight.transposed,
                  .bias = bias,
                  .out = out.data,
                  .out_stride = out.stride,
                  .rows = x.rows,
                  .inputs = x.cols,
                  .outputs = out.cols,
                  .whole_outputs = weight.outputs()},
                 device_.compute());
}

void CudaBackend::product_in_pieces(const Rows& x, const Weight& weight, const void* bias,
                                    const Rows& out) {
  const Lease raw = weights_.use(weight);
  const std::int64_t row = weight.values.dim(1);
  const std::int64_t stride = aligned_stride(row, element_);
  // [inputs, outputs] is converted whole: its outputs are columns.
  const std::int64_t rows = weight.values.dim(0);
  const std::int64_t wanted =
      weight.transposed
          ? rows
          : std::min(rows,
                     std::max(kOutputsUnit, kPieceElements / stride / kOutputsUnit * kOutputsUnit));
  std::int64_t step = wanted;
  Memory piece = device_.try_allocate(bytes_of(step * stride));
  while (piece.empty() && step > kOutputsUnit && !weight.transposed) {
    step = std::max(kOutputsUnit, step / 2 / kOutputsUnit * kOutputsUnit);
    piece = device_.try_allocate(bytes_of(step * stride));
  }
  if (piece.empty()) {
    fail(cudaErrorMemoryAllocation, "converting a weight", bytes_of(step * stride), "bytes");
  }
  if (step < wanted) {
    note_halving("converting a weight", wanted, step, "outputs");
  }
  for (std::int64_t begin = 0; begin < rows; begin += step) {
    const std::int64_t count = std::min(step, rows - begin);
    raw.convert_rows(begin, count, row, piece.data(), stride, element_, device_.compute());
    const auto shifted = [&](const void* base) -> const void* {
      return base == nullptr ? nullptr : static_cast<const std::byte*>(base) + bytes_of(begin);
    };
    Rows target = out;
    if (!weight.transposed) {
      target.data = static_cast<std::byte*>(out.data) + bytes_of(begin);
      target.cols = count;
    }
    multiply(x, piece.data(), stride, weight, weight.transposed ? bias : shifted(bias), target);
  }
}

void CudaBackend::product(const Rows& x, const Weight& weight, const void* bias, const Rows& out) {
  if (weights_.fits_as_stored(weight)) {
    const Lease raw = weights_.use(weight.values);
    multiply(x, raw.data(), weight.values.dim(1), weight, bias, out);
  } else if (const std::optional<Prepared> ready = weights_.prepared(weight)) {
    multiply(x, ready->lease.data(), ready->stride, weight, bias, out);
  } else {
    product_in_pieces(x, weight, bias, out);
  }
}

void CudaBackend::linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) {
  check_linear(x, weight, bias, out);
  const Rows target = rows_of(out);
  if (out.rows == 0 || out.cols == 0) {
    return;
  }
  Memory addend;  // the bias as the arithmetic has it
  if (!bias.empty()) {
    const Lease raw = weights_.use(bias);
    addend = device_.allocate(bytes_of(out.cols), "converting a bias");
    convert(raw.stored(), 1, out.cols, addend.data(), out.cols, element_, device_.compute());
  }
  if (x.cols == 0) {  // a sum of nothing
    cuda::fill_zero(target, element_, device_.compute());
    if (!bias.empty()) {
      cuda::add_vector({addend.data(), dtype_of(element_)}, 1.0F, target, element_,
                       device_.compute());
    }
    return;
  }
  const Aligned in = aligned_copy(rows_of(x));
  if (aligned(target)) {
    product(in.rows, weight, addend.data(), target);
    return;
  }
  const Aligned own = scratch(out.rows, out.cols, "a product");
  product(in.rows, weight, addend.data(), own.rows);
  gather(own.rows, nullptr, target, element_, device_.compute());
}

}  // namespace mg::cuda
