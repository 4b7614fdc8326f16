// Tensors and merges made up by the tests.  The merges here are computed in FP32, rounding where
// PEFT and other tools round, by plain scalar code that shares nothing with harness/audit but the
// conversions of kernels/core/half.h.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "harness/model/attach.h"
#include "kernels/core/tensor_view.h"

namespace mg::test {

/// A tensor that owns its bytes.
struct Tensor {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;

  Tensor() = default;
  Tensor(DType type, Shape dims);
  std::int64_t size() const;
  double get(std::int64_t i) const;
  /// Rounds once to the dtype.
  void set(std::int64_t i, double value);
  /// Adds `steps` to the bit pattern of a 16- or 32-bit element: that many ulps in magnitude.
  void nudge(std::int64_t i, int steps);
  TensorView view() const;

  /// Normal values, rounded to the dtype.
  static Tensor normal(DType type, Shape dims, double sigma, std::mt19937_64& random);
  /// Every element rounded to another dtype.
  Tensor as(DType type) const;
};

/// Orders in which an FP32 dot product may be summed.
enum class Order { kAscending, kDescending, kPairwise, kFma };

/// Where a merge tool rounds, in FP32 unless a dtype is named; the recipe's fields say the same in
/// exact arithmetic.
struct MergeSteps {
  std::optional<DType> load = std::nullopt;
  std::optional<DType> adapter = std::nullopt;
  std::optional<DType> product = std::nullopt;
  std::optional<DType> delta = std::nullopt;
  std::optional<DType> update = std::nullopt;  // W + delta, DoRA's norm and factor
  std::optional<DType> sum = std::nullopt;
  Order order = Order::kAscending;
  bool accumulate_on_weight = false;
};

/// A low-rank pair as PEFT stores it.
struct Pair {
  Tensor a;  // [R, in]
  Tensor b;  // [out, R]
  double scale = 1.0;
  // W is [in, out]: Conv1D, embeddings (whose A and B take these places).
  bool transposed = false;
  Tensor magnitude = {};  // DoRA, one per output; empty without
};

/// What a tool with these steps stores for W and `multiple` times the right delta.
Tensor merge_pair(const Tensor& weight, const Pair& pair, DType merged,
                  const MergeSteps& steps = {}, double multiple = 1.0);

/// W [rows, cols], A [rank, cols], B [rows, rank] and their attachment.
struct LowRankCase {
  LowRankCase() = default;
  LowRankCase(const LowRankCase&) = delete;
  LowRankCase& operator=(const LowRankCase&) = delete;

  Tensor weight;
  Tensor a;
  Tensor b;
  Tensor magnitude;  // DoRA, empty without
  StoredTensor stored;
  AdapterModule module;
  AttachedDelta attached;

  struct Options {
    std::int64_t rows = 64;
    std::int64_t cols = 96;
    std::int64_t rank = 8;
    DType base = DType::kF16;
    DType adapter = DType::kF32;
    double scale = 2.0;
    double delta_ratio = 0.1;  // |D| / |W|
    bool dora = false;
    std::uint64_t seed = 1;
  };
  void fill(const Options& options);

  /// What a tool with these steps stores, `multiple` times the right scale.
  Tensor merge(DType merged, const MergeSteps& steps = {}, double multiple = 1.0) const;
};

/// value rounded as the steps say: float for nothing.
float round_float(float value, std::optional<DType> dtype);

}  // namespace mg::test
