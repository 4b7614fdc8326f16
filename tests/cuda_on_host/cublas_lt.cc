// Matrix products of the emulated cuBLASLt: plain loops in FP32.
#include <cublasLt.h>
#include <fmt/format.h>

#include <cstring>

#include "kernels/core/half.h"
#include "tests/cuda_on_host/state.h"

struct EmulatedLt {};
struct EmulatedDesc {
  cublasOperation_t transpose_a = CUBLAS_OP_N;
  cublasOperation_t transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
};
struct EmulatedLayout {
  cudaDataType_t type;
  std::int64_t rows, cols, ld;

  std::int64_t element_bytes() const { return type == CUDA_R_32F ? 4 : 2; }
  std::size_t bytes() const {
    return cols == 0 ? 0 : static_cast<std::size_t>(((cols - 1) * ld + rows) * element_bytes());
  }
};
struct EmulatedPreference {
  std::uint64_t workspace = 0;
  std::uint32_t reductions = 0xFFFFFFFFU;
  std::uint32_t alignment[4] = {256, 256, 256, 256};
};

namespace mg::cuda_on_host {
namespace {

constexpr std::uint64_t kMagic = 0x6D6D6C6F6F70ULL;
constexpr std::int64_t kMostChains = 8;

/// data[1]: how many interleaved chains a sum has; data[2]: the alignment that pointers must have.
cublasLtMatmulAlgo_t algorithm(std::int64_t chains, std::uint32_t alignment) {
  return {{kMagic, static_cast<std::uint64_t>(chains), alignment}};
}

float element(const EmulatedLayout& layout, const void* data, std::int64_t index) {
  if (layout.type == CUDA_R_32F) {
    float value = 0;
    std::memcpy(&value, static_cast<const char*>(data) + index * 4, 4);
    return value;
  }
  std::uint16_t bits = 0;
  std::memcpy(&bits, static_cast<const char*>(data) + index * 2, 2);
  return layout.type == CUDA_R_16F ? half_to_float(bits) : bf16_to_float(bits);
}

void store(const EmulatedLayout& layout, void* data, std::int64_t index, float value) {
  if (layout.type == CUDA_R_32F) {
    std::memcpy(static_cast<char*>(data) + index * 4, &value, 4);
    return;
  }
  const std::uint16_t bits =
      layout.type == CUDA_R_16F ? float_to_half(value) : float_to_bf16(value);
  std::memcpy(static_cast<char*>(data) + index * 2, &bits, 2);
}

/// One dimension of a matrix as FP32 rows of k elements, whatever its layout.
std::vector<float> widen(const EmulatedLayout& layout, const void* data, bool rows_are_k) {
  const std::int64_t k = rows_are_k ? layout.rows : layout.cols;
  const std::int64_t n = rows_are_k ? layout.cols : layout.rows;
  std::vector<float> wide(static_cast<std::size_t>(k * n));
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < k; ++j) {
      wide[static_cast<std::size_t>(i * k + j)] =
          element(layout, data, rows_are_k ? i * layout.ld + j : j * layout.ld + i);
    }
  }
  return wide;
}

float dot(const float* x, const float* y, std::int64_t k, std::int64_t chains) {
  float sums[kMostChains] = {};
  std::int64_t i = 0;
  for (; i + chains <= k; i += chains) {
    for (std::int64_t c = 0; c < chains; ++c) {
      sums[c] += x[i + c] * y[i + c];
    }
  }
  for (; i < k; ++i) {
    sums[0] += x[i] * y[i];
  }
  float total = sums[0];
  for (std::int64_t c = 1; c < chains; ++c) {
    total += sums[c];
  }
  return total;
}

struct Product {
  EmulatedDesc desc;
  EmulatedLayout a, b, d;
  const void* a_data;
  const void* b_data;
  void* d_data;
  std::int64_t chains;

  void run() const {
    require_device(a_data, a.bytes(), "cublasLtMatmul, A");
    require_device(b_data, b.bytes(), "cublasLtMatmul, B");
    require_device(d_data, d.bytes(), "cublasLtMatmul, D");
    if (desc.bias != nullptr) {
      require_device(desc.bias, static_cast<std::size_t>(d.rows * d.element_bytes()),
                     "cublasLtMatmul, bias");
    }
    const std::int64_t k = desc.transpose_a == CUBLAS_OP_T ? a.rows : a.cols;
    const std::vector<float> left = widen(a, a_data, desc.transpose_a == CUBLAS_OP_T);
    const std::vector<float> right = widen(b, b_data, desc.transpose_b == CUBLAS_OP_N);
    for (std::int64_t j = 0; j < d.cols; ++j) {
      for (std::int64_t i = 0; i < d.rows; ++i) {
        float sum = dot(left.data() + i * k, right.data() + j * k, k, chains);
        if (desc.bias != nullptr) {
          sum += element(d, desc.bias, i);
        }
        store(d, d_data, j * d.ld + i, sum);
      }
    }
    check_guards("cublasLtMatmul");
  }
};

