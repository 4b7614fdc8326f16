// Every member of every result struct must have its key in reports/json/fields.h: a member added
// there and forgotten here would silently be missing from every report.
#include "reports/json/fields.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <utility>

namespace mg {
namespace {

/// Converts to anything, so that T{Any{}, Any{}, ...} compiles for as many initialisers as T has
/// members.
struct Any {
  template <typename T>
  operator T() const;  // NOLINT(google-explicit-constructor): its purpose
};

template <typename T, std::size_t... kIndex>
constexpr bool initialisable(std::index_sequence<kIndex...>) {
  return requires {
    T{(static_cast<void>(kIndex), Any{})...};
  };
}

template <typename T, std::size_t kCount = 40>
constexpr std::size_t member_count() {
  if constexpr (initialisable<T>(std::make_index_sequence<kCount>{})) {
    return kCount;
  } else {
    return member_count<T, kCount - 1>();
  }
}

struct Counter {
  std::size_t count = 0;
  template <typename T>
  void required(const char*, T&) {
    ++count;
  }
  template <typename T>
  void optional(const char*, T&) {
    ++count;
  }
  template <typename T>
  void json_text(const char*, T&) {
    ++count;
  }
  void unbounded(const char*, double&) { ++count; }
};

template <typename T>
class Fields : public testing::Test {};

using Records =
    testing::Types<Place, MetricSummary, Ratio, ErrorRecord, ToolInfo, PromptIds, SuiteInfo,
                   ModelSummary, AdapterSummary, InputInfo, FileRecord, ConfigDifference,
                   Provenance, StoredShare, AlsoModel, Timing, Memory, Fix, Finding, Verdict, Floor,
                   TensorAudit, RecipeException, MergeRecipe, AuditSummary, AuditResult, Ratios,
                   Flips, NonFiniteLane, HistogramBin, Slice, PositionBucket, ConfidenceBucket,
                   PromptDetail, LayerPlace, Evidence, Comparison, BenchRate, BenchRatio,
                   BenchMemory, BenchResult, LatencySummary, ServerOutcome, ServerLogprobs,
                   ServerLane, ServerResult, Detection, SelftestResult, GeneratedText, Departure,
                   GeneratedPrompt, GenerationPair, StopCount, GenerationLane, GenerationResult>;
TYPED_TEST_SUITE(Fields, Records);

TYPED_TEST(Fields, EveryMemberHasAKey) {
  TypeParam record{};
  Counter counter;
  report_json::fields(counter, record);
  EXPECT_EQ(counter.count, member_count<TypeParam>());
}

TEST(Fields, ALayersPlaceStandsInItsOwnObject) {
  LayerDrift drift;
  Counter counter;
  report_json::fields(counter, drift);
  EXPECT_EQ(counter.count, member_count<LayerDrift>() - 1 + member_count<LayerPlace>());
}

TEST(Fields, TheReportsStatusIsWrittenBeside) {
  Report report;
  Counter counter;
  report_json::fields(counter, report);
  EXPECT_EQ(counter.count, member_count<Report>() - 1);
}

}  // namespace
}  // namespace mg
