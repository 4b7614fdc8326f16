// A weight that a checkpoint stores as codes with companions (scales, tables, a description), seen
// as ONE tensor with a shape and a quantised kind: rows in, FP32 out.  A format is one class behind
// this interface and one entry in read_quantised() (quantised_tensor.cc).
// Not for: the arithmetic (kernels/core/dequantise.h, scaled_codes.h) or where the FP32 copy lives
// (decoded_memory.h). Tested in tests/io/quantised_test.cc and tests/io/quantised.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/io/stored_tensor.h"

namespace mg {

struct FourBitMatrix;
struct EightBitMatrix;

class QuantisedTensor {
 public:
  virtual ~QuantisedTensor() = default;

  /// Rows [begin, end) of the weight [rows, cols] as FP32, (end - begin) * cols numbers, with the
  /// bits of the library that wrote the codes.  Thread-safe.
  virtual void rows(std::int64_t begin, std::int64_t end, float* out) const = 0;

  /// How many of these numbers, rows [begin, end), the format would store as the codes that are
  /// there, each number being known to within `noise`; nothing where that cannot be said.  Near all
  /// for the weights the codes were made of.
  virtual std::optional<std::int64_t> count_held(std::int64_t begin, std::int64_t end,
                                                 const double* values, const double* noise) const {
    static_cast<void>(begin);
    static_cast<void>(end);
    static_cast<void>(values);
    static_cast<void>(noise);
    return std::nullopt;
  }

  /// What a device needs to decode by itself; null where it is of another form.
  virtual const FourBitMatrix* four_bit() const { return nullptr; }
  virtual const EightBitMatrix* eight_bit() const { return nullptr; }

  std::string name;    // of the weight: "model.layers.0.mlp.up_proj.weight"
  std::string format;  // "NF4", "INT8", "GPTQ-4", "FP8"
  std::string detail;  // "blocks of 64, scales in 8 bits": for people
  std::int64_t rows_count = 0;
  std::int64_t cols_count = 0;
  std::int64_t stack = 0;  // matrices one under the other (experts); 0: one, of two dimensions
  DType library_dtype = DType::kF32;  // what the library itself dequantises to
  std::vector<StoredTensor> parts;    // as stored, the codes first
  // Rows that do not end at a block's end, which the library's own backends read differently
  // (BlockOrder).
  bool ambiguous_blocks = false;

  Shape shape() const {
    return stack == 0 ? Shape{rows_count, cols_count}
                      : Shape{stack, rows_count / stack, cols_count};
  }
  /// Bytes on disk, all parts.
  std::size_t stored_bytes() const;
};

/// Where a 4-bit row's blocks lie when its length is no multiple of the block
/// (FourBitMatrix::blocks_by_row): as bitsandbytes' AVX-512 CPU code reads them, or as its CUDA
/// code does.
enum class BlockOrder : std::uint8_t { kByRow, kFlat };

/// Takes what it recognises out of `tensors` (raw, sorted by name): codes and companions of
/// bitsandbytes, and of the method that `config`'s quantization_config names (GPTQ, AWQ, FP8,
/// MXFP4, compressed-tensors).  What stays is plain, or codes that no config describes.  Throws
/// Error "quantised.*" for a part that is missing, has another dtype or size than the rest demand,
/// or a layout that is not known, and where codes stand beside a quantization_config that is not;
/// `folder` names the checkpoint.
std::vector<std::unique_ptr<QuantisedTensor>> read_quantised(std::vector<StoredTensor>& tensors,
                                                             const nlohmann::json& config,
                                                             BlockOrder order,
                                                             const std::filesystem::path& folder);

}  // namespace mg
