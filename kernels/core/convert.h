// Bulk conversion of stored elements to and from float and double.  Vectorised by run-time
// dispatch; every path gives the bits of the scalar functions in half.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/core/dtype.h"

namespace mg {

/// Widens `n` elements at `source` (unaligned allowed) to float.  F16, BF16, F32, F8 exact; F64
/// rounds. Integer dtypes and BOOL convert by value.  Throws an internal Error for packed and
/// complex types.
void widen_to_float(DType dtype, const std::byte* source, std::int64_t n, float* out);

/// Widens to double, exact for every float dtype.
void widen_to_double(DType dtype, const std::byte* source, std::int64_t n, double* out);

/// Rounds `n` doubles once to F16, BF16, F32 or F64 (nearest even) and stores them at `out`.
void narrow_from_double(DType dtype, const double* source, std::int64_t n, std::byte* out);

/// Rounds `n` floats once to F16, BF16 or F32 (nearest even).
void narrow_from_float(DType dtype, const float* source, std::int64_t n, std::byte* out);

/// Rounds each double in place to the nearest value of F16, BF16, F32 or F64, overflow to infinity.
void round_in_place(DType dtype, double* values, std::int64_t n);

/// Rounds each float in place to the nearest F16 or BF16 value (F32: nothing), overflow to
/// infinity.
void round_in_place(DType dtype, float* values, std::int64_t n);

}  // namespace mg
