// Benchmarks of operations that go over rows: what they have in common.
#pragma once

#include <string>
#include <utility>

#include "kernels/bench/operation.h"

namespace mg::bench {

/// An operation over rows of a matrix: per element of the result, its flops and the bytes it moves.
struct RowOperation {
  std::string name;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  double flops = 0;
  double bytes = 0;
  /// Two random matrices [rows, cols], x unchanged and y to be changed or written.
  std::function<void(Backend& backend, Mat x, Mat y)> call;
  bool repeats = false;  // calls may follow one another: y's numbers stay ordinary
  /// From x[i], y[i] before the call and the oracle's result.
  std::function<double(double x, double y, double expected)> allowed;
};

inline OperationCase row_case(const RowOperation& operation) {
  struct Inputs {
    std::vector<float> x, y;
  };
  const std::int64_t n = operation.rows * operation.cols;
  auto in = std::make_shared<Inputs>();
  OperationCase c;
  c.name = operation.name + "/T:" + std::to_string(operation.rows);
  c.flops = operation.flops * static_cast<double>(n);
  c.bytes = operation.bytes * static_cast<double>(n);
  c.cols = operation.cols;
  c.place = [operation, in, n](Backend& backend, std::int64_t) {
    if (in->x.empty()) {
      contract::Random random(31);
      in->x = random.normals(n);
      in->y = random.normals(n);
    }
    auto memory = std::make_shared<Memory>(backend);
    const Mat x = memory->put(in->x, operation.rows, operation.cols);
    const Mat y = memory->put(in->y, operation.rows, operation.cols);
    Placed placed{{},
                  [&backend, call = operation.call, x, y] { call(backend, x, y); },
                  [memory, y] { return memory->get(y); }};
    if (!operation.repeats) {
      placed.reset = [&backend, in, y] { backend.upload(in->y, y); };
    }
    return placed;
  };
  c.allowed = [in, allowed = operation.allowed](std::size_t i, double expected) {
    return allowed(static_cast<double>(in->x[i]), static_cast<double>(in->y[i]), expected);
  };
  return c;
}

}  // namespace mg::bench
