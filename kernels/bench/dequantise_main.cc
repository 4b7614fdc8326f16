// Dequantisation on one core, beside what that core moves to and from memory in the same run.
//
//   dequantise_bench [--elements=N] [--rounds=R] [--json]
//
// Rounds take every measurement in turn, so that a busy machine slows all alike; the best of each
// counts.  "copy" is memcpy of FP32, bytes read and written counted once each, as for the others.
// Every form is first checked against the portable path.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstring>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/dequantise.h"

namespace mg::bench {
namespace {

constexpr std::int64_t kCols = 4096;
constexpr std::int64_t kBlock = 64;

struct Job {
  std::string name;
  double bytes = 0;  // moved by one call, each once
  std::function<void()> run;
  double best = 1e30;  // seconds
};

struct AlignedFloats {
  explicit AlignedFloats(std::int64_t n)
      : data(static_cast<float*>(
            ::operator new (static_cast<std::size_t>(n) * sizeof(float), std::align_val_t{4096}))) {
    std::fill_n(data, n, 1.0F);  // every page there before anything is timed
  }
  ~AlignedFloats() { ::operator delete (data, std::align_val_t{4096}); }
  AlignedFloats(const AlignedFloats&) = delete;
  AlignedFloats& operator=(const AlignedFloats&) = delete;
  float* data;
};

template <typename Matrix>
bool is_right(const Matrix& matrix, float* out) {
  const std::int64_t rows = std::min<std::int64_t>(matrix.rows, 64);
  std::vector<float> expected(static_cast<std::size_t>(rows * matrix.cols));
  dequantise_rows(matrix, 0, rows, expected.data(), DequantiseIsa::kPortable);
  dequantise_rows(matrix, 0, rows, out);
  return std::memcmp(expected.data(), out, expected.size() * sizeof(float)) == 0;
}

std::int64_t number(std::string_view argument, std::string_view name, std::int64_t fallback) {
  if (!argument.starts_with(name)) {
    return fallback;
  }
  std::from_chars(argument.data() + name.size(), argument.data() + argument.size(), fallback);
  return fallback;
}

int run(int argc, char** argv) {
  std::int64_t elements = std::int64_t{1} << 26;
  std::int64_t rounds = 7;
  bool json = false;
  for (int i = 1; i < argc; ++i) {
    elements = number(argv[i], "--elements=", elements);
    rounds = number(argv[i], "--rounds=", rounds);
    json = json || std::string_view(argv[i]) == "--json";
  }
  const std::int64_t rows = std::max<std::int64_t>(64, elements / kCols);
  elements = rows * kCols;
  const auto n = static_cast<double>(elements);
  const AlignedFloats from(elements);
  const AlignedFloats out(elements);
  std::vector<std::byte> codes(static_cast<std::size_t>(elements));
  std::vector<float> scales(static_cast<std::size_t>(elements / kBlock), 0.02F);
  std::vector<float> levels(256, 0.01F);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<std::byte>(i * 2654435761U >> 13U);
  }
  const auto bytes_of = [](const std::vector<float>& values) {
    return reinterpret_cast<const std::byte*>(values.data());
  };
  const FourBitMatrix nf4{.rows = rows,
                          .cols = kCols,
                          .codes = codes.data(),
                          .levels = kNf4Levels.data(),
                          .block = kBlock,
                          .absmax = bytes_of(scales)};
  FourBitMatrix nested = nf4;
  nested.absmax = codes.data();
  nested.nested_levels = bytes_of(levels);
  nested.nested_absmax = bytes_of(scales);
  nested.nested_block = 256;
  const EightBitMatrix int8{
      .rows = rows, .cols = kCols, .codes = codes.data(), .scale = bytes_of(scales)};
  if (!is_right(nf4, out.data) || !is_right(nested, out.data) || !is_right(int8, out.data)) {
    fmt::print(stderr, "the vector path disagrees with the portable one\n");
    return 1;
  }
  const double scale_bytes = 4.0 / static_cast<double>(kBlock);
  std::vector<Job> jobs = {
      {"copy", 8 * n,
       [&] { std::memcpy(out.data, from.data, static_cast<std::size_t>(elements) * 4); }},
      {"nf4", (4.5 + scale_bytes) * n, [&] { dequantise_rows(nf4, 0, rows, out.data); }},
      {"nf4-nested", (4.5 + scale_bytes / 4) * n,
       [&] { dequantise_rows(nested, 0, rows, out.data); }},
      {"int8", 5 * n, [&] { dequantise_rows(int8, 0, rows, out.data); }}};
  for (std::int64_t round = 0; round < rounds; ++round) {
    for (Job& job : jobs) {
      const auto begin = std::chrono::steady_clock::now();
      job.run();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      job.best = std::min(job.best, took.count());
    }
  }
  const double peak = jobs.front().bytes / jobs.front().best;
  for (const Job& job : jobs) {
    const double rate = job.bytes / job.best;
    fmt::print("{}",
               json ? fmt::format("{{\"name\": \"{}\", \"seconds\": {:.6g}, \"gb_per_s\": "
                                  "{:.4g}, \"of_copy\": {:.4g}, \"elements\": {}}}\n",
                                  job.name, job.best, rate * 1e-9, rate / peak, elements)
                    : fmt::format("{:<11} {:6.2f} GB/s  {:4.0f} % of copy  {:5.2f} Gelement/s\n",
                                  job.name, rate * 1e-9, 100 * rate / peak, n / job.best * 1e-9));
  }
  return 0;
}

}  // namespace
}  // namespace mg::bench

int main(int argc, char** argv) {
  return mg::bench::run(argc, argv);
}
