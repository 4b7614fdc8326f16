// What the conformance cases share: reproducible inputs, stored tensors, guarded matrices, the
// final comparison.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/contract/conformance.h"

namespace mg::contract {

/// A generator whose numbers are the same everywhere (splitmix64; the standard's distributions may
/// differ).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits();
  /// In [low, high).
  double uniform(double low, double high);
  std::int64_t below(std::int64_t n);
  /// Nearly normal, deviation `scale`: the sum of twelve uniforms.
  float normal(double scale);
  std::vector<float> normals(std::int64_t n, double scale = 1.0);

 private:
  std::uint64_t state_;
};

/// A tensor as a checkpoint stores it, at an odd address: files guarantee no alignment.
struct StoredTensor {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;  // one more than the elements need, in front

  TensorView view() const { return {dtype, shape, bytes.data() + 1, bytes.size() - 1}; }
  std::vector<double> values() const;
};

/// Random values of deviation `scale` (F8: random finite patterns of magnitude 2^-4..2).
StoredTensor random_tensor(Random& random, DType dtype, const Shape& shape, double scale);
/// The same with every sign cleared.
StoredTensor magnitude_of(StoredTensor tensor);
std::vector<float> magnitude_of(std::vector<float> values);
/// Stores `value` (NaN or an infinity) at one element; F16, BF16 and F32 only.
void plant(StoredTensor& tensor, std::int64_t element, float value);

/// Matrices in a backend's memory, each with guard elements before, after and between its rows.
class Stage {
 public:
  explicit Stage(Backend& backend) : backend_(backend) {}

  Mat put(std::span<const float> values, std::int64_t rows, std::int64_t cols);
  /// For results: holds only guard values so far.
  Mat output(std::int64_t rows, std::int64_t cols);
  std::vector<float> get(const Mat& x);
  /// Whether every guard element still has its value.
  bool intact();

 private:
  struct Guarded {
    std::unique_ptr<Buffer> buffer;
    Mat window;
    std::int64_t elements;
  };
  Backend& backend_;
  std::vector<Guarded> guarded_;
};

/// An operation applied to inputs placed on a stage; returns the matrix it wrote.
using Operation = std::function<Mat(Backend& backend, Stage& stage)>;

/// What `operation` gives on `backend`, read back.
std::vector<float> result_of(Backend& backend, const Operation& operation);

/// Runs the operation on subject and oracle and compares; `allowed` gives each element's tolerance
/// from its index and the expected value.  `share`: of elements that must have the oracle's bits
/// (checked from 500 on).
using Allowed = std::function<double(std::size_t element, double expected)>;
CaseResult judge(const Parties& parties, const Operation& operation, const Allowed& allowed,
                 double share);
/// The same with the contract's share for the arithmetic.
CaseResult judge(const Parties& parties, const Operation& operation, const Allowed& allowed);

/// A value planted into an input, or nothing.
enum class Planted : std::uint8_t { kNothing, kNan, kInf, kMinusInf };
float planted_value(Planted planted);
std::string planted_name(Planted planted);

using Cases = std::vector<ConformanceCase>;
/// Appends a case with a seed of its own.
void add_case(Cases& cases, std::string operation, std::string name,
              std::function<CaseResult(const Parties& parties, Random& random)> run);

void add_memory_cases(Cases& cases);
void add_embedding_cases(Cases& cases);
void add_norm_cases(Cases& cases);
void add_linear_cases(Cases& cases);
void add_low_rank_cases(Cases& cases);
void add_elementwise_cases(Cases& cases);
void add_rope_cases(Cases& cases);
void add_attention_cases(Cases& cases);
void add_activation_cases(Cases& cases);
void add_route_cases(Cases& cases);
void add_row_statistics_cases(Cases& cases);
void add_dequantise_cases(Cases& cases);

}  // namespace mg::contract
