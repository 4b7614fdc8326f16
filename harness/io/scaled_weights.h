// Weights of GPTQ, AWQ, FP8, MXFP4 and compressed-tensors checkpoints: which tensors belong
// together, what shapes and dtypes they must have, what their numbers mean.  The description is
// quantization_config's (quantisation_config.h), the arithmetic kernels/core/scaled_codes.h.
// Private to harness/io.  Tested in tests/io/quantised and tests/fuzz/scaled_weights_fuzz.cc.
//
//   GPTQ    X.qweight I32 [in * bits / 32, out], X.qzeros I32 [groups, out * bits / 32],
//           X.scales [groups, out], X.g_idx I32 [in] (always with desc_act)
//   AWQ     X.qweight I32 [in, out / 8], X.qzeros I32 [groups, out / 8], X.scales [groups, out]
//   FP8     X F8_E4M3 [out, in] with X_scale_inv or X_scale: [] or [1], [out] or [out, 1], or one a
//           block of weight_block_size
//   MXFP4   P_blocks U8 [experts, out, in / 32, 16], P_scales U8 [experts, out, in / 32]
//   compressed-tensors
//           X.weight_packed I32 [out, in * bits / 32] with X.weight_shape, or X.weight I8 or
//           F8_E4M3 [out, in]; X.weight_scale, X.weight_zero_point, X.weight_g_idx by the scheme
#pragma once

#include "harness/io/quantisation_config.h"
#include "harness/io/quantised_tensor.h"

namespace mg {

/// See read_quantised().  Scales of activations and of the KV cache, which lanes do not imitate,
/// are taken out with the weights.
std::vector<std::unique_ptr<QuantisedTensor>> read_scaled_weights(
    std::vector<StoredTensor>& tensors, const QuantisationConfig& config,
    const std::filesystem::path& folder);

}  // namespace mg
