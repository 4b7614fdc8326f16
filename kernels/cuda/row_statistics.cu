// Sweeps over rows of logits and differences of rows of hidden states, in double.  A row is summed
// by the threads of a block, or of a warp, each taking every n-th element in rising order; their
// sums are added in one order.  What a row gives does not depend on the rows beside it.
#include "kernels/cuda/real.cuh"
#include "kernels/cuda/reduce.cuh"

namespace mg::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kWarps = kThreads / kWarp;
constexpr float kLargestFloat = 3.40282346638528859812e+38F;

__device__ __forceinline__ float logit_at(const DeviceRows& lane, std::int64_t row,
                                          std::int64_t v) {
  const std::int64_t i = row * lane.stride + v;
  switch (lane.element) {
    case Element::kF16:
      return widen(static_cast<const Half*>(lane.data)[i]);
    case Element::kBf16:
      return widen(static_cast<const Bfloat*>(lane.data)[i]);
    default:
      return static_cast<const float*>(lane.data)[i];
  }
}

__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) {
    value += __shfl_xor_sync(kAllLanes, value, bit);
  }
  return value;
}

/// A value and the token it belongs to.
struct Entry {
  double value;
  std::int32_t token;  // kNoToken: none
};

/// Larger first, then the lower token.  `none` has minus infinity and the highest token.
__device__ __forceinline__ bool before(const Entry& x, const Entry& y) {
  return x.value > y.value || (x.value == y.value && x.token < y.token);
}

__device__ __forceinline__ Entry first_of_warp(Entry own) {
#pragma unroll
  for (unsigned bit = kWarp / 2; bit > 0; bit /= 2) {
    const Entry other{__shfl_xor_sync(kAllLanes, own.value, bit),
                      __shfl_xor_sync(kAllLanes, own.token, bit)};
    own = before(other, own) ? other : own;
  }
  return own;
}

/// The first of all threads' entries, in every thread.
__device__ __forceinline__ Entry first_of_block(Entry own) {
  MG_SHARED(double, values, kWarps);
  MG_SHARED(std::int32_t, tokens, kWarps);
  own = first_of_warp(own);
  __syncthreads();  // an earlier call's entries have been read
  if (threadIdx.x % kWarp == 0) {
    values[threadIdx.x / kWarp] = own.value;
    tokens[threadIdx.x / kWarp] = own.token;
  }
  __syncthreads();
  own = {values[0], tokens[0]};
  for (unsigned i = 1; i < kWarps; ++i) {
    const Entry other{values[i], tokens[i]};
    own = before(other, own) ? other : own;
  }
  return own;
}

/// `count` sums over the block at once; thread i has the i-th, for i < count.  Once in a kernel: no
/// barrier keeps a second call from writing over what is still read.
template <int kCount>
__device__ __forceinline__ double sums_of_block(const double (&own)[kCount]) {
  static_assert(kCount <= static_cast<int>(kThreads));
  MG_SHARED(double, partial, kWarps* kCount);
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const double sum = warp_sum(own[i]);
    if (threadIdx.x % kWarp == 0) {
      partial[threadIdx.x / kWarp * kCount + static_cast<unsigned>(i)] = sum;
    }
  }
  __syncthreads();
  double sum = 0.0;
  for (unsigned w = 0; w < kWarps && threadIdx.x < kCount; ++w) {
    sum += partial[w * kCount + threadIdx.x];
  }
  return sum;
}

/// A thread's largest entries, best first.
struct Largest {
  float logit[kScanTop];
  std::int32_t token[kScanTop];
};

/// Called for entries that beat the last of `top`; what was equal keeps the lower token in front.
__device__ __forceinline__ void insert(Largest& top, float logit, std::int32_t token) {
#pragma unroll
  for (int i = 0; i < kScanTop; ++i) {
    const bool here = logit > top.logit[i] || (logit == top.logit[i] && token < top.token[i]);
    const float pushed_logit = top.logit[i];
    const std::int32_t pushed_token = top.token[i];
    top.logit[i] = here ? logit : pushed_logit;
    top.token[i] = here ? token : pushed_token;
    logit = here ? pushed_logit : logit;
    token = here ? pushed_token : token;
  }
}

