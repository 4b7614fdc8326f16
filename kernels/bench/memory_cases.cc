// Copies, gathers and embeddings: operations that only move bytes, or nearly.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/bench/rows.h"
#include "kernels/contract/tolerance.h"

namespace mg::bench {
namespace {

using contract::StoredTensor;

double nothing(double, double, double) {
  return 0;
}

std::vector<std::int32_t> shuffled(std::int64_t n) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  contract::Random random(61);
  for (std::int64_t i = n - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(random.below(i + 1))]);
  }
  return order;
}

void add_copies(OperationCases& cases, std::int64_t rows, std::int64_t cols) {
  const auto add = [&](const char* what, double bytes, auto call) {
    cases.push_back(row_case({.name = fmt::format("{}/{}", what, cols),
                              .rows = rows,
                              .cols = cols,
                              .flops = 0,
                              .bytes = bytes,
                              .call = call,
                              .repeats = true,
                              .allowed = nothing}));
  };
  const std::vector<std::int32_t> order = shuffled(rows);
  const std::vector<float> values(static_cast<std::size_t>(rows * cols), 1.5F);
  const std::vector<float> factors(static_cast<std::size_t>(rows), 0.5F);
  add("upload", 8, [values](Backend& backend, Mat, Mat y) { backend.upload(values, y); });
  add("copy", 8, [](Backend& backend, Mat x, Mat y) { backend.copy(x, y); });
  add("fill_zero", 4, [](Backend& backend, Mat, Mat y) { backend.fill_zero(y); });
  add("gather_rows", 8,
      [order](Backend& backend, Mat x, Mat y) { backend.gather_rows(x, order, y); });
  // Through a window of half the columns, which read() has to copy.
  add("read", 8, [](Backend& backend, Mat x, Mat y) {
    std::vector<float> staging;
    const Mat window = x.col_range(0, x.cols - 1);
    backend.upload(backend.read(window, staging), y.col_range(0, y.cols - 1));
  });
  cases.push_back(
      row_case({.name = fmt::format("scatter_add_rows/{}", cols),
                .rows = rows,
                .cols = cols,
                .flops = 2,
                .bytes = 12,
                .call = [order, factors](Backend& backend, Mat x,
                                         Mat y) { backend.scatter_add_rows(x, order, factors, y); },
                .repeats = true,
                .allowed =
                    [](double, double y, double expected) {
                      return contract::elementwise(Arithmetic::kExact, 2,
                                                   2 * std::fabs(y) + std::fabs(expected));
                    }}));
}

void add_embeddings(OperationCases& cases, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kVocabulary = 49152;
  constexpr std::int64_t kRank = 16;
  contract::Random random(62);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(rows));
  std::generate(ids.begin(), ids.end(),
                [&] { return static_cast<std::int32_t>(random.below(kVocabulary)); });
  // A table of zeros but for the rows that are asked for would be as fast: the bytes are what
  // counts, and they are made only when a case is run.
  struct Tables {
    StoredTensor table, a, b;
  };
  auto tables = std::make_shared<Tables>();
  const auto fill = [tables, cols] {
    if (tables->table.bytes.empty()) {
      contract::Random values(63);
      tables->table = contract::random_tensor(values, DType::kF16, {kVocabulary, cols}, 1.0);
      tables->a = contract::random_tensor(values, DType::kF16, {kRank, kVocabulary}, 0.3);
      tables->b = contract::random_tensor(values, DType::kF16, {cols, kRank}, 0.3);
    }
  };
  cases.push_back(row_case({.name = fmt::format("embed/F16 {}", cols),
                            .rows = rows,
                            .cols = cols,
                            .flops = 0,
                            .bytes = 6,
                            .call =
                                [fill, tables, ids](Backend& backend, Mat, Mat y) {
                                  fill();
                                  backend.embed(tables->table.view(), ids, 1.0, y);
                                },
                            .repeats = true,
                            .allowed = nothing}));
  // |scale| * R * |A| * |B| with values below 6 deviations of 0.3
  cases.push_back(row_case({.name = fmt::format("low_rank_embed/F16 R{} {}", kRank, cols),
                            .rows = rows,
                            .cols = cols,
                            .flops = 2 * kRank + 2,
                            .bytes = 8,
                            .call =
                                [fill, tables, ids](Backend& backend, Mat, Mat y) {
                                  fill();
                                  backend.low_rank_embed(ids, tables->a.view(), tables->b.view(),
                                                         1.5, y);
                                },
                            .repeats = true,
                            .allowed =
                                [](double, double y, double expected) {
                                  return contract::low_rank(Arithmetic::kExact, 0, kRank, expected,
                                                            1.5 * kRank * 1.8 * 1.8, std::fabs(y));
                                }}));
}

}  // namespace

void add_memory_cases(OperationCases& cases) {
  add_copies(cases, 1024, 576);
  add_embeddings(cases, 1024, 576);
}

}  // namespace mg::bench
