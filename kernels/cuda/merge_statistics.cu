// The audit's inner loop (harness/audit/measure_kernel.cc), bit for bit.  Four threads take a
// chunk, each every fourth element in rising order, as the four lanes of the host's vectors do;
// their sums are added in the host's pairs.  No sum leaves its chunk.
#include "kernels/cuda/real.cuh"
#include "kernels/cuda/reduce.cuh"

namespace mg::cuda {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kLanes = 4;
constexpr unsigned kChunksPerBlock = kThreads / kLanes;

__device__ __forceinline__ bool finite(double x) {
  return x - x == 0.0;
}

/// round_to_grid() of kernels/core/rounding.h.
__device__ __forceinline__ double on_grid(double x, const GridFormat& format) {
  const std::int64_t bits = bits_of(x);
  const std::int64_t sign = bits & INT64_MIN;
  const std::int64_t unit = std::int64_t{1} << format.shift;
  const std::int64_t odd = (bits >> format.shift) & 1;
  const std::int64_t half = (unit >> 1) - 1 + odd;
  const double normal = double_of(static_cast<std::int64_t>(static_cast<std::uint64_t>(bits) +
                                                            static_cast<std::uint64_t>(half)) &
                                  ~(unit - 1));
  const double magic = format.subnormal_step * 0x1.8p52;
  const double small = (x + magic) - magic;
  const double subnormal = double_of((bits_of(small) & INT64_MAX) | sign);
  const double rounded = magnitude_of(x) < format.min_normal ? subnormal : normal;
  const double infinity = double_of(sign | 0x7FF0000000000000LL);
  const double limited = magnitude_of(rounded) >= format.overflow ? infinity : rounded;
  return x == x ? limited : x;
}

/// Where an element stands in the tensor and in the part of it that is here.
struct Place {
  std::int64_t row;
  std::int64_t col;
};

__device__ __forceinline__ double delta_at(const MergeSlice& slice, const Place& at) {
  const double* left = slice.left + at.row * slice.rank;
  const double* right = slice.right +
                        (at.col / MergePass::kPanel * slice.rank * MergePass::kPanel) +
                        at.col % MergePass::kPanel;
  double sum = 0.0;
  for (std::int64_t k = 0; k < slice.rank; ++k) {
    sum += right[k * MergePass::kPanel] * left[k];
  }
  return sum * slice.scale;
}

/// Whether a scale at one of the bounds takes W + D out of the numbers that round to M.
__device__ __forceinline__ bool may_bound(const MergeSlice& slice, double w, double m, double d) {
  double power = double_of(bits_of(m) & 0x7FF0000000000000LL);
  power = power < slice.store.min_normal ? slice.store.min_normal : power;
  const double gap = power * slice.half_ulp;
  const double done = m - w;
  return magnitude_of(d * slice.scale_low - done) > gap ||
         magnitude_of(d * slice.scale_high - done) > gap;
}

/// A thread's share of a chunk: its doubles, its counts.
enum Sum : unsigned {
  kWeight,
  kDelta,
  kResidualDelta,
  kResidual,
  kStep,
  kErrorStep,
  kError,
  kNoise,
  kMaxMerged,
  kMaxExpected,
  kSums
};
enum Count : unsigned { kNonzero, kUnchanged, kChanged, kDiffering, kSubnormal, kCounts };
static_assert(sizeof(MergeSums) == kSums * sizeof(double) + kCounts * sizeof(std::int64_t));

struct Share {
  double sums[kSums];
  std::int32_t counts[kCounts];
};

__device__ __forceinline__ void add_element(double w, double m, double d, double x, double p,
                                            const GridFormat& store, Share& own) {
  const double done = m - w;
  const double residual = done - d;
  const double error = m - p;
  const double step = p - w;
  const double noise = p - x;
  own.sums[kWeight] += w * w;
  own.sums[kDelta] += d * d;
  own.sums[kResidualDelta] += residual * d;
  own.sums[kResidual] += residual * residual;
  own.sums[kStep] += step * step;
  own.sums[kErrorStep] += error * step;
  own.sums[kError] += error * error;
  own.sums[kNoise] += noise * noise;
  const double of_merged = magnitude_of(m);
  const double of_expected = magnitude_of(x);
  own.sums[kMaxMerged] = of_merged > own.sums[kMaxMerged] ? of_merged : own.sums[kMaxMerged];
  own.sums[kMaxExpected] =
      of_expected > own.sums[kMaxExpected] ? of_expected : own.sums[kMaxExpected];
  own.counts[kNonzero] += d != 0.0 ? 1 : 0;
  own.counts[kUnchanged] += d != 0.0 && m == w ? 1 : 0;
  own.counts[kChanged] += m != w ? 1 : 0;
  own.counts[kDiffering] += error != 0.0 ? 1 : 0;
  own.counts[kSubnormal] += of_merged < store.min_normal && m != 0.0 ? 1 : 0;
}

/// The four threads' shares, added in pairs, in the first of them.
__device__ __forceinline__ void join(Share& own) {
#pragma unroll
  for (unsigned bit = 1; bit < kLanes; bit *= 2) {
#pragma unroll
    for (unsigned i = 0; i < kSums; ++i) {
      const double other = __shfl_xor_sync(kAllLanes, own.sums[i], bit);
      const double larger = other > own.sums[i] ? other : own.sums[i];
      own.sums[i] = i < kMaxMerged ? own.sums[i] + other : larger;
    }
#pragma unroll
    for (unsigned i = 0; i < kCounts; ++i) {
      own.counts[i] += __shfl_xor_sync(kAllLanes, own.counts[i], bit);
    }
  }
}

__device__ __forceinline__ void store(const Share& own, bool all_finite, MergeSums& out) {
  auto* sums = reinterpret_cast<double*>(&out);
  auto* counts = reinterpret_cast<std::int64_t*>(sums + kSums);
  // A chunk of correct roundings alone takes its residuals for the noise, as the host does.
  const bool exact = all_finite && own.counts[kDiffering] == 0;
#pragma unroll
  for (unsigned i = 0; i < kSums; ++i) {
    sums[i] = i == kNoise && exact ? own.sums[kResidual] : own.sums[i];
  }
#pragma unroll
  for (unsigned i = 0; i < kCounts; ++i) {
    counts[i] = own.counts[i];
  }
}

__global__ void __launch_bounds__(kThreads)
    merge_kernel(MergeSlice slice, MergeSums* sums, GroupLook* looks) {
  const std::int64_t index =
      static_cast<std::int64_t>(blockIdx.x) * kChunksPerBlock + threadIdx.x / kLanes;
  if (index / (kWarp / kLanes) * (kWarp / kLanes) >= slice.chunk_count) {
    return;  // the whole warp: nobody waits for it
  }
  const bool live = index < slice.chunk_count;
  const MergeChunk chunk = live ? slice.chunks[index] : MergeChunk{slice.begin, 0};
  const unsigned lane = threadIdx.x % kLanes;
  const std::int64_t first = chunk.begin + lane;
  Place at{first / slice.cols, first % slice.cols};
  Share own{};
  bool all_finite = true;
  for (std::int64_t group = 0; group < kMergeGroups; ++group) {
    const std::int64_t i = group * kLanes + lane;
    double w = 0.0;
    double m = 0.0;
    double d = 0.0;
    if (i < chunk.count) {
      const std::int64_t here = chunk.begin - slice.begin + i;
      w = static_cast<double>(load_stored(slice.base, here));
      m = static_cast<double>(load_stored(slice.merged, here));
      d = delta_at(slice, at);
    }
    const double x = w + d;
    const double p = on_grid(x, slice.store);
    const unsigned place = threadIdx.x % kWarp / kLanes * kLanes;
    const bool usable = finite(x) && finite(m) && finite(p);
    const bool group_usable = ((__ballot_sync(kAllLanes, usable) >> place) & 0xFU) == 0xFU;
    bool look = false;
    if (group_usable) {
      add_element(w, m, d, x, p, slice.store, own);
      look = m != p || may_bound(slice, w, m, d);
    }
    all_finite = all_finite && group_usable;
    const bool group_look = ((__ballot_sync(kAllLanes, look) >> place) & 0xFU) != 0;
    if (live && lane == 0) {
      looks[index * kMergeGroups + group] = !group_usable ? GroupLook::kNotFinite
                                            : group_look  ? GroupLook::kFinite
                                                          : GroupLook::kNone;
    }
    for (at.col += kLanes; at.col >= slice.cols; at.col -= slice.cols) {
      ++at.row;
    }
  }
  join(own);
  if (live && lane == 0) {
    store(own, all_finite, sums[index]);
  }
}

}  // namespace

void merge_statistics(const MergeSlice& slice, MergeSums* sums, GroupLook* looks,
                      cudaStream_t stream) {
  const auto blocks =
      static_cast<unsigned>((slice.chunk_count + kChunksPerBlock - 1) / kChunksPerBlock);
  launch("merge_statistics", {dim3(blocks), dim3(kThreads), 0}, stream, merge_kernel, slice, sums,
         looks);
}

}  // namespace mg::cuda
