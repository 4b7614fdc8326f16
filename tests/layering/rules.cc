// The table of DESIGN.md section 4, lowest layer first.
#include "tests/layering/layering.h"

namespace mg::layering {

const std::vector<FolderRule>& folder_rules() {
  static const std::vector<FolderRule> rules = {
      {"kernels/core", {}},
      {"kernels/backend.h", {}},
      {"kernels/row_statistics.h", {"kernels/backend.h"}},
      {"kernels/merge_statistics.h", {}},
      {"kernels/contract", {"kernels/backend.h", "kernels/row_statistics.h"}},
      {"kernels/reference", {"kernels/backend.h", "kernels/row_statistics.h", "kernels/contract"}},
      {"kernels/cpu", {"kernels/backend.h", "kernels/contract"}},
      {"kernels/cuda",
       {"kernels/backend.h", "kernels/row_statistics.h", "kernels/merge_statistics.h",
        "kernels/contract"}},
      // The list of backends and the operations' benchmarks: above all of them.
      {"kernels/registry_cuda", {"kernels/"}},
      {"kernels/registry", {"kernels/"}},
      {"kernels/bench", {"kernels/"}},
      {"harness/io", {}},
      {"harness/result", {}},
      {"harness/model", {"kernels/backend.h", "kernels/contract", "harness/io"}},
      {"suites", {"harness/io"}},
      {"harness/lanes", {"kernels/", "harness/io", "harness/result", "harness/model", "suites"}},
      {"harness/lint", {"harness/io", "harness/model", "harness/result"}},
      {"harness/audit",
       {"kernels/merge_statistics.h", "harness/io", "harness/model", "harness/result"}},
      {"harness/metrics", {"harness/result"}},
      {"harness/verdict", {"harness/result", "harness/metrics"}},
      {"harness/run",
       {"kernels/", "suites", "harness/io", "harness/result", "harness/model", "harness/lanes",
        "harness/lint", "harness/audit", "harness/metrics", "harness/verdict"}},
      {"harness/bench",
       {"kernels/", "suites", "harness/io", "harness/result", "harness/model", "harness/lanes",
        "harness/metrics", "harness/verdict"}},
      {"harness/client",
       {"suites", "harness/io", "harness/result", "harness/metrics", "harness/bench"}},
      {"reports", {"harness/result"}},
      {"harness/cli", {"kernels/", "suites", "harness/", "reports"}},
  };
  return rules;
}

const std::vector<OutsideRule>& outside_rules() {
  static const std::vector<OutsideRule> rules = {
      {"iostream", {"harness/cli"}},  // the program alone writes to a stream
      {"CLI/", {"harness/cli"}},
      {"Eigen/", {"kernels/reference", "harness/metrics", "harness/verdict"}},
      {"dnnl", {"kernels/bench"}},
      {"oneapi/", {"kernels/bench"}},
      {"immintrin.h",
       {"kernels/core", "kernels/cpu", "kernels/bench", "harness/audit", "harness/metrics"}},
      {"boost/", {"harness/metrics", "harness/verdict"}},
      {"cuda", {"kernels/cuda"}},
      {"cublas", {"kernels/cuda"}},
      {"benchmark/", {"kernels/bench", "harness/bench"}},
      {"curl/", {"harness/client"}},
      {"sqlite3.h", {"reports"}},
      {"gtest/", {}},
      {"gmock/", {}},
  };
  return rules;
}

}  // namespace mg::layering