__device__ __forceinline__ void drop_first(Largest& top) {
#pragma unroll
  for (int i = 0; i + 1 < kScanTop; ++i) {
    top.logit[i] = top.logit[i + 1];
    top.token[i] = top.token[i + 1];
  }
  top.logit[kScanTop - 1] = -INFINITY;
  top.token[kScanTop - 1] = kNoToken;
}

/// A block a row of a lane: its largest entries, what is not finite, and ln sum e^z.
__global__ void __launch_bounds__(kThreads) scan_kernel(const DeviceRows* lanes, std::int64_t rows,
                                                        std::int64_t vocabulary, LaneSweep* out) {
  const DeviceRows lane = lanes[blockIdx.x / rows];
  const std::int64_t row = blockIdx.x % rows;
  Largest top;
#pragma unroll
  for (int i = 0; i < kScanTop; ++i) {
    top.logit[i] = -INFINITY;
    top.token[i] = kNoToken;
  }
  double sums[2] = {0.0, 0.0};  // what is not finite, e^(z - largest)
  Entry first_bad{-INFINITY, kNoToken};
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += kThreads) {
    const float logit = logit_at(lane, row, v);
    const float magnitude = float_of(bits_of(logit) & 0x7FFFFFFFU);
    if (!(magnitude <= kLargestFloat)) {
      sums[0] += 1.0;
      const Entry here{0.0, static_cast<std::int32_t>(v)};
      first_bad = before(here, first_bad) ? here : first_bad;
    } else if (logit > top.logit[kScanTop - 1]) {
      insert(top, logit, static_cast<std::int32_t>(v));
    }
  }
  LaneSweep& result = out[blockIdx.x];
  double largest = 0.0;
  for (int i = 0; i < kScanTop; ++i) {
    const Entry best = first_of_block({static_cast<double>(top.logit[0]), top.token[0]});
    largest = i == 0 ? best.value : largest;
    if (top.token[0] == best.token) {
      drop_first(top);
    }
    if (threadIdx.x == 0) {
      result.scan.top_logit[i] = static_cast<float>(best.value);
      result.scan.top_id[i] = best.token;
    }
  }
  const Entry first = first_of_block(first_bad);
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += kThreads) {
    sums[1] += exp_of(static_cast<double>(logit_at(lane, row, v)) - largest);
  }
  const double sum = sums_of_block(sums);
  const double total = __shfl_sync(kAllLanes, sum, 1);  // every thread is here
  if (threadIdx.x == 0) {
    result.scan.non_finite = static_cast<std::int64_t>(sum);
    result.scan.first_non_finite = first.token;
    result.lse = sum > 0.0 ? 0.0 : largest + log_of(total);
  }
}

/// Places in the block's sums: PairSums without its two extremes, then the rank.
enum Sum : unsigned {
  kKl,
  kReverseKl,
  kJs,
  kTv,
  kD,
  kDd,
  kRr,
  kSs,
  kRs,
  kX,
  kY,
  kXx,
  kYy,
  kXy,
  kPx,
  kPBaseY,
  kBefore,
  kSums
};

