#include "kernels/contract/tolerance.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/error.h"

namespace mg::contract {
namespace {

constexpr double kU = kFloatRoundoff;

bool exact(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kExact;
}

/// A flip of a stored intermediate or result of this magnitude.
double flip(Arithmetic arithmetic, double magnitude) {
  if (exact(arithmetic)) {
    return 0;
  }
  // Below FP16's normal range the spacing is fixed.
  const double subnormal = arithmetic == Arithmetic::kFp16 ? 0x1p-24 : 0x1p-133;
  return 2 * stored_roundoff(arithmetic) * magnitude + subnormal;
}

}  // namespace

double stored_roundoff(Arithmetic arithmetic) {
  switch (arithmetic) {
    case Arithmetic::kExact:
      return kU;
    case Arithmetic::kFp16:
      return 0x1p-11;
    case Arithmetic::kBf16:
      return 0x1p-8;
  }
  MG_CHECK(false, "an arithmetic mode");
}

double growth(std::int64_t n) {
  const auto terms = static_cast<double>(n);
  return std::min(terms, 6 * std::sqrt(terms));
}

double stored(Arithmetic arithmetic, double result, double computing_error) {
  // The oracle is read as FP32 too: one rounding of u for it, one for the backend's last operation.
  return computing_error + 2 * kU * std::fabs(result) + kFloatTiny +
         flip(arithmetic, std::fabs(result));
}

double linear(Arithmetic arithmetic, std::int64_t k, double result, double magnitude) {
  return stored(arithmetic, result, (growth(k) + 1) * kU * magnitude);
}

double low_rank(Arithmetic arithmetic, std::int64_t k, std::int64_t rank, double result,
                double magnitude, double y) {
  // A flip of x A^T, of the product with B, of the scaled product: each at most 2 s of `magnitude`.
  return stored(
      arithmetic, result,
      (growth(k) + growth(rank) + 2) * kU * magnitude + kU * y + 3 * flip(arithmetic, magnitude));
}

double rms_norm(Arithmetic arithmetic, std::int64_t n, double result) {
  // A relative error of the mean square counts half; then the root, its rounding, two products, the
  // weight's offset.
  return stored(arithmetic, result,
                (growth(n) / 2 + 5) * kU * std::fabs(result) + flip(arithmetic, std::fabs(result)));
}

double layer_norm(Arithmetic arithmetic, std::int64_t n, double result, double gain,
                  double mean_magnitude, double deviation, double bias) {
  const double mean_error = (growth(n) + 1) * kU * mean_magnitude;
  // The mean's error shifts every deviation; in the variance it counts squared and is lost in the
  // next term.
  const double relative = (growth(n) / 2 + 6) * kU;
  return stored(arithmetic, result, gain * (2 * mean_error + relative * deviation) + kU * bias);
}

double rope(Arithmetic arithmetic, double result, double magnitude) {
  return stored(arithmetic, result, 2 * kU * magnitude + flip(arithmetic, magnitude));
}

double attention(Arithmetic arithmetic, double result, const AttentionScale& scale) {
  // A score's error is absolute and becomes a relative one of its probability; exp itself errs by 2
  // u, its argument s - max by u |s - max| <= 2 u |score|.
  const double probability = (growth(scale.head_dim) + 4) * kU * scale.score + 3 * kU;
  const double sums = 2 * growth(scale.keys) * kU;
  double error = (2 * probability + sums) * scale.value;
  if (!exact(arithmetic)) {
    // Each probability is rounded once, over whatever maximum was known then; both sides may differ
    // by s each.
    error += 2 * stored_roundoff(arithmetic) * scale.value;
    if (arithmetic == Arithmetic::kFp16) {  // probabilities below 2^-14 are FP16 subnormals
      error += static_cast<double>(scale.keys) * 0x1p-24 * scale.largest_value;
    }
  }
  return stored(arithmetic, result, error);
}

double activation(Arithmetic arithmetic, double result, double slope) {
  // Computed as f(x (1 + d1)) (1 + d2), |d| <= 8 u: e^x with 2 u, an exact GELU's polynomial, a
  // division, two or three products.  What underflows in e^x on the way is below 2^-120.
  return stored(arithmetic, result, 8 * kU * (std::fabs(result) + slope) + 0x1p-120);
}

double gated_activation(Arithmetic arithmetic, double activated, double slope, double up) {
  const double inner = activation(arithmetic, activated, slope);
  return stored(arithmetic, activated * up, inner * std::fabs(up));
}

double elementwise(Arithmetic arithmetic, int roundings, double magnitude) {
  return stored(arithmetic, magnitude, roundings * (kU * magnitude + flip(arithmetic, magnitude)));
}

double routing_weight(Arithmetic arithmetic, std::int64_t experts, double weight, double logit) {
  return stored(arithmetic, weight, (2 * growth(experts) + 8 + 4 * logit) * kU * weight);
}

double row_sum(std::int64_t n, double magnitude, double logit) {
  constexpr double kDoubleRoundoff = 0x1p-53;
  const double exponent = 4 * (2 * logit + std::log(static_cast<double>(n)));
  return (growth(n) + 16 + exponent) * kDoubleRoundoff * magnitude;
}

double same_bits_share(Arithmetic arithmetic) {
  // A result of relative error e flips with probability e / s: for 1000 terms about 10 u / s, 0.1 %
  // in FP16. Cancellation and chains of three roundings raise that; a missing rounding lowers it to
  // about a half.
  return exact(arithmetic) ? 0.0 : 0.97;
}

}  // namespace mg::contract
