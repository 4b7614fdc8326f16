#include "kernels/bench/yardstick.h"

#ifdef MG_BENCH_ONEDNN
#include <dnnl.h>
#include <omp.h>
#endif

#include <chrono>
#include <thread>

#include "kernels/core/error.h"

namespace mg::bench {

#ifdef MG_BENCH_ONEDNN

bool have_yardstick() {
  return true;
}

void set_yardstick_threads(int threads) {
  omp_set_num_threads(threads);
}

void yardstick_gemm(const GemmShape& shape, const float* x, const float* w, float* out) {
  const dnnl_status_t status =
      dnnl_sgemm('N', 'T', shape.rows, shape.outputs, shape.inputs, 1.0F, x, shape.inputs, w,
                 shape.inputs, 0.0F, out, shape.outputs);
  MG_CHECK(status == dnnl_success, "oneDNN multiplies");
}

void settle() {
  // libgomp spins for 300 000 looks unless told otherwise: about 10 ms.
  std::this_thread::sleep_for(std::chrono::milliseconds(15));
}

#else

bool have_yardstick() {
  return false;
}

void set_yardstick_threads(int threads) {
  static_cast<void>(threads);
}

void yardstick_gemm(const GemmShape& shape, const float* x, const float* w, float* out) {
  static_cast<void>(shape);
  static_cast<void>(x);
  static_cast<void>(w);
  static_cast<void>(out);
  MG_CHECK(false, "this build has oneDNN");
}

void settle() {}

#endif

}  // namespace mg::bench
