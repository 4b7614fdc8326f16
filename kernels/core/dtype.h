// Element types of checkpoint tensors: names as safetensors spells them, sizes in bits.
// Not for: arithmetic on elements (see half.h, convert.h).  Tested in tests/core/basics_test.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace mg {

enum class DType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kU64,
  kI64,
  kF4,      // two elements a byte
  kF6E2M3,  // four elements in three bytes
  kF6E3M2,
  kF8E4M3,
  kF8E5M2,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kF16,
  kBF16,
  kF32,
  kF64,
  kC64,
};

/// Name in a safetensors header, e.g. "BF16".
std::string_view dtype_name(DType dtype);

/// The dtype with this safetensors name, or nothing when the format does not know it.
std::optional<DType> dtype_from_name(std::string_view name);

/// Width of one element in bits (4 for F4, 6 for the F6 types).
std::int64_t dtype_bits(DType dtype);

/// F16, BF16 or F32: what a merged checkpoint's weights are expected to be stored as.
constexpr bool is_plain(DType dtype) {
  return dtype == DType::kF16 || dtype == DType::kBF16 || dtype == DType::kF32;
}

/// A type whose elements convert to a double exactly by `element_to_double` (convert.h).
constexpr bool is_float(DType dtype) {
  return is_plain(dtype) || dtype == DType::kF64 || dtype == DType::kF8E4M3 ||
         dtype == DType::kF8E5M2;
}

}  // namespace mg
