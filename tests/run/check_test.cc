// The main job on the demo model: a right merge passes, every planted fault is caught for the right
// reason.
#include "harness/run/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "harness/io/safetensors.h"
#include "harness/result/status.h"
#include "harness/run/demo.h"
#include "kernels/core/convert.h"
#include "reports/json/report_json.h"

namespace mg {
namespace {

using ::testing::Contains;

/// The demo with a damage, checked.
class CheckTest : public ::testing::Test {
 protected:
  Report check(const std::string& damage, int threads = 2,
               const std::function<void(CheckOptions&)>& change = {}) {
    ThreadPool pool(threads);
    TemporaryFolder folder;
    const DemoFolders demo = write_demo(folder.path(), damage, pool);
    return check_folders(demo, threads, change);
  }

  Report check_folders(const DemoFolders& demo, int threads,
                       const std::function<void(CheckOptions&)>& change = {}) {
    ThreadPool pool(threads);
    CheckOptions options;
    options.base = demo.base;
    options.adapter = demo.adapter;
    options.merged = demo.merged;
    options.compare.bootstrap.replicates = 2000;
    if (change) {
      change(options);
    }
    return run_check(options, pool, [](const std::string&, double) {});
  }
};

bool has_catalogue(const Report& report, const std::string& id) {
  return std::any_of(report.findings.begin(), report.findings.end(), [&](const Finding& finding) {
    return finding.severity == Severity::kError &&
           std::find(finding.catalogue.begin(), finding.catalogue.end(), id) !=
               finding.catalogue.end();
  });
}

std::string all_findings(const Report& report) {
  std::string text;
  for (const Finding& finding : report.findings) {
    text += finding.rule + " [" + finding.subject + "] " + finding.message + "\n";
  }
  for (const Verdict& verdict : report.verdicts) {
    text += verdict.gate + " " + std::string(gate_status_name(verdict.status)) + " " +
            verdict.reason + "\n";
  }
  return text;
}

const MetricSummary& metric(const Comparison& comparison, const std::string& name) {
  const MetricSummary* found = find_metric(comparison.metrics, name);
  EXPECT_NE(found, nullptr) << name;
  return *found;
}

TEST_F(CheckTest, TheRightMergePasses) {
  const Report report = check("");
  EXPECT_EQ(report.status, RunStatus::kPass) << all_findings(report);
  ASSERT_EQ(report.comparisons.size(), 1U) << "the audit found the merge to be our re-merge";
  const Comparison& main = report.comparisons.front();
  EXPECT_EQ(main.reference, "adapter");
  EXPECT_EQ(main.subject, "merged");
  EXPECT_GE(main.prompts, 20);
  EXPECT_GE(main.scored_tokens, 3000);
  EXPECT_LT(*metric(main, "kl").mean, 1e-6);
  ASSERT_TRUE(report.audit.has_value());
  EXPECT_EQ(report.audit->recipe.name, "one-rounding");
  ASSERT_TRUE(report.floor.has_value());
  EXPECT_GT(*report.floor->kl_mean, 0.0);
  ASSERT_TRUE(report.provenance.has_value());
  EXPECT_GT(report.provenance->files.size(), 10U);
}

TEST_F(CheckTest, TokenRowsAddUpToTheReport) {
  TokenRows table;
  const Report report = check("drop-layer", 2, [&table](CheckOptions& options) {
    options.compare.token_rows = &table;
    options.token_budget = 600;
  });
  ASSERT_EQ(table.pairs.size(), report.comparisons.size());
  const Comparison& main = report.comparisons.front();
  std::int64_t rows = 0;
  for (std::size_t m = 0; m < table.metrics.size(); ++m) {
    const MetricSummary& summary = metric(main, table.metrics[m]);
    double sum = 0.0;
    std::int64_t count = 0;
    for (const TokenRow& row : table.rows) {
      if (row.pair == 0 && row.values[m]) {
        sum += *row.values[m];
        ++count;
      }
    }
    EXPECT_EQ(count, summary.count) << table.metrics[m];
    ASSERT_TRUE(summary.mean) << table.metrics[m];
    const double mean = sum / static_cast<double>(count);
    // Two orders of summation of the same doubles.
    EXPECT_NEAR(mean, *summary.mean, 1e-12 * (1.0 + std::fabs(mean))) << table.metrics[m];
    rows = std::max(rows, count);
  }
  EXPECT_EQ(rows, main.tokens);
}

TEST_F(CheckTest, NothingMergedFailsAsF07) {
  const Report report = check("base");
  EXPECT_EQ(report.status, RunStatus::kFail) << all_findings(report);
  EXPECT_TRUE(has_catalogue(report, "F07")) << all_findings(report);
}

TEST_F(CheckTest, MergedTwiceFailsAsF18) {
  const Report report = check("twice");
  EXPECT_EQ(report.status, RunStatus::kFail) << all_findings(report);
  EXPECT_TRUE(has_catalogue(report, "F18")) << all_findings(report);
}

TEST_F(CheckTest, ADroppedLayerFailsAndIsNamed) {
  const Report report = check("drop-layer");
  EXPECT_EQ(report.status, RunStatus::kFail) << all_findings(report);
  EXPECT_TRUE(has_catalogue(report, "F08")) << all_findings(report);
  const auto culprit =
      std::find_if(report.findings.begin(), report.findings.end(),
                   [](const Finding& f) { return f.rule == "compare.layer-departs"; });
  ASSERT_NE(culprit, report.findings.end()) << all_findings(report);
  EXPECT_EQ(culprit->subject, "layer 3 attention");  // the middle one of the demo's six
}

TEST_F(CheckTest, ATransposedDeltaFailsAsF23) {
  const Report report = check("transpose");
  EXPECT_EQ(report.status, RunStatus::kFail) << all_findings(report);
  EXPECT_TRUE(has_catalogue(report, "F23")) << all_findings(report);
}

TEST_F(CheckTest, TwoPercentTooMuchFailsAsF19) {
  const Report report = check("scale");
  EXPECT_EQ(report.status, RunStatus::kFail) << all_findings(report);
  EXPECT_TRUE(has_catalogue(report, "F19")) << all_findings(report);
}

TEST_F(CheckTest, ADetourThroughBf16IsNamedF64AndPriced) {
  // A detour is a legitimate, lossy recipe: a warning with its price, not a failure of the merge.
  const Report report = check("bf16");
  const auto detour =
      std::find_if(report.findings.begin(), report.findings.end(), [](const Finding& finding) {
        return std::find(finding.catalogue.begin(), finding.catalogue.end(), "F64") !=
               finding.catalogue.end();
      });
  ASSERT_NE(detour, report.findings.end()) << all_findings(report);
  EXPECT_EQ(detour->severity, Severity::kWarning);
  EXPECT_EQ(report.status, RunStatus::kPass) << all_findings(report);
  ASSERT_EQ(report.comparisons.size(), 3U) << "adapter/merged, adapter/remerge, remerge/merged";
  const double detoured = *metric(report.comparisons[0], "kl").mean;
  const double right = *metric(report.comparisons[1], "kl").mean;
  EXPECT_GT(detoured, 16 * right);  // three bits fewer: about 64 times the variance
}

/// The report's bytes without what may differ between two runs: clock, memory, thread count.
std::string reproducible_bytes(Report report) {
  report.timing.reset();
  report.memory.reset();
  report.tool.threads = 0;
  return write_report_json(report);
}

TEST_F(CheckTest, ThreadsChunksAndRepeatsGiveTheSameBytes) {
  ThreadPool pool(2);
  TemporaryFolder folder;
  const DemoFolders demo = write_demo(folder.path(), "scale", pool);
  const std::string expected = reproducible_bytes(check_folders(demo, 1));
  EXPECT_EQ(reproducible_bytes(check_folders(demo, 1)), expected) << "a repeated run";
  EXPECT_EQ(reproducible_bytes(check_folders(demo, 2)), expected) << "two threads";
  for (const std::int64_t chunk : {37, 4096}) {
    EXPECT_EQ(
        reproducible_bytes(check_folders(
            demo, 2, [chunk](CheckOptions& options) { options.compare.chunk_tokens = chunk; })),
        expected)
        << "chunks of " << chunk << " tokens";
  }
}

TEST_F(CheckTest, AMisspeltGateProfileEndsTheRunBeforeAnythingIsComputed) {
  const Report report = check("", 1, [](CheckOptions& options) { options.gates = "strickt"; });
  EXPECT_EQ(report.status, RunStatus::kInputError);
  ASSERT_TRUE(report.error.has_value());
  EXPECT_EQ(report.error->code, "gates.not-found");
  EXPECT_FALSE(report.audit.has_value());
  EXPECT_TRUE(report.comparisons.empty());
}

TEST_F(CheckTest, WhatIfShowsWhatAnotherStorageWouldCost) {
  const Report report = check("", 2, [](CheckOptions& options) {
    options.compare.what_if = {DType::kBF16, DType::kF32};
  });
  ASSERT_EQ(report.comparisons.size(), 3U);
  EXPECT_EQ(report.comparisons[1].subject, "remerge-bf16");
  EXPECT_EQ(report.comparisons[2].subject, "remerge-f32");
  const double fp16 = *metric(report.comparisons[0], "kl").mean;
  const double bf16 = *metric(report.comparisons[1], "kl").mean;
  const double fp32 = *metric(report.comparisons[2], "kl").mean;
  EXPECT_GT(bf16, 8 * fp16);  // three bits fewer: 64 times the variance
  EXPECT_LT(fp32, fp16);
}

/// Overwrites some bytes of a file.
void patch(const std::filesystem::path& path, std::int64_t from_end, std::uint16_t value,
           int count) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-from_end, std::ios::end);
  for (int i = 0; i < count; ++i) {
    file.write(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

TEST_F(CheckTest, NanInAWeightEndsInACompleteReportThatNamesThePlace) {
  ThreadPool pool(2);
  TemporaryFolder folder;
  const DemoFolders demo = write_demo(folder.path(), "", pool);
  patch(demo.merged / "model.safetensors", 256, 0x7E00, 128);  // model.norm.weight is stored last
  const Report report = check_folders(demo, 2);
  EXPECT_EQ(report.status, RunStatus::kFail) << all_findings(report);
  ASSERT_FALSE(report.comparisons.empty());
  const auto& lanes = report.comparisons.front().non_finite;
  const auto merged = std::find_if(lanes.begin(), lanes.end(),
                                   [](const NonFiniteLane& lane) { return lane.lane == "merged"; });
  ASSERT_NE(merged, lanes.end());
  EXPECT_GT(merged->rows, 0);
  ASSERT_TRUE(merged->first.has_value());
}

/// Multiplies the tensor whose name holds `part` in place; by a power of two, exactly.
void multiply(const std::filesystem::path& path, const std::string& part, double factor) {
  const SafetensorsHeader header = SafetensorsFile::open(path).header();
  const auto record = std::find_if(
      header.records.begin(), header.records.end(),
      [&](const SafetensorsRecord& r) { return r.name.find(part) != std::string::npos; });
  ASSERT_NE(record, header.records.end()) << part;
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  std::vector<std::byte> bytes(record->end - record->begin);
  const auto begin = static_cast<std::streamoff>(header.data_begin + record->begin);
  file.seekg(begin);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  const auto n = static_cast<std::int64_t>(bytes.size()) * 8 / dtype_bits(record->dtype);
  std::vector<double> values(static_cast<std::size_t>(n));
  widen_to_double(record->dtype, bytes.data(), n, values.data());
  for (double& value : values) {
    value *= factor;
  }
  narrow_from_double(record->dtype, values.data(), n, bytes.data());
  file.seekp(begin);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(file.good()) << path;
}

TEST_F(CheckTest, AModelThatOverflowsInFp16IsNamedF31WithThePlace) {
  // Every weight fits FP16 and the merge is right, but layer 3's activations do not fit.
  ThreadPool pool(2);
  TemporaryFolder folder;
  const DemoFolders demo = write_demo(folder.path(), "", pool);
  const std::string layer = "layers.3.mlp.up_proj";
  multiply(demo.base / "model.safetensors", layer, 32768);
  multiply(demo.merged / "model.safetensors", layer, 32768);
  multiply(demo.adapter / "adapter_model.safetensors", layer + ".lora_B", 32768);

  const Report exact = check_folders(demo, 2);
  EXPECT_EQ(exact.status, RunStatus::kFail) << all_findings(exact);
  const auto overflow =
      std::find_if(exact.findings.begin(), exact.findings.end(),
                   [](const Finding& f) { return f.rule == "compare.serving-overflow"; });
  ASSERT_NE(overflow, exact.findings.end()) << all_findings(exact);
  EXPECT_EQ(overflow->subject, "adapter, layer 3 mlp");
  EXPECT_EQ(overflow->catalogue, std::vector<std::string>{"F31"});
  EXPECT_FALSE(exact.floor.has_value()) << "a NaN is no noise";
  EXPECT_EQ(exact.audit->recipe.name, "one-rounding") << "the merge itself is right";

  const Report serving = check_folders(demo, 2, [](CheckOptions& options) {
    options.compare.engine.arithmetic = Arithmetic::kFp16;
  });
  EXPECT_EQ(serving.status, RunStatus::kFail);
  EXPECT_EQ(serving.comparisons.front().non_finite.size(), 3U) << "base, adapter and merged alike";
  EXPECT_NO_THROW(static_cast<void>(read_report_json(write_report_json(serving), "report")));
}

TEST_F(CheckTest, AnUnreadableInputIsAnErrorInTheReport) {
  ThreadPool pool(1);
  TemporaryFolder folder;
  DemoFolders demo = write_demo(folder.path(), "", pool);
  demo.adapter = folder.path() / "nowhere";
  const Report report = check_folders(demo, 1);
  EXPECT_EQ(report.status, RunStatus::kInputError);
  ASSERT_TRUE(report.error.has_value());
  EXPECT_EQ(exit_code(report.status), 2);
}

}  // namespace
}  // namespace mg
