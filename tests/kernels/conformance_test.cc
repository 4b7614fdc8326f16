// Every backend x arithmetic through the conformance suite of kernels/contract.
#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "kernels/contract/conformance.h"
#include "tests/kernels/subjects.h"

namespace mg {
namespace {

using contract::CaseResult;
using contract::ConformanceCase;

constexpr Arithmetic kArithmetics[] = {Arithmetic::kExact, Arithmetic::kFp16, Arithmetic::kBf16};

std::string arithmetic_name(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kExact  ? "exact"
         : arithmetic == Arithmetic::kFp16 ? "fp16"
                                           : "bf16";
}

class ConformanceTest
    : public testing::TestWithParam<std::tuple<Subject, Arithmetic, std::string>> {};

TEST_P(ConformanceTest, KeepsTheContract) {
  const auto& [subject, arithmetic, operation] = GetParam();
  ThreadPool pool(2);
  const std::unique_ptr<Backend> backend = make_subject(subject, arithmetic, pool);
  if (backend == nullptr) {
    GTEST_SKIP() << "this machine cannot run " << subject.name();
  }
  const auto oracle = make_subject({"reference", ""}, arithmetic, pool);
  const auto exact = make_subject({"reference", ""}, Arithmetic::kExact, pool);
  int cases = 0;
  double worst = 0;
  for (const ConformanceCase& c : contract::conformance_cases()) {
    if (c.operation != operation) {
      continue;
    }
    const CaseResult result = c.run({*backend, *oracle, *exact});
    EXPECT_EQ(result.failure, "") << c.operation << ", " << c.name << ", seed " << c.seed;
    worst = std::max(worst, result.comparison.worst_ratio);
    ++cases;
  }
  EXPECT_GT(cases, 0);
  RecordProperty("worst_error_over_allowed", std::to_string(worst));
}

std::vector<std::string> operations() {
  std::vector<std::string> names;
  for (const ConformanceCase& c : contract::conformance_cases()) {
    if (names.empty() || std::find(names.begin(), names.end(), c.operation) == names.end()) {
      names.push_back(c.operation);
    }
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(All, ConformanceTest,
                         testing::Combine(testing::ValuesIn(subjects()),
                                          testing::ValuesIn(kArithmetics),
                                          testing::ValuesIn(operations())),
                         [](const auto& param) {
                           return std::get<0>(param.param).name() + "_" +
                                  arithmetic_name(std::get<1>(param.param)) + "_" +
                                  std::get<2>(param.param);
                         });

TEST(ConformanceSuiteTest, HasACaseForEveryOperationThatComputes) {
  const std::vector<std::string> names = operations();
  for (const char* operation :
       {"copy",           "gather_rows",  "scatter_add_rows", "fill_zero",    "embed",
        "low_rank_embed", "rms_norm",     "layer_norm",       "add_rms_norm", "add_layer_norm",
        "linear",         "low_rank",     "scale_columns",    "add_vector",   "rope",
        "attention",      "add",          "gated_activation", "activation",   "softcap",
        "route_top_k",    "sweep_logits", "squares"}) {
    EXPECT_NE(std::find(names.begin(), names.end(), operation), names.end()) << operation;
  }
}

}  // namespace
}  // namespace mg
