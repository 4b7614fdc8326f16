#include "harness/audit/measure_kernel.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/vec4.h"

namespace mg {
namespace {

// Groups whose masks are or-ed before a branch asks.
constexpr std::int64_t kGroupsPerLook = 8;

struct Accumulators {
  Vec4 weight_square = {};
  Vec4 delta_square = {};
  Vec4 residual_delta = {};
  Vec4 residual_square = {};
  Vec4 step_square = {};
  Vec4 error_step = {};
  Vec4 error_square = {};
  Vec4 noise_square = {};
  Vec4 max_merged = {};
  Vec4 max_expected = {};
  // Masks are minus one where they hold: subtracting them counts.
  Mask4 nonzero_delta = {};
  Mask4 unchanged = {};
  Mask4 changed = {};
  Mask4 differing = {};
  Mask4 subnormal = {};
};

double sum_of(const Vec4& v) {
  return (v[0] + v[1]) + (v[2] + v[3]);
}
double max_of(const Vec4& v) {
  return std::max(std::max(v[0], v[1]), std::max(v[2], v[3]));
}
std::int64_t count_of(const Mask4& m) {
  return m[0] + m[1] + m[2] + m[3];
}

[[gnu::always_inline]] inline void chunk_body(KernelChunk& chunk, const GridFormat& store,
                                              Accumulators& a) {
  const GridFormat format = store;
  // Half an ulp at x is 2^(exponent of x) times this.
  const double half_ulp = std::ldexp(1.0, format.shift - 53);
  const Bits4 exponent_bits = Bits4{} + 0x7FF0000000000000ULL;
  const double scale_low = chunk.scale_low;
  const double scale_high = chunk.scale_high;
  std::int64_t flags = 0;
  for (std::int64_t group = 0; group < chunk.groups; ++group) {
    Vec4 w;
    Vec4 m;
    Vec4 d;
    load4(chunk.weight + group * 4, w);
    load4(chunk.merged + group * 4, m);
    load4(chunk.delta + group * 4, d);
    const Vec4 x = w + d;
    Vec4 p;
    round_to_grid(x, format, p);
    // Zero where all three are finite, NaN elsewhere.
    const Vec4 probe = (x - x) + (m - m) + (p - p);
    if (any(probe != 0.0)) {
      chunk.flags[flags++] = {static_cast<std::int32_t>(group), false};
      continue;
    }
    const Vec4 residual = (m - w) - d;  // exactly -d where nothing was merged
    const Vec4 error = m - p;
    const Vec4 step = p - w;
    a.weight_square += w * w;
    a.delta_square += d * d;
    a.residual_delta += residual * d;
    a.residual_square += residual * residual;
    a.step_square += step * step;
    a.error_step += error * step;
    a.error_square += error * error;
    const Vec4 noise = p - x;
    a.noise_square += noise * noise;
    Vec4 m_magnitude;
    Vec4 x_magnitude;
    absolute(m, m_magnitude);
    absolute(x, x_magnitude);
    a.max_merged = m_magnitude > a.max_merged ? m_magnitude : a.max_merged;
    a.max_expected = x_magnitude > a.max_expected ? x_magnitude : a.max_expected;
    const Mask4 has_delta = d != 0.0;
    const Mask4 changed = m != w;
    const Mask4 differs = error != 0.0;
    a.nonzero_delta -= has_delta;
    a.unchanged -= has_delta & ~changed;
    a.changed -= changed;
    a.differing -= differs;
    a.subnormal -= (m_magnitude < format.min_normal) & (m != 0.0);
    Mask4 look = differs;
    if (chunk.bound_scale) {
      Bits4 bits;
      bits_of(m_magnitude, bits);
      Vec4 power;
      from_bits(bits & exponent_bits, power);
      power = power < format.min_normal ? Vec4{} + format.min_normal : power;
      const Vec4 gap = power * half_ulp;
      const Vec4 done = m - w;
      Vec4 at_low;
      Vec4 at_high;
      absolute(d * scale_low - done, at_low);
      absolute(d * scale_high - done, at_high);
      look |= (at_low > gap) | (at_high > gap);
    }
    if (any(look)) {
      chunk.flags[flags++] = {static_cast<std::int32_t>(group), true};
    }
  }
  chunk.flag_count = flags;
}

/// The chunk where every element is the correct rounding of W + D, as nearly all are in a right
/// merge by one rounding: then P is M, the errors are zero and the noise is the residual, so that a
/// third of the work falls away.  False, with nothing of use in `a`, where that does not hold or an
/// element is not finite.  `flags` gets the groups that may tighten the scale.
[[gnu::always_inline]] inline bool exact_chunk_body(KernelChunk& chunk, const GridFormat& store,
                                                    Accumulators& a) {
  const GridFormat format = store;
  const double half_ulp = std::ldexp(1.0, format.shift - 53);
  const Bits4 exponent_bits = Bits4{} + 0x7FF0000000000000ULL;
  const std::uint64_t unit = std::uint64_t{1} << format.shift;
  const double magic = format.subnormal_step * 0x1.8p52;
  // Of an exact element |D*k - (M-W)| <= |D|*|k-1| + |M-W-D|.
  const double reach =
      std::max(std::fabs(chunk.scale_low - 1.0), std::fabs(chunk.scale_high - 1.0));
  Mask4 inexact = {};
  std::int64_t flags = 0;
  for (std::int64_t first = 0; first < chunk.groups; first += kGroupsPerLook) {
    const std::int64_t last = std::min(chunk.groups, first + kGroupsPerLook);
    Mask4 look = {};
    for (std::int64_t group = first; group < last; ++group) {
      Vec4 w;
      Vec4 m;
      Vec4 d;
      load4(chunk.weight + group * 4, w);
      load4(chunk.merged + group * 4, m);
      load4(chunk.delta + group * 4, d);
      const Vec4 x = w + d;
      Vec4 m_magnitude;
      Vec4 x_magnitude;
      absolute(m, m_magnitude);
      absolute(x, x_magnitude);
      // round_to_grid without its care for overflow and NaN, neither of which can equal a finite M
      // and leave the residual finite.
      Bits4 bits;
      bits_of(x, bits);
      const Bits4 odd = (bits >> static_cast<std::uint64_t>(format.shift)) & 1U;
      Vec4 normal;
      from_bits((bits + ((unit >> 1U) - 1U) + odd) & ~(unit - 1U), normal);
      const Vec4 small = (x + magic) - magic;
      const Vec4 p = x_magnitude < format.min_normal ? small : normal;
      inexact |= p != m;
      const Vec4 done = m - w;
      const Vec4 residual = done - d;
      a.weight_square += w * w;
      a.delta_square += d * d;
      a.residual_delta += residual * d;
      a.residual_square += residual * residual;
      a.step_square += done * done;
      a.max_merged = m_magnitude > a.max_merged ? m_magnitude : a.max_merged;
      a.max_expected = x_magnitude > a.max_expected ? x_magnitude : a.max_expected;
      const Mask4 has_delta = d != 0.0;
      const Mask4 same = done == 0.0;
      a.nonzero_delta -= has_delta;
      a.unchanged -= has_delta & same;
      a.changed -= ~same;
      a.subnormal -= (m_magnitude < format.min_normal) & (m != 0.0);
      Bits4 m_bits;
      bits_of(m_magnitude, m_bits);
      Vec4 power;
      from_bits(m_bits & exponent_bits, power);
      power = power < format.min_normal ? Vec4{} + format.min_normal : power;
      Vec4 off;
      Vec4 size;
      absolute(residual, off);
      absolute(d, size);
      look |= off + size * reach > power * half_ulp;
    }
    if (chunk.bound_scale && any(look)) {
      for (std::int64_t group = first; group < last; ++group) {
        chunk.flags[flags++] = {static_cast<std::int32_t>(group), true};
      }
    }
  }
  a.noise_square = a.residual_square;
  chunk.flag_count = flags;
  return !any(inexact) && std::isfinite(sum_of(a.residual_square));
}

[[gnu::always_inline]] inline void chunk_sums(KernelChunk& chunk, const GridFormat& store,
                                              MergeSums& sums) {
  Accumulators a;
  if (!exact_chunk_body(chunk, store, a)) {
    a = {};
    chunk_body(chunk, store, a);
  }
  MergeSums part;
  part.weight_square = sum_of(a.weight_square);
  part.delta_square = sum_of(a.delta_square);
  part.residual_delta = sum_of(a.residual_delta);
  part.residual_square = sum_of(a.residual_square);
  part.step_square = sum_of(a.step_square);
  part.error_step = sum_of(a.error_step);
  part.error_square = sum_of(a.error_square);
  part.noise_square = sum_of(a.noise_square);
  part.max_merged = max_of(a.max_merged);
  part.max_expected = max_of(a.max_expected);
  part.nonzero_delta = count_of(a.nonzero_delta);
  part.unchanged = count_of(a.unchanged);
  part.changed = count_of(a.changed);
  part.differing = count_of(a.differing);
  part.subnormal = count_of(a.subnormal);
  sums.add(part);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) void chunk_avx2(KernelChunk& chunk, const GridFormat& store,
                                                MergeSums& sums) {
  chunk_sums(chunk, store, sums);
}
#endif

}  // namespace

void measure_chunk(KernelChunk& chunk, const GridFormat& store, MergeSums& sums) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) {
    chunk_avx2(chunk, store, sums);
    return;
  }
#endif
  chunk_sums(chunk, store, sums);
}

void measure_element(double weight, double merged, double delta, const GridFormat& store,
                     MergeSums& sums) {
  const double x = weight + delta;
  const double p = round_to_grid(x, store);
  const double residual = (merged - weight) - delta;
  const double error = merged - p;
  const double step = p - weight;
  sums.weight_square += weight * weight;
  sums.delta_square += delta * delta;
  sums.residual_delta += residual * delta;
  sums.residual_square += residual * residual;
  sums.step_square += step * step;
  sums.error_step += error * step;
  sums.error_square += error * error;
  sums.noise_square += (p - x) * (p - x);
  sums.max_merged = std::max(sums.max_merged, std::fabs(merged));
  sums.max_expected = std::max(sums.max_expected, std::fabs(x));
  sums.nonzero_delta += delta != 0.0 ? 1 : 0;
  sums.unchanged += delta != 0.0 && merged == weight ? 1 : 0;
  sums.changed += merged != weight ? 1 : 0;
  sums.differing += error != 0.0 ? 1 : 0;
  sums.subnormal += std::fabs(merged) < store.min_normal && merged != 0.0 ? 1 : 0;
}

}  // namespace mg
