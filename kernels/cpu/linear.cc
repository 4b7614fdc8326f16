#include <algorithm>

#include "kernels/contract/arguments.h"
#include "kernels/core/convert.h"
#include "kernels/cpu/backend.h"
#include "kernels/cpu/blocks.h"

namespace mg::cpu {
namespace {

// Weights that must be widened or rounded before they are packed: this many FP32 values at a time
// and thread.
constexpr std::int64_t kStagedElements = std::int64_t{1} << 19;

bool widened_while_packing(DType dtype, Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kExact:
      return is_plain(dtype);
    case Arithmetic::kFp16:  // other types are rounded to the arithmetic first
      return dtype == DType::kF16;
    case Arithmetic::kBf16:
      return dtype == DType::kBF16;
  }
  return false;
}

WeightKind kind_of(DType dtype) {
  return dtype == DType::kF16    ? WeightKind::kF16
         : dtype == DType::kBF16 ? WeightKind::kBf16
                                 : WeightKind::kF32;
}

}  // namespace

void CpuBackend::stage(const Weight& weight, std::int64_t begin, std::int64_t cols,
                       float* out) const {
  const TensorView& w = weight.values;
  const std::int64_t row_elements = weight.transposed ? weight.outputs() : weight.inputs();
  const std::int64_t rows = weight.transposed ? weight.inputs() : cols;
  const std::int64_t length = weight.transposed ? cols : weight.inputs();
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t first =
        weight.transposed ? r * row_elements + begin : (begin + r) * row_elements;
    widen_to_float(w.dtype, w.data + first * (dtype_bits(w.dtype) / 8), length, out + r * length);
  }
  kernels_.round(rounding_, out, rows * length);
}

void CpuBackend::product(const Rows& x, std::int64_t rows, const Weight& weight, const Rows& out,
                         const Finish& finish) {
  const std::int64_t cols = weight.outputs();
  const std::int64_t k = weight.inputs();
  if (rows == 0 || cols == 0) {
    return;
  }
  const TensorView& w = weight.values;
  const bool direct = widened_while_packing(w.dtype, arithmetic_);
  const std::int64_t element = direct ? dtype_bits(w.dtype) / 8 : 4;
  BlockSize size = choose_blocks(rows, cols, pool_.threads(), kernels_);
  if (!direct) {
    const std::int64_t panels = kStagedElements / std::max<std::int64_t>(k, 1) / kernels_.tile_cols;
    size.cols = std::min(size.cols, std::max<std::int64_t>(panels, 1) * kernels_.tile_cols);
  }
  const std::int64_t row_blocks = (rows + size.rows - 1) / size.rows;
  const std::int64_t col_blocks = (cols + size.cols - 1) / size.cols;
  pool_.for_chunks(row_blocks * col_blocks, 1, [&](std::int64_t index, std::int64_t) {
    Block block{};
    block.row = index % row_blocks * size.rows;
    block.rows = std::min(size.rows, rows - block.row);
    block.col = index / row_blocks * size.cols;
    block.cols = std::min(size.cols, cols - block.col);
    const std::int64_t pack_elements = kernels_.gemm_scratch(block.rows, block.cols);
    const std::int64_t staged_elements = direct ? 0 : block.cols * k;
    const std::int64_t sum_elements = out.data != nullptr ? 0 : block.rows * block.cols;
    const ScratchPool::Lease scratch =
        scratch_.borrow(pack_elements + staged_elements + sum_elements);
    float* staged = scratch.data() + pack_elements;
    block.sums = out.data != nullptr ? Rows{out.row(block.row) + block.col, out.stride}
                                     : Rows{staged + staged_elements, block.cols};
    std::int64_t w_stride = (weight.transposed ? cols : k) * element;
    const std::byte* bytes =
        w.data + (weight.transposed ? block.col * element : block.col * w_stride);
    if (!direct) {
      stage(weight, block.col, block.cols, staged);
      bytes = reinterpret_cast<const std::byte*>(staged);
      w_stride = (weight.transposed ? block.cols : k) * element;
    }
    for (std::int64_t r = 0; r < block.rows && k == 0; ++r) {
      std::fill_n(block.sums.row(r), block.cols, 0.0F);
    }
    kernels_.gemm({.x = x.row(block.row),
                   .x_stride = x.stride,
                   .w = bytes,
                   .w_stride = w_stride,
                   .kind = direct ? kind_of(w.dtype) : WeightKind::kF32,
                   .transposed = weight.transposed,
                   .rows = block.rows,
                   .cols = block.cols,
                   .k = k,
                   .out = block.sums.data,
                   .out_stride = block.sums.stride,
                   .scratch = scratch.data()});
    finish(block);
  });
}

void CpuBackend::linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) {
  check_linear(x, weight, bias, out);
  const ScratchPool::Lease addend = scratch_.borrow(bias.empty() ? 0 : out.cols);
  if (!bias.empty()) {
    load_vector(bias, addend.data());
  }
  product(rows_of(x), x.rows, weight, rows_of(out), [&](const Block& block) {
    for (std::int64_t r = 0; r < block.rows; ++r) {
      if (!bias.empty()) {  // added in FP32, before the one rounding
        kernels_.add(rounding_, addend.data() + block.col, block.sums.row(r), block.cols);
      } else if (rounding_ != Rounding::kNone) {
        kernels_.round(rounding_, block.sums.row(r), block.cols);
      }
    }
  });
}

}  // namespace mg::cpu