/// The entries' contributions to the divergences, each a sum of terms that are never negative
/// (harness/metrics/row_sums_body.h has the derivation): exactly 0 for equal rows.
__device__ __forceinline__ void add_divergences(double p, double r, double s, double lse_reference,
                                                double lse_subject, double (&sums)[kSums]) {
  const double delta = (s - r) - (lse_subject - lse_reference);
  const double size = magnitude_of(delta);
  if (size <= 0.25) {
    const double phi = exp_minus_line(delta);
    const double e = delta + phi;
    const double h = 0.5 * delta;
    sums[kKl] += p * phi;
    sums[kReverseKl] += p * (delta * e - phi);
    sums[kJs] += 0.5 * p * (e * h - (2.0 + e) * log_cosh(h));
    sums[kTv] += 0.5 * p * magnitude_of(e);
    return;
  }
  const double q = exp_of(s - lse_subject);
  const double difference = q - p;
  const double shared = 0.69314718055994530942 - log_one_plus(exp_of(-size));
  sums[kKl] += difference - p * delta;
  sums[kReverseKl] += q * delta - difference;
  sums[kJs] += 0.5 * ((p + q) * shared - (p < q ? p : q) * size);
  sums[kTv] += 0.5 * magnitude_of(difference);
}

__device__ __forceinline__ void add_base(double p, double r, double s, double b, double lse_base,
                                         double (&sums)[kSums]) {
  const double x = r - b;
  const double y = s - b;
  sums[kX] += x;
  sums[kY] += y;
  sums[kXx] = fma(x, x, sums[kXx]);
  sums[kXy] = fma(x, y, sums[kXy]);
  sums[kYy] = fma(y, y, sums[kYy]);
  sums[kPx] = fma(p, x, sums[kPx]);
  sums[kPBaseY] = fma(exp_of(b - lse_base), y, sums[kPBaseY]);
}

/// PairSums holds these sums in this order, its two extremes between kDd and kRr.
static_assert(sizeof(PairSums) == (kBefore + 2) * sizeof(double));

__device__ __forceinline__ void store(double sum, unsigned i, PairSweep& out) {
  if (i < kBefore) {
    reinterpret_cast<double*>(&out.sums)[i < kRr ? i : i + 2] = sum;
  } else if (i == kBefore) {
    out.before_first = static_cast<std::int64_t>(sum);
  }
}

/// What one thread looks up beside the sums.
__device__ __forceinline__ void look_up(const DeviceRows& reference, const DeviceRows& subject,
                                        std::int64_t row, std::int32_t first, std::int32_t other,
                                        std::int32_t next, PairSweep& out) {
  out.reference_at_other = logit_at(reference, row, other);
  out.subject_at_first = logit_at(subject, row, first);
  out.reference_at_next = next < 0 ? 0.0F : logit_at(reference, row, next);
  out.subject_at_next = next < 0 ? 0.0F : logit_at(subject, row, next);
}

/// A block a row of a pair of lanes.
__global__ void __launch_bounds__(kThreads)
    compare_kernel(const DeviceRows* lanes, const LaneSweep* sweeps, const LanePair* pairs,
                   std::int64_t rows, std::int64_t vocabulary, const std::int32_t* next,
                   PairSweep* out) {
  const LanePair pair = pairs[blockIdx.x / rows];
  const std::int64_t row = blockIdx.x % rows;
  const LaneSweep& of_reference = sweeps[pair.reference * rows + row];
  const LaneSweep& of_subject = sweeps[pair.subject * rows + row];
  PairSweep& result = out[blockIdx.x];
  if (of_reference.scan.non_finite > 0 || of_subject.scan.non_finite > 0) {
    return;  // the whole block; what was set to zero before stays
  }
  const DeviceRows reference = lanes[pair.reference];
  const DeviceRows subject = lanes[pair.subject];
  const bool with_base = pair.base >= 0 && sweeps[pair.base * rows + row].scan.non_finite == 0;
  const DeviceRows base = with_base ? lanes[pair.base] : reference;
  const double lse_reference = of_reference.lse;
  const double lse_subject = of_subject.lse;
  const double lse_base = with_base ? sweeps[pair.base * rows + row].lse : 0.0;
  const std::int32_t first = of_reference.scan.top_id[0];
  const auto at_first = static_cast<double>(logit_at(subject, row, first));
  double sums[kSums] = {};
  Entry highest{-INFINITY, kNoToken};
  Entry lowest{-INFINITY, kNoToken};  // of -d
  for (std::int64_t v = threadIdx.x; v < vocabulary; v += kThreads) {
    const auto token = static_cast<std::int32_t>(v);
    const auto r = static_cast<double>(logit_at(reference, row, v));
    const auto s = static_cast<double>(logit_at(subject, row, v));
    const double d = s - r;
    highest = d > highest.value ? Entry{d, token} : highest;
    lowest = -d > lowest.value ? Entry{-d, token} : lowest;
    sums[kD] += d;
    sums[kDd] = fma(d, d, sums[kDd]);
    sums[kRr] = fma(r, r, sums[kRr]);
    sums[kRs] = fma(r, s, sums[kRs]);
    sums[kSs] = fma(s, s, sums[kSs]);
    sums[kBefore] += s > at_first || (s == at_first && token < first) ? 1.0 : 0.0;
    const double p = exp_of(r - lse_reference);
    add_divergences(p, r, s, lse_reference, lse_subject, sums);
    if (with_base) {
      add_base(p, r, s, static_cast<double>(logit_at(base, row, v)), lse_base, sums);
    }
  }
  const double sum = sums_of_block(sums);
  store(sum, threadIdx.x, result);
  highest = first_of_block(highest);
  lowest = first_of_block(lowest);
  if (threadIdx.x == 0) {
    result.sums.d_max = highest.value;
    result.sums.d_min = -lowest.value;
    result.max_token = highest.token;
    result.min_token = lowest.token;
    look_up(reference, subject, row, first, of_subject.scan.top_id[0], next[row], result);
  }
}

