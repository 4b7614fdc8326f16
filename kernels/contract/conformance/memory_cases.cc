#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/contract/conformance/fixture.h"
#include "kernels/contract/tolerance.h"

namespace mg::contract {
namespace {

double exactly(std::size_t, double) {
  return 0;
}

struct MatSize {
  std::int64_t rows, cols;
};
constexpr MatSize kMatSizes[] = {{0, 4}, {1, 1}, {3, 17}, {31, 64}, {67, 300}};

/// n different numbers below `bound`, shuffled.
std::vector<std::int32_t> distinct_rows(Random& random, std::int64_t n, std::int64_t bound) {
  std::vector<std::int32_t> all(static_cast<std::size_t>(bound));
  std::iota(all.begin(), all.end(), 0);
  for (std::int64_t i = bound; i > 1; --i) {
    std::swap(all[static_cast<std::size_t>(i - 1)], all[static_cast<std::size_t>(random.below(i))]);
  }
  all.resize(static_cast<std::size_t>(n));
  return all;
}

CaseResult run_copy(const MatSize& size, const Parties& parties, Random& random) {
  std::vector<float> x = random.normals(size.rows * size.cols);
  if (!x.empty()) {
    x[x.size() / 2] = planted_value(Planted::kNan);
  }
  return judge(
      parties,
      [&](Backend& backend, Stage& stage) {
        const Mat out = stage.output(size.rows, size.cols);
        backend.copy(stage.put(x, size.rows, size.cols), out);
        return out;
      },
      exactly);
}

CaseResult run_fill(const MatSize& size, const Parties& parties) {
  return judge(
      parties,
      [&](Backend& backend, Stage& stage) {
        const Mat out = stage.output(size.rows, size.cols);
        backend.fill_zero(out);
        return out;
      },
      exactly);
}

CaseResult run_gather(const MatSize& size, const Parties& parties, Random& random) {
  const std::int64_t source_rows = size.rows + 3;
  const std::vector<float> x = random.normals(source_rows * size.cols);
  std::vector<std::int32_t> rows(static_cast<std::size_t>(size.rows));
  for (std::int32_t& row : rows) {
    row = static_cast<std::int32_t>(random.below(source_rows));  // repeats allowed
  }
  return judge(
      parties,
      [&](Backend& backend, Stage& stage) {
        const Mat out = stage.output(size.rows, size.cols);
        backend.gather_rows(stage.put(x, source_rows, size.cols), rows, out);
        return out;
      },
      exactly);
}

CaseResult run_scatter(const MatSize& size, const Parties& parties, Random& random) {
  const std::int64_t target_rows = size.rows + 5;
  std::vector<float> x = random.normals(size.rows * size.cols);
  const std::vector<float> y = random.normals(target_rows * size.cols);
  const std::vector<float> factors = random.normals(size.rows);
  const std::vector<std::int32_t> rows = distinct_rows(random, size.rows, target_rows);
  if (!x.empty()) {
    x[x.size() / 3] = planted_value(Planted::kInf);
  }
  // The largest |y| + |factor x| that meets at each element.
  std::vector<float> magnitudes = magnitude_of(y);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::int64_t c = 0; c < size.cols; ++c) {
      const auto from = i * static_cast<std::size_t>(size.cols) + static_cast<std::size_t>(c);
      magnitudes[static_cast<std::size_t>(rows[i] * size.cols + c)] +=
          std::fabs(factors[i] * x[from]);
    }
  }
  return judge(
      parties,
      [&](Backend& backend, Stage& stage) {
        const Mat out = stage.put(y, target_rows, size.cols);
        backend.scatter_add_rows(stage.put(x, size.rows, size.cols), rows, factors, out);
        return out;
      },
      [&](std::size_t i, double) {
        return elementwise(parties.subject.arithmetic(), 2, static_cast<double>(magnitudes[i]));
      });
}

}  // namespace

void add_memory_cases(Cases& cases) {
  for (const MatSize& size : kMatSizes) {
    const std::string name = fmt::format("{}x{}", size.rows, size.cols);
    add_case(cases, "copy", name,
             [size](const Parties& p, Random& random) { return run_copy(size, p, random); });
    add_case(cases, "fill_zero", name,
             [size](const Parties& p, Random&) { return run_fill(size, p); });
    add_case(cases, "gather_rows", name,
             [size](const Parties& p, Random& random) { return run_gather(size, p, random); });
    add_case(cases, "scatter_add_rows", name + (size.rows > 0 ? " Inf planted" : ""),
             [size](const Parties& p, Random& random) { return run_scatter(size, p, random); });
  }
}

}  // namespace mg::contract
