// Matrix products by cuBLASLt: FP32 accumulation, never TF32, and bits that do not depend on how
// many rows a call has.
//
// The library promises the same bits for the same call on the same device, nothing for calls of
// other sizes.  So the algorithm is chosen once for a weight's sizes, at a fixed number of rows,
// without workspace and without splitting the sum: one kernel then adds up each output by itself,
// in an order fixed by K, for every call of kMinStableRows rows and more.  Smaller calls
// share an algorithm of their own.  `mergegauge devicetest` looks whether a device keeps to it.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <tuple>

#include "kernels/cuda/kernels.h"

namespace mg::cuda {

/// out [rows, outputs] = x [rows, inputs] * w^T + bias; w is [outputs, inputs], or [inputs,
/// outputs] when transposed.  All of one element type, on the device, every row at a multiple of 16
/// bytes.
struct Product {
  const void* x = nullptr;
  std::int64_t x_stride = 0;
  const void* w = nullptr;
  std::int64_t w_stride = 0;
  bool transposed = false;
  const void* bias = nullptr;  // [outputs], or null; added before the one rounding
  void* out = nullptr;
  std::int64_t out_stride = 0;
  std::int64_t rows = 0;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  std::int64_t whole_outputs = 0;  // of the weight, where this is a piece of it
};

class Gemm {
 public:
  explicit Gemm(Element element);
  ~Gemm();
  Gemm(const Gemm&) = delete;
  Gemm& operator=(const Gemm&) = delete;

  void multiply(const Product& product, cudaStream_t stream);
  /// Calls that the chosen algorithm could not serve: their bits may depend on the number of rows.
  int exceptions() const { return exceptions_; }

 private:
  // transposed, has a bias, few rows, inputs, outputs of the whole weight
  using Key = std::tuple<bool, bool, bool, std::int64_t, std::int64_t>;

  cublasLtMatmulAlgo_t choose(const Product& product, std::int64_t rows) const;

  const Element element_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> algorithms_;
  int exceptions_ = 0;
};

}  // namespace mg::cuda
