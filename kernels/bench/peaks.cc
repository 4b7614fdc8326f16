#include "kernels/bench/peaks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>

#include "kernels/bench/clock.h"

namespace mg::bench {
namespace {

constexpr std::int64_t kElements = std::int64_t{64}
                                   << 20;  // 256 MB, on large pages where there are any
constexpr std::int64_t kParts = 4;

/// Keeps a value alive without storing it.
template <typename T>
void use(const T& value) {
  asm volatile("" : : "x"(value));
}

// Sixteen chains hide the latency of any multiply-add unit so far; factors keep the sums finite.

double portable_multiply_adds(long rounds) {
  using Vec = float __attribute__((vector_size(16)));
  Vec sums[8] = {};
  const Vec a = Vec{} + 0.999F;
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 8
    for (Vec& sum : sums) {
      sum = sum * a + a;
    }
  }
  for (const Vec& sum : sums) {
    use(sum);
  }
  return 2.0 * 8 * 4 * static_cast<double>(rounds);
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] double avx2_multiply_adds(long rounds) {
  __m256 sums[12];
  for (__m256& sum : sums) {
    sum = _mm256_setzero_ps();
  }
  const __m256 a = _mm256_set1_ps(0.999F);
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (__m256& sum : sums) {
      sum = _mm256_fmadd_ps(sum, a, a);
    }
  }
  for (const __m256& sum : sums) {
    use(sum);
  }
  return 2.0 * 12 * 8 * static_cast<double>(rounds);
}

[[gnu::target("avx512f")]] double avx512_multiply_adds(long rounds) {
  __m512 sums[16];
  for (__m512& sum : sums) {
    sum = _mm512_setzero_ps();
  }
  const __m512 a = _mm512_set1_ps(0.999F);
  for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (__m512& sum : sums) {
      sum = _mm512_fmadd_ps(sum, a, a);
    }
  }
  for (const __m512& sum : sums) {
    asm volatile("" : : "v"(sum));
  }
  return 2.0 * 16 * 16 * static_cast<double>(rounds);
}
#endif

/// Reads n floats, n a multiple of 16: a line at a time into sums of their own, which stay in
/// registers on any processor.  It asks ahead, because what the processor fetches by itself ends at
/// each page of 4 KB.
void read_all(const float* data, std::int64_t n) {
  using Vec = float __attribute__((vector_size(16), aligned(4), may_alias));
  constexpr std::int64_t kAhead = 1024;
  Vec a = {};
  Vec b = {};
  Vec c = {};
  Vec d = {};
  for (std::int64_t i = 0; i < n; i += 16) {
    __builtin_prefetch(data + std::min(i + kAhead, n - 16));
    const Vec* line = reinterpret_cast<const Vec*>(data + i);
    a += line[0];
    b += line[1];
    c += line[2];
    d += line[3];
  }
  use(a);
  use(b);
  use(c);
  use(d);
}

}  // namespace

Peaks::Peaks(std::string_view isa, ThreadPool& pool)
    : pool_(pool), multiply_adds_(portable_multiply_adds), memory_(kElements) {
  std::fill_n(memory_.data(), kElements, 1.0F);
#if defined(__x86_64__)
  if (isa == "avx512") {
    multiply_adds_ = avx512_multiply_adds;
  } else if (isa == "avx2") {
    multiply_adds_ = avx2_multiply_adds;
  }
#endif
  for (int i = 0; i < 3; ++i) {
    measure();
  }
}

void Peaks::measure() {
  // Pieces of a tenth of a millisecond, many for each thread: a thread that was asleep when the
  // loop began misses little of it.
  constexpr long kRounds = 50000;
  constexpr int kPieces = 32;
  const int threads = pool_.threads();
  const Clock clock(threads);
  std::atomic<double> done{0};
  const double computing = clock.seconds([&] {
    pool_.for_chunks(threads * kPieces, 1,
                     [&](std::int64_t, std::int64_t) { done += multiply_adds_(kRounds); });
  });
  flops_ = std::max(flops_, done / computing);

  // A long run for each thread: what the machine fetches ahead of it is its own.
  const auto elements = kElements / kParts;
  const std::int64_t run = (elements / threads + 15) / 16 * 16;
  const double reading = clock.seconds([&] {
    pool_.for_chunks(elements, run, [&](std::int64_t begin, std::int64_t end) {
      read_all(memory_.data() + part_ * elements + begin, end - begin);
    });
  });
  part_ = (part_ + 1) % kParts;  // each time another part, which no cache still holds
  bytes_ = std::max(bytes_, static_cast<double>(elements) * 4 / reading);
}

}  // namespace mg::bench
