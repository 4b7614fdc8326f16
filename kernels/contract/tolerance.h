// How far a backend's result may lie from the oracle's (kernels/reference: double, rounded where
// the arithmetic rounds), element by element: the numeric half of every operation's contract.  The
// rounding points are in README.md beside this file.  Tests take their tolerances from here and
// nowhere else.
//
// u = 2^-24 is the unit roundoff of FP32, in which backends compute; s that of the stored
// activations (2^-11 FP16, 2^-8 BF16, 2^-24 exact).  A sum of n rounded terms may err by growth(n)
// u times the sum of magnitudes, in any order and blocking: growth(n) = min(n, 6 sqrt n), the first
// proven, the second by the probabilistic analysis of Higham and Mary (2019, "A new approach to
// probabilistic rounding error analysis") with lambda = 6, which fails for less than one element in
// 10^7.  TF32 or FP16 accumulation breaks it, as it should.
//
// In fp16 and bf16, an FP32 error next to a rounding boundary makes the stored value the neighbour
// of the right one: one flip, 2 s times the magnitude.  Flips are rare; same_bits_share() says how
// rare, which also catches a rounding that is missing or in the wrong place.
#pragma once

#include <cstdint>

#include "kernels/backend.h"

namespace mg::contract {

/// Unit roundoff of FP32.
constexpr double kFloatRoundoff = 0x1p-24;
/// Half the smallest positive FP32 value, for results that underflow.
constexpr double kFloatTiny = 0x1p-149;

/// s above.
double stored_roundoff(Arithmetic arithmetic);

/// growth(n) above.
double growth(std::int64_t n);

/// One stored result: the error of computing it in FP32 plus, in fp16 and bf16, one flip.
double stored(Arithmetic arithmetic, double result, double computing_error);

/// sum of |x| |w| and |bias| over k inputs.
double linear(Arithmetic arithmetic, std::int64_t k, double result, double magnitude);

/// down: sum of |x| |A| carried through |B| and |scale|; y: |y| before.
double low_rank(Arithmetic arithmetic, std::int64_t k, std::int64_t rank, double result,
                double magnitude, double y);

/// n: elements normalised together.
double rms_norm(Arithmetic arithmetic, std::int64_t n, double result);

/// gain: |w| / standard deviation; mean_magnitude: mean of |x|; deviation: |x - mean|; bias: |b|.
double layer_norm(Arithmetic arithmetic, std::int64_t n, double result, double gain,
                  double mean_magnitude, double deviation, double bias);

/// magnitude: |x1 cos| + |x2 sin|.
double rope(Arithmetic arithmetic, double result, double magnitude);

struct AttentionScale {
  std::int64_t keys = 0;  // seen by the row
  std::int64_t head_dim = 0;
  double score = 0;  // largest |scale| * sum |q| |k| over the keys seen
  double value = 0;  // probability-weighted mean of |v|
  double largest_value = 0;
};
double attention(Arithmetic arithmetic, double result, const AttentionScale& scale);

/// slope: |x f'(x)|, how a relative error of the input reaches the result.
double activation(Arithmetic arithmetic, double result, double slope);
/// act(gate) * up; activated, slope: of the gate.
double gated_activation(Arithmetic arithmetic, double activated, double slope, double up);

/// `roundings` sums or products in a row whose operands are at most `magnitude`.
double elementwise(Arithmetic arithmetic, int roundings, double magnitude);

/// A routing weight; logit: largest |logit| of the row.
double routing_weight(Arithmetic arithmetic, std::int64_t experts, double weight, double logit);

/// A sum over n entries of a row in double; magnitude: sum of the terms' magnitudes, logit: largest
/// |z|.  A term may hold e^(z - lse), whose exponent is off by a few roundings of |z| and of lse <=
/// |z| + ln n.
double row_sum(std::int64_t n, double magnitude, double logit);

/// The smallest share of elements that must equal the oracle's bit for bit in fp16 and bf16.
double same_bits_share(Arithmetic arithmetic);

}  // namespace mg::contract
