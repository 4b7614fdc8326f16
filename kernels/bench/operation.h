// One operation of kernels/backend.h at one shape, as the benchmarks see it: what it costs, how to
// run it, and how to tell whether its result is right.  Not for: timing (measure.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/bench/yardstick.h"
#include "kernels/contract/conformance/fixture.h"

namespace mg::bench {

/// An operation whose inputs lie in a backend's memory.
struct Placed {
  std::function<void()> reset;  // before each call, not timed; empty where a call may be repeated
  std::function<void()> call;
  std::function<std::vector<float>()> result;
};

struct OperationCase {
  std::string name;        // "linear/q F16/T:512"
  double flops = 0;        // of one call; a multiply-add is two, an exp or a division one
  double bytes = 0;        // inputs read and results written, each once
  std::int64_t cols = 0;   // of the result
  std::int64_t every = 1;  // the oracle computes rows 0, every, 2 * every, ... of the result
  /// Inputs of a fixed seed; only the rows that `every` leaves.
  std::function<Placed(Backend& backend, std::int64_t every)> place;
  /// How far element i of the result may lie from the oracle's value (kernels/contract).
  std::function<double(std::size_t i, double expected)> allowed;
  std::optional<GemmShape> gemm;  // timed beside oneDNN's at this shape
};

/// Compares with the oracle on the benchmark's own inputs; returns what is wrong, empty: nothing.
std::string check(const OperationCase& operation, Backend& subject, Backend& oracle);

/// Matrices of one placed operation; shared by its closures.
class Memory {
 public:
  explicit Memory(Backend& backend) : backend_(backend) {}
  Mat put(const std::vector<float>& values, std::int64_t rows, std::int64_t cols);
  Mat room(std::int64_t rows, std::int64_t cols);
  std::vector<float> get(const Mat& x) const;

 private:
  Backend& backend_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
};

/// Rows 0, every, 2 * every, ... of values [rows, cols].
std::vector<float> every_row(const std::vector<float>& values, std::int64_t cols,
                             std::int64_t every);

using OperationCases = std::vector<OperationCase>;
void add_memory_cases(OperationCases& cases);
void add_norm_cases(OperationCases& cases);
void add_linear_cases(OperationCases& cases);
void add_attention_cases(OperationCases& cases);
void add_elementwise_cases(OperationCases& cases);

}  // namespace mg::bench
