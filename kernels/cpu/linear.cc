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

void CpuBackend::product(const Rows& x, std::int64_t rows, std::span<const Factor> factors,
                         const Finish& finish) {
  // Blocks are cut from the outputs of all factors, one after the other, each a whole number of
  // tiles wide.
  const std::int64_t tile = kernels_.tile_cols;
  std::vector<std::int64_t> begins;
  std::int64_t cols = 0;
  std::int64_t staged_inputs = 0;  // of a weight that is staged
  for (const Factor& factor : factors) {
    begins.push_back(cols);
    cols += (factor.weight->outputs() + tile - 1) / tile * tile;
    if (!widened_while_packing(factor.weight->values.dtype, arithmetic_)) {
      staged_inputs = std::max(staged_inputs, factor.weight->inputs());
    }
  }
  if (rows == 0 || cols == 0) {
    return;
  }
  BlockSize size = choose_blocks(rows, cols, pool_.threads(), kernels_);
  if (staged_inputs > 0) {
    const std::int64_t panels = kStagedElements / staged_inputs / tile;
    size.cols = std::min(size.cols, std::max<std::int64_t>(panels, 1) * tile);
  }
  const std::int64_t row_blocks = (rows + size.rows - 1) / size.rows;
  const std::int64_t col_blocks = (cols + size.cols - 1) / size.cols;
  pool_.for_chunks(row_blocks * col_blocks, 1, [&](std::int64_t index, std::int64_t) {
    const std::int64_t row = index % row_blocks * size.rows;
    const std::int64_t begin = index / row_blocks * size.cols;
    std::vector<Block> blocks;
    for (std::size_t i = 0; i < factors.size(); ++i) {
      const std::int64_t from = std::max<std::int64_t>(begin - begins[i], 0);
      const std::int64_t to = std::min(begin + size.cols - begins[i], factors[i].weight->outputs());
      if (from < to) {
        blocks.push_back({i, row, std::min(size.rows, rows - row), from, to - from, {}});
      }
    }
    if (!blocks.empty()) {
      multiply_block(x, factors, blocks, finish);
    }
  });
}

void CpuBackend::multiply_block(const Rows& x, std::span<const Factor> factors,
                                std::span<Block> blocks, const Finish& finish) {
  const std::int64_t rows = blocks.front().rows;
  const std::int64_t k = factors[blocks.front().factor].weight->inputs();
  std::int64_t elements = kernels_.gemm_scratch(rows);
  for (const Block& block : blocks) {
    const Factor& factor = factors[block.factor];
    const bool direct = widened_while_packing(factor.weight->values.dtype, arithmetic_);
    elements +=
        (direct ? 0 : block.cols * k) + (factor.out.data != nullptr ? 0 : rows * block.cols);
  }
  const ScratchPool::Lease scratch = scratch_.borrow(elements);
  float* free = scratch.data() + kernels_.gemm_scratch(rows);
  std::vector<GemmPiece> pieces;
  for (Block& block : blocks) {
    const Factor& factor = factors[block.factor];
    const Weight& weight = *factor.weight;
    const DType dtype = weight.values.dtype;
    const bool direct = widened_while_packing(dtype, arithmetic_);
    const std::int64_t element = direct ? dtype_bits(dtype) / 8 : 4;
    std::int64_t w_stride = (weight.transposed ? weight.outputs() : k) * element;
    const std::byte* bytes =
        weight.values.data + block.col * (weight.transposed ? element : w_stride);
    if (!direct) {
      stage(weight, block.col, block.cols, free);
      bytes = reinterpret_cast<const std::byte*>(free);
      w_stride = (weight.transposed ? block.cols : k) * element;
      free += block.cols * k;
    }
    if (factor.out.data != nullptr) {
      block.sums = {factor.out.row(block.row) + block.col, factor.out.stride};
    } else {
      block.sums = {free, block.cols};
      free += rows * block.cols;
    }
    for (std::int64_t r = 0; r < rows && k == 0; ++r) {
      std::fill_n(block.sums.row(r), block.cols, 0.0F);
    }
    pieces.push_back({.w = bytes,
                      .w_stride = w_stride,
                      .kind = direct ? kind_of(dtype) : WeightKind::kF32,
                      .transposed = weight.transposed,
                      .cols = block.cols,
                      .out = block.sums.data,
                      .out_stride = block.sums.stride});
  }
  kernels_.gemm({.x = x.row(blocks.front().row),
                 .x_stride = x.stride,
                 .rows = rows,
                 .k = k,
                 .pieces = pieces.data(),
                 .count = static_cast<std::int64_t>(pieces.size()),
                 .scratch = scratch.data()});
  for (const Block& block : blocks) {
    finish(block);
  }
}

void CpuBackend::linear(Mat x, const Weight& weight, const TensorView& bias, Mat out) {
  const LinearMap map{weight, bias, out};
  linear_maps(x, std::span(&map, 1));
}

void CpuBackend::linear_maps(Mat x, std::span<const LinearMap> maps) {
  std::vector<Factor> factors;
  std::int64_t biased = 0;
  for (const LinearMap& map : maps) {
    check_linear(x, map.weight, map.bias, map.out);
    factors.push_back({&map.weight, rows_of(map.out)});
    biased += map.bias.empty() ? 0 : map.out.cols;
  }
  const ScratchPool::Lease addends = scratch_.borrow(biased);
  std::vector<const float*> addend;
  float* next = addends.data();
  for (const LinearMap& map : maps) {
    addend.push_back(map.bias.empty() ? nullptr : next);
    if (!map.bias.empty()) {
      load_vector(map.bias, next);
      next += map.out.cols;
    }
  }
  product(rows_of(x), x.rows, factors, [&](const Block& block) {
    for (std::int64_t r = 0; r < block.rows; ++r) {
      if (const float* bias = addend[block.factor]; bias != nullptr) {
        // added in FP32, before the one rounding
        kernels_.add(rounding_, bias + block.col, block.sums.row(r), block.cols);
      } else if (rounding_ != Rounding::kNone) {
        kernels_.round(rounding_, block.sums.row(r), block.cols);
      }
    }
  });
}

}  // namespace mg::cpu
