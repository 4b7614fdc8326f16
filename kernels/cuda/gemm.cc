#include "kernels/cuda/gemm.h"

#include <string>

#include "kernels/core/error.h"
#include "kernels/cuda/weights.h"

namespace mg::cuda {
namespace {

constexpr std::int64_t kManyRows = 1024;  // what algorithms are chosen for
constexpr std::int64_t kFewRows = 8;
constexpr std::uint32_t kAlignment = 16;

std::string sizes_of(const Product& p) {
  return std::to_string(p.rows) + " x " + std::to_string(p.inputs) + " times " +
         std::to_string(p.inputs) + " x " + std::to_string(p.outputs);
}

void check_lt(cublasStatus_t status, const char* operation, const Product& product) {
  if (status != CUBLAS_STATUS_SUCCESS) {
    throw Error(
        {.code = "device.failed",
         .what = "cuBLASLt failed at " + std::string(operation) + " (" + sizes_of(product) + ")",
         .where = {},
         .expected = {},
         .actual = cublasLtGetStatusString(status),
         .hint = {}},
        ErrorKind::kInternal);
  }
}

cudaDataType_t type_of(Element element) {
  return element == Element::kF32   ? CUDA_R_32F
         : element == Element::kF16 ? CUDA_R_16F
                                    : CUDA_R_16BF;
}

/// The library's view of a product, column-major: out^T = op(w) x^T.
class Call {
 public:
  Call(const Product& p, std::int64_t rows, Element element) : product_(p) {
    const bool exact = element == Element::kF32;
    // Pedantic: no TF32 and no emulation, whatever the environment asks the library for.
    const cublasComputeType_t compute = exact ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F;
    ok(cublasLtMatmulDescCreate(&desc, compute, CUDA_R_32F), "describing a product");
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transposed ? CUBLAS_OP_N : CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    if (p.bias != nullptr) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.bias);
    }
    const cudaDataType_t type = type_of(element);
    layout(&w, type, p.transposed ? p.outputs : p.inputs, p.transposed ? p.inputs : p.outputs,
           p.w_stride);
    layout(&x, type, p.inputs, rows, p.x_stride);
    layout(&out, type, p.outputs, rows, p.out_stride);
  }
  ~Call() {
    for (cublasLtMatrixLayout_t each : {w, x, out}) {
      if (each != nullptr) {
        static_cast<void>(cublasLtMatrixLayoutDestroy(each));
      }
    }
    if (desc != nullptr) {
      static_cast<void>(cublasLtMatmulDescDestroy(desc));
    }
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  void ok(cublasStatus_t status, const char* operation) const {
    check_lt(status, operation, product_);
  }

  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t w = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t out = nullptr;

 private:
  template <typename T>
  void set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    ok(cublasLtMatmulDescSetAttribute(desc, attribute, &value, sizeof(T)), "describing a product");
  }
  void layout(cublasLtMatrixLayout_t* to, cudaDataType_t type, std::int64_t rows, std::int64_t cols,
              std::int64_t stride) {
    ok(cublasLtMatrixLayoutCreate(to, type, static_cast<std::uint64_t>(rows),
                                  static_cast<std::uint64_t>(cols), stride),
       "describing a matrix");
  }

  const Product& product_;
};

/// What algorithms are chosen by.
class Preference {
 public:
  explicit Preference(const Call& call) : call_(call) {
    call.ok(cublasLtMatmulPreferenceCreate(&preference_), "describing a preference");
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{0});
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE));
    for (const cublasLtMatmulPreferenceAttributes_t matrix :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      set(matrix, kAlignment);
    }
  }
  ~Preference() { static_cast<void>(cublasLtMatmulPreferenceDestroy(preference_)); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;

  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  template <typename T>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    call_.ok(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(T)),
             "describing a preference");
  }

  const Call& call_;
  cublasLtMatmulPreference_t preference_ = nullptr;
};

}  // namespace

Gemm::Gemm(Element element) : element_(element) {
  check_lt(cublasLtCreate(&handle_), "starting", {});
}

Gemm::~Gemm() {
  static_cast<void>(cublasLtDestroy(handle_));
}

cublasLtMatmulAlgo_t Gemm::choose(const Product& product, std::int64_t rows) const {
  const Call call(product, rows, element_);
  const Preference preference(call);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  call.ok(cublasLtMatmulAlgoGetHeuristic(handle_, call.desc, call.w, call.x, call.out, call.out,
                                         preference.get(), 1, &best, &found),
          "choosing an algorithm");
  call.ok(found > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "choosing an algorithm");
  return best.algo;
}

void Gemm::multiply(const Product& product, cudaStream_t stream) {
  const bool few = product.rows < kMinStableRows;
  const Key key{product.transposed, product.bias != nullptr, few, product.inputs,
                product.whole_outputs};
  auto found = algorithms_.find(key);
  if (found == algorithms_.end()) {
    Product whole = product;  // the same for every piece of a weight and every matrix beside it
    whole.outputs = product.whole_outputs;
    whole.x_stride = aligned_stride(whole.inputs, element_);
    whole.w_stride = aligned_stride(whole.transposed ? whole.outputs : whole.inputs, element_);
    whole.out_stride = aligned_stride(whole.outputs, element_);
    found = algorithms_.emplace(key, choose(whole, few ? kFewRows : kManyRows)).first;
  }
  cublasLtMatmulAlgo_t algorithm = found->second;
  const Call call(product, product.rows, element_);
  cublasLtMatmulHeuristicResult_t checked{};
  if (cublasLtMatmulAlgoCheck(handle_, call.desc, call.w, call.x, call.out, call.out, &algorithm,
                              &checked) != CUBLAS_STATUS_SUCCESS) {
    algorithm = choose(product, product.rows);
    ++exceptions_;
  }
  const float one = 1.0F;
  const float zero = 0.0F;
  call.ok(
      cublasLtMatmul(handle_, call.desc, &one, product.w, call.w, product.x, call.x, &zero,
                     product.out, call.out, product.out, call.out, &algorithm, nullptr, 0, stream),
      "a product");
}

}  // namespace mg::cuda
