// Compiled with -mavx2 -mfma, and only on x86-64; reached only after a run-time check of the
// processor.
#include "harness/metrics/row_sums_body.h"

namespace mg {

const RowSums& row_sums_avx2() {
  return kRowSums;
}

}  // namespace mg
