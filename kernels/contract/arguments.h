// What every backend demands of an operation's arguments: shapes that fit, windows inside their
// buffers' rows. One place, so that reference, cpu and cuda refuse the same calls with the same
// words.  A violation is a bug of the caller (files were checked before), hence an internal Error.
// Not for: numerics (tolerance.h).
#pragma once

#include <cstdint>
#include <span>

#include "kernels/backend.h"
#include "kernels/row_statistics.h"

namespace mg {

void check_window(const Mat& x);
void check_same_shape(const Mat& x, const Mat& y);
void check_vector(const TensorView& vector, std::int64_t elements);

void check_upload(std::span<const float> values, const Mat& out);
void check_gather(const Mat& x, std::span<const std::int32_t> rows, const Mat& out);
void check_scatter(const Mat& x, std::span<const std::int32_t> rows, std::span<const float> factors,
                   const Mat& out);
void check_embed(const TensorView& table, std::span<const std::int32_t> ids, const Mat& out);
void check_low_rank_embed(std::span<const std::int32_t> ids, const TensorView& a,
                          const TensorView& b, const Mat& y);
void check_rms_norm(const Mat& x, const TensorView& weight, std::int64_t groups, const Mat& out);
void check_layer_norm(const Mat& x, const TensorView& weight, const TensorView& bias,
                      const Mat& out);
void check_linear(const Mat& x, const Weight& weight, const TensorView& bias, const Mat& out);
void check_low_rank(const Mat& x, const TensorView& a, const TensorView& b, const Mat& y);
void check_rope(const Mat& cos, const Mat& sin, std::int64_t heads, std::int64_t rotary_dim,
                const Mat& x);
void check_attention(const Mat& q, const Mat& k, const Mat& v,
                     std::span<const AttentionSegment> segments, const AttentionParams& params,
                     const Mat& out);
void check_route(const Mat& logits, std::int64_t k);
void check_sweep(const LogitSweep& sweep, std::span<LaneSweep> lanes, std::span<PairSweep> pairs);
void check_squares(const Mat& subject, const Mat& reference,
                   std::span<const std::int32_t> reference_rows, std::span<RowSquares> out);

}  // namespace mg
