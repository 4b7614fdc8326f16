#include "kernels/bench/peaks.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <atomic>

#include "kernels/bench/clock.h"

namespace mg::bench {
namespace {

constexpr std::size_t kMemoryBytes = std::size_t{256} << 20;

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

/// Reads n floats, n a multiple of 16.
void read_all(const float* data, std::int64_t n) {
  using Vec = float __attribute__((vector_size(64), aligned(4), may_alias));
  Vec total = {};
  for (std::int64_t i = 0; i < n; i += 16) {
    total += *reinterpret_cast<const Vec*>(data + i);
  }
  const float sum = total[0] + total[15];
  use(sum);
}

}  // namespace

Peaks::Peaks(std::string_view isa, ThreadPool& pool)
    : pool_(pool),
      multiply_adds_(portable_multiply_adds),
      memory_(kMemoryBytes / sizeof(float), 1.0F) {
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
  constexpr long kRounds = 200000;  // about a millisecond
  const int threads = pool_.threads();
  const Clock clock(threads);
  std::atomic<double> done{0};
  const double computing = clock.seconds([&] {
    pool_.for_chunks(threads, 1,
                     [&](std::int64_t, std::int64_t) { done = done + multiply_adds_(kRounds); });
  });
  flops_ = std::max(flops_, done / computing);

  const auto elements = static_cast<std::int64_t>(memory_.size());
  const double reading = clock.seconds([&] {
    pool_.for_chunks(elements / 8, std::int64_t{1} << 18,
                     [&](std::int64_t begin, std::int64_t end) {
                       read_all(memory_.data() + part_ * (elements / 8) + begin, end - begin);
                     });
  });
  part_ = (part_ + 1) % 8;  // each time another part, which no cache still holds
  bytes_ = std::max(bytes_, static_cast<double>(elements / 8) * 4 / reading);
}

}  // namespace mg::bench