bool fits(const EmulatedDesc& desc, const EmulatedLayout& a, const EmulatedLayout& b,
          const EmulatedLayout& d) {
  const bool ta = desc.transpose_a == CUBLAS_OP_T;
  const bool tb = desc.transpose_b == CUBLAS_OP_T;
  return (ta ? a.cols : a.rows) == d.rows && (tb ? b.rows : b.cols) == d.cols &&
         (ta ? a.rows : a.cols) == (tb ? b.cols : b.rows) && a.ld >= a.rows && b.ld >= b.rows &&
         d.ld >= d.rows && a.type == b.type && a.type == d.type;
}

bool aligned(const void* data, const EmulatedLayout& layout, std::uint64_t alignment) {
  return reinterpret_cast<std::uintptr_t>(data) % alignment == 0 &&
         static_cast<std::uint64_t>(layout.ld * layout.element_bytes()) % alignment == 0;
}

}  // namespace
}  // namespace mg::cuda_on_host

namespace host = mg::cuda_on_host;

const char* cublasLtGetStatusString(cublasStatus_t status) {
  switch (status) {
    case CUBLAS_STATUS_SUCCESS:
      return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_INVALID_VALUE:
      return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_NOT_SUPPORTED:
      break;
  }
  return "CUBLAS_STATUS_NOT_SUPPORTED";
}
std::size_t cublasLtGetVersion() {
  return 130000;
}
cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = new EmulatedLt;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* desc, cublasComputeType_t,
                                        cudaDataType_t) {
  *desc = new EmulatedDesc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc) {
  delete desc;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, std::size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_DESC_TRANSA:
      std::memcpy(&desc->transpose_a, value, bytes);
      break;
    case CUBLASLT_MATMUL_DESC_TRANSB:
      std::memcpy(&desc->transpose_b, value, bytes);
      break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
      std::memcpy(&desc->epilogue, value, bytes);
      break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
      std::memcpy(&desc->bias, value, bytes);
      break;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType_t type,
                                          std::uint64_t rows, std::uint64_t cols, std::int64_t ld) {
  *layout = new EmulatedLayout{type, static_cast<std::int64_t>(rows),
                               static_cast<std::int64_t>(cols), ld};
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new EmulatedPreference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void* value, std::size_t bytes) {
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
      std::memcpy(&preference->workspace, value, bytes);
      break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
      std::memcpy(&preference->reductions, value, bytes);
      break;
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      std::memcpy(&preference->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                  value, bytes);
      break;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t* results,
                                              int* returned) {
  *returned = 0;
  if (!host::fits(*desc, *a, *b, *d) || requested < 1) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  // The choice depends on every size, as the library's does.
  host::Random choice(static_cast<std::uint64_t>(d->rows * 1000003 + d->cols * 7919 + a->ld));
  std::uint32_t alignment = preference->alignment[0];
  for (const std::uint32_t each : preference->alignment) {
    alignment = std::min(alignment, each);
  }
  results[0] = {host::algorithm(std::int64_t{1} << choice.below(4), alignment),
                0,
                CUBLAS_STATUS_SUCCESS,
                1.0F,
                {}};
  *returned = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t* algo,
                                       cublasLtMatmulHeuristicResult_t* result) {
  *result = {*algo, 0, CUBLAS_STATUS_SUCCESS, 1.0F, {}};
  return host::fits(*desc, *a, *b, *d) && algo->data[0] == host::kMagic
             ? CUBLAS_STATUS_SUCCESS
             : CUBLAS_STATUS_NOT_SUPPORTED;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void* alpha,
                              const void* a, cublasLtMatrixLayout_t a_layout, const void* b,
                              cublasLtMatrixLayout_t b_layout, const void* beta, const void* c,
                              cublasLtMatrixLayout_t, void* d, cublasLtMatrixLayout_t d_layout,
                              const cublasLtMatmulAlgo_t* algo, void*, std::size_t,
                              cudaStream_t stream) {
  const std::lock_guard lock(host::machine().mutex);
  float one = 0;
  float zero = 1;
  std::memcpy(&one, alpha, 4);
  std::memcpy(&zero, beta, 4);
  if (one != 1.0F || zero != 0.0F || c != d ||
      !host::fits(*desc, *a_layout, *b_layout, *d_layout)) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  if (algo == nullptr || algo->data[0] != host::kMagic) {
    host::fail(
        "cublasLtMatmul: without an algorithm the order of summation is the library's choice");
  }
  if (!host::aligned(a, *a_layout, algo->data[2]) || !host::aligned(b, *b_layout, algo->data[2]) ||
      !host::aligned(d, *d_layout, algo->data[2])) {
    host::fail(fmt::format("cublasLtMatmul: a matrix is not aligned to the {} bytes promised",
                           algo->data[2]));
  }
  const host::Product product{
      *desc, *a_layout, *b_layout, *d_layout, a, b, d, static_cast<std::int64_t>(algo->data[1])};
  host::require_current(stream, "cublasLtMatmul");
  host::enqueue(stream, {[product] { product.run(); }, nullptr, 0});
  return CUBLAS_STATUS_SUCCESS;
}
