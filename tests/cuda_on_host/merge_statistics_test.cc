// The audit with an emulated device: whatever is stored and however it was merged, every figure is
// the one that the host's own loop gives, bit for bit.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "harness/audit/device_sweep.h"
#include "harness/result/report.h"
#include "harness/run/models.h"
#include "kernels/registry.h"
#include "reports/json/report_json.h"
#include "tests/audit/world.h"
#include "tests/cuda_on_host/machine.h"

namespace mg {
namespace {

using test::LowRankCase;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

class MergeStatisticsTest : public testing::Test {
 protected:
  void SetUp() override { cuda_on_host::reset({}); }
  void TearDown() override {
    EXPECT_THAT(cuda_on_host::take_failures(), testing::IsEmpty());
    EXPECT_EQ(cuda_on_host::counts().allocations, 0U) << "all memory was given back";
  }

  std::unique_ptr<Backend> make() {
    return make_backend("cuda", {.arithmetic = Arithmetic::kExact, .pool = &pool_, .isa = {}});
  }

  ThreadPool pool_{2};
};

/// In parts of `step` rows; by `device` where there is one.
TargetMeasure measure(const LowRankCase& c, const test::Tensor& merged, std::int64_t step,
                      MergeStatistics* device) {
  const DeltaRows delta(c.attached);
  const TargetViews views{c.weight.view(), merged.view(), &delta};
  DeviceSweep sweep;
  if (device != nullptr) {
    sweep.run(*device, views, step);
    EXPECT_FALSE(sweep.empty());
  }
  TargetMeasure total;
  std::size_t part = 0;
  for (std::int64_t begin = 0; begin < delta.rows(); begin += step, ++part) {
    const std::int64_t end = std::min(delta.rows(), begin + step);
    total.add(device == nullptr ? measure_rows(views, begin, end)
                                : sweep.measure(views, part, begin, end));
  }
  return total;
}

auto figures_of(const TargetMeasure& m) {
  return std::vector<double>{m.weight_square, m.delta_square, m.residual_delta, m.residual_square,
                             m.step_square,   m.error_step,   m.error_square,   m.noise_square,
                             m.max_merged,    m.max_expected, m.scale_low,      m.scale_high};
}
auto counts_of(const TargetMeasure& m) {
  std::vector<std::int64_t> counts{m.elements,  m.nonzero_delta, m.unchanged,  m.changed,
                                   m.differing, m.unexplained,   m.non_finite, m.unusable,
                                   m.overflow,  m.subnormal};
  counts.insert(counts.end(), m.ulp_histogram.begin(), m.ulp_histogram.end());
  for (const auto* samples : {&m.unexplained_samples, &m.non_finite_samples}) {
    for (const ElementSample& sample : *samples) {
      counts.push_back(sample.index);
    }
  }
  return counts;
}

void expect_same(const LowRankCase& c, const test::Tensor& merged, std::int64_t step,
                 MergeStatistics& device, const std::string& what) {
  const TargetMeasure host = measure(c, merged, step, nullptr);
  const TargetMeasure own = measure(c, merged, step, &device);
  EXPECT_EQ(counts_of(own), counts_of(host)) << what;
  EXPECT_EQ(figures_of(own), figures_of(host)) << what;
}

TEST_F(MergeStatisticsTest, EveryFigureIsTheHostsBitForBit) {
  const auto backend = make();
  MergeStatistics& device = *backend->merge_statistics();
  struct Size {
    std::int64_t rows, cols, rank, step;
  };
  const auto try_all = [&](const Size& size, DType base, DType stored) {
    LowRankCase c;
    c.fill({.rows = size.rows, .cols = size.cols, .rank = size.rank, .base = base});
    const std::string what = fmt::format("{} x {} {} into {}", size.rows, size.cols,
                                         dtype_name(base), dtype_name(stored));
    expect_same(c, c.merge(stored), size.step, device, what);
    expect_same(c, c.merge(stored, {.delta = stored}), size.step, device, what + ", twice rounded");
    expect_same(c, c.merge(stored, {}, 1.3), size.step, device, what + ", 1.3 times");
    expect_same(c, c.merge(stored, {}, 0.0), size.step, device, what + ", nothing merged");
  };
  for (const DType base : {DType::kF16, DType::kBF16, DType::kF32}) {
    for (const DType stored : {DType::kF16, DType::kBF16, DType::kF32}) {
      try_all({13, 21, 5, 4}, base, stored);
    }
  }
  // One column (a bias), fewer than a group, a row longer than a block, parts of several blocks of
  // which the last is short, all with tails.
  for (const Size& size : {Size{1, 1, 1, 1}, Size{700, 1, 1, 700}, Size{131, 3, 2, 131},
                           Size{2, 17001, 2, 1}, Size{15, 1500, 3, 14}}) {
    try_all(size, DType::kBF16, DType::kF16);
  }
}

TEST_F(MergeStatisticsTest, MoreChunksThanTheDeviceTakesAtOnce) {
  const auto backend = make();
  LowRankCase c;
  c.fill({.rows = 8200, .cols = 1, .rank = 1});
  const std::size_t before = cuda_on_host::counts().kernels;
  const test::Tensor merged = c.merge(DType::kF16, {}, 1.1);
  expect_same(c, merged, 1, *backend->merge_statistics(), "a chunk an element");
  EXPECT_EQ(cuda_on_host::counts().kernels - before, 2U);
}

TEST_F(MergeStatisticsTest, WhatIsNotFiniteIsCountedAndNamedAsOnTheHost) {
  const auto backend = make();
  MergeStatistics& device = *backend->merge_statistics();
  for (const DType stored : {DType::kF16, DType::kBF16}) {
    for (const double value : {kInfinity, -kInfinity, kNan}) {
      LowRankCase c;
      c.fill({.rows = 40, .cols = 77, .base = stored});
      test::Tensor merged = c.merge(stored);
      merged.set(5, value);            // merged alone
      merged.set(40 * 77 - 1, value);  // in the last group, which is short
      c.weight.set(1000, value);       // base alone
      c.weight.set(2001, value);       // both, as a right merge has it
      merged.set(2001, value);
      c.weight.set(2500, stored == DType::kF16 ? 65504.0 : 3.3e38);  // overflows, or nearly
      merged.set(2501, 1e-7);                                        // subnormal in FP16
      expect_same(c, merged, 16, device, std::string(dtype_name(stored)));
      EXPECT_GT(measure(c, merged, 16, &device).non_finite, 0);
    }
  }
}

TEST_F(MergeStatisticsTest, DoraIsLeftToTheHost) {
  const auto backend = make();
  LowRankCase c;
  c.fill({.rows = 20, .cols = 30, .dora = true});
  const test::Tensor merged = c.merge(DType::kF16);
  const DeltaRows delta(c.attached);
  DeviceSweep sweep;
  sweep.run(*backend->merge_statistics(), {c.weight.view(), merged.view(), &delta}, 20);
  EXPECT_TRUE(sweep.empty());
}

TEST_F(MergeStatisticsTest, NoOrderOfThreadsOrStreamsChangesABit) {
  LowRankCase c;
  c.fill({.rows = 60, .cols = 333});
  test::Tensor merged = c.merge(DType::kF16, {}, 0.7);
  merged.set(77, kNan);
  const TargetMeasure host = measure(c, merged, 24, nullptr);
  for (std::uint64_t seed = 1; seed < 6; ++seed) {
    cuda_on_host::reset({.seed = seed, .delayed = seed > 2});
    const auto backend = make();
    const TargetMeasure own = measure(c, merged, 24, backend->merge_statistics());
    EXPECT_EQ(figures_of(own), figures_of(host)) << seed;
    EXPECT_EQ(counts_of(own), counts_of(host)) << seed;
  }
}

std::string audit_json(const std::filesystem::path& folder, ThreadPool& pool,
                       MergeStatistics* device) {
  const Checkpoint base = Checkpoint::open(folder / "base", {.decode = true});
  const Adapter adapter = Adapter::open(folder / "adapter");
  const Checkpoint merged = Checkpoint::open(folder / "merged", {.decode = true});
  AuditOptions options;
  options.device = device;
  AuditOutcome outcome = run_audit(base, adapter, attach(adapter, base), merged, pool, options);
  Report report;
  report.findings = std::move(outcome.findings);
  report.audit = std::move(outcome.result);
  return write_report_json(report);
}

TEST_F(MergeStatisticsTest, TheWholeAuditSaysTheSame) {
  for (const double multiple : {1.0, 0.5}) {
    test::World world({.base = DType::kBF16, .merged = DType::kBF16});
    if (multiple != 1.0) {
      const std::string target = world.targets().front();
      world.merged[target] = world.merge_target(target, multiple);
    }
    const std::filesystem::path folder = world.write();
    const auto backend = make();
    const std::size_t before = cuda_on_host::counts().kernels;
    const std::string own = audit_json(folder, pool_, backend->merge_statistics());
    EXPECT_EQ(cuda_on_host::counts().kernels - before, world.targets().size());
    EXPECT_EQ(own, audit_json(folder, pool_, nullptr)) << multiple;
  }
}

TEST_F(MergeStatisticsTest, GoldenCasesAreAuditedAsOnTheHost) {
  int cases = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(MG_TEST_DATA) / "golden")) {
    if (!std::filesystem::exists(entry.path() / "merged" / "config.json") ||
        !std::filesystem::exists(entry.path() / "base" / "config.json") ||
        !std::filesystem::exists(entry.path() / "adapter" / "adapter_config.json")) {
      continue;
    }
    const auto backend = make();
    EXPECT_EQ(audit_json(entry.path(), pool_, backend->merge_statistics()),
              audit_json(entry.path(), pool_, nullptr))
        << entry.path().filename();
    ++cases;
  }
  EXPECT_GE(cases, 10);
}

TEST_F(MergeStatisticsTest, TheHostTakesWhatDeviceMemoryIsTooShortFor) {
  const test::World world({});
  const std::filesystem::path folder = world.write();
  const auto backend = make();
  cuda_on_host::set_memory(1024);
  const std::string own = audit_json(folder, pool_, backend->merge_statistics());
  EXPECT_EQ(own, audit_json(folder, pool_, nullptr));
  EXPECT_THAT(backend->notes(),
              testing::Contains(
                  fmt::format("device memory was short: {} merged weights were audited on the host",
                              world.targets().size())));
}

}  // namespace
}  // namespace mg