constexpr unsigned kRowsPerBlock = kThreads / kWarp;

/// A warp a row.
__global__ void __launch_bounds__(kThreads)
    squares_kernel(DeviceRows subject, DeviceRows reference, const std::int32_t* reference_rows,
                   std::int64_t rows, std::int64_t width, RowSquares* out) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kRowsPerBlock + threadIdx.y;
  if (row >= rows) {
    return;  // the whole warp: nobody waits for it
  }
  const std::int64_t beside = reference_rows == nullptr ? row : reference_rows[row];
  RowSquares own;
  for (std::int64_t i = threadIdx.x; i < width; i += kWarp) {
    const auto r = static_cast<double>(logit_at(reference, beside, i));
    const auto s = static_cast<double>(logit_at(subject, row, i));
    const double d = s - r;
    own.difference = fma(d, d, own.difference);
    own.reference = fma(r, r, own.reference);
    own.subject = fma(s, s, own.subject);
  }
  own.difference = warp_sum(own.difference);
  own.reference = warp_sum(own.reference);
  own.subject = warp_sum(own.subject);
  if (threadIdx.x == 0) {
    out[row] = own;
  }
}

}  // namespace

void scan_logits(const DeviceRows* lanes, std::int64_t lane_count, std::int64_t rows,
                 std::int64_t vocabulary, LaneSweep* out, cudaStream_t stream) {
  launch("scan_logits", {dim3(static_cast<unsigned>(lane_count * rows)), dim3(kThreads), 0}, stream,
         scan_kernel, lanes, rows, vocabulary, out);
}

void compare_logits(const LogitComparison& call, PairSweep* out, cudaStream_t stream) {
  launch("compare_logits",
         {dim3(static_cast<unsigned>(call.pair_count * call.rows)), dim3(kThreads), 0}, stream,
         compare_kernel, call.lanes, call.sweeps, call.pairs, call.rows, call.vocabulary, call.next,
         out);
}

void row_squares(DeviceRows subject, DeviceRows reference, const std::int32_t* reference_rows,
                 std::int64_t rows, std::int64_t width, RowSquares* out, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>((rows + kRowsPerBlock - 1) / kRowsPerBlock);
  launch("row_squares", {dim3(blocks), dim3(kWarp, kRowsPerBlock), 0}, stream, squares_kernel,
         subject, reference, reference_rows, rows, width, out);
}

}  // namespace mg::cuda
