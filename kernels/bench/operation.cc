#include "kernels/bench/operation.h"

#include "kernels/contract/compare.h"

namespace mg::bench {
namespace {

std::vector<float> run_once(const Placed& placed) {
  if (placed.reset) {
    placed.reset();
  }
  placed.call();
  return placed.result();
}

}  // namespace

std::string check(const OperationCase& operation, Backend& subject, Backend& oracle) {
  const std::vector<float> expected = run_once(operation.place(oracle, operation.every));
  const Placed placed = operation.place(subject, 1);  // keeps the inputs while `allowed` reads them
  const std::vector<float> actual = every_row(run_once(placed), operation.cols, operation.every);
  if (expected.size() != actual.size()) {
    return "the oracle gives another number of elements";
  }
  std::vector<double> allowed;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    allowed.push_back(operation.allowed(i, static_cast<double>(expected[i])));
  }
  const contract::Comparison comparison = contract::compare(expected, actual, allowed);
  return comparison.ok() ? "" : contract::describe(comparison);
}

Mat Memory::put(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  const Mat matrix = room(rows, cols);
  backend_.upload(values, matrix);
  return matrix;
}

Mat Memory::room(std::int64_t rows, std::int64_t cols) {
  buffers_.push_back(backend_.allocate(rows * cols));
  return whole(*buffers_.back(), rows, cols);
}

std::vector<float> Memory::get(const Mat& x) const {
  std::vector<float> staging;
  const std::span<const float> values = backend_.read(x, staging);
  return {values.begin(), values.end()};
}

std::vector<float> every_row(const std::vector<float>& values, std::int64_t cols,
                             std::int64_t every) {
  std::vector<float> rows;
  const auto width = static_cast<std::ptrdiff_t>(cols);
  const auto total = static_cast<std::ptrdiff_t>(values.size()) / width;
  for (std::ptrdiff_t r = 0; r < total; r += every) {
    rows.insert(rows.end(), values.begin() + r * width, values.begin() + (r + 1) * width);
  }
  return rows;
}

}  // namespace mg::bench
