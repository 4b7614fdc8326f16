// The selftest: what it plants is what a broken merge holds, every fault is caught, and one that is
// not caught is told.
#include "harness/run/selftest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "harness/io/json_file.h"
#include "harness/io/temporary_folder.h"
#include "harness/run/demo.h"

namespace mg {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

/// Every file's content and time of change.
std::map<std::string, std::pair<std::string, std::filesystem::file_time_type>> files_of(
    const std::filesystem::path& folder) {
  std::map<std::string, std::pair<std::string, std::filesystem::file_time_type>> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[entry.path().string()] = {read_text(entry.path()), entry.last_write_time()};
    }
  }
  return files;
}

class SelftestTest : public ::testing::Test {
 protected:
  Report selftest(const DemoFolders& demo) {
    CheckOptions options;
    options.base = demo.base;
    options.adapter = demo.adapter;
    options.merged = demo.merged;
    options.digests = false;
    options.compare.bootstrap.replicates = 500;
    options.compare.floor_tokens = 512;
    return run_selftest(options, pool_, [](const std::string&, double) {});
  }

  ThreadPool pool_{2};
  TemporaryFolder folder_;
};

TEST_F(SelftestTest, EveryFaultInTheDemoIsCaughtAndTheDemoIsLeftAlone) {
  const DemoFolders demo = write_demo(folder_.path(), "", pool_);
  const auto before = files_of(folder_.path());
  const Report report = selftest(demo);
  EXPECT_TRUE(files_of(folder_.path()) == before);
  EXPECT_EQ(report.status, RunStatus::kPass);
  ASSERT_TRUE(report.selftest);
  ASSERT_EQ(report.selftest->detections.size(), damages().size());
  for (std::size_t i = 0; i < damages().size(); ++i) {
    const Detection& row = report.selftest->detections[i];
    EXPECT_EQ(row.damage, damages()[i].name);
    EXPECT_EQ(row.outcome, DetectionOutcome::kCaught) << row.damage << ": " << row.note;
    EXPECT_EQ(row.exit_code, damages()[i].fails ? 1 : 0) << row.damage;
  }
  // The rest is the check of the undamaged merge.
  EXPECT_EQ(report.comparisons.size(), 1U);
  EXPECT_EQ(report.audit->recipe.name, "one-rounding");
}

TEST_F(SelftestTest, AMergeThatFailsUndamagedFails) {
  const Report report = selftest(write_demo(folder_.path(), "drop-layer", pool_));
  EXPECT_EQ(report.status, RunStatus::kFail);
  ASSERT_TRUE(report.selftest);
  // The layer that is missing already cannot be told from the planted one.
  const Detection& dropped = report.selftest->detections.front();
  EXPECT_EQ(dropped.damage, "drop-layer");
  EXPECT_EQ(dropped.outcome, DetectionOutcome::kMissed);
}

TEST_F(SelftestTest, AnInputThatCannotBeReadIsTheReport) {
  DemoFolders demo = write_demo(folder_.path(), "", pool_);
  demo.adapter = folder_.path() / "nowhere";
  const Report report = selftest(demo);
  EXPECT_EQ(report.status, RunStatus::kInputError);
  EXPECT_TRUE(report.error);
  EXPECT_FALSE(report.selftest);
}

TEST_F(SelftestTest, WhatIsReadIsWhatABrokenMergeHolds) {
  const DemoFolders demo = write_demo(folder_.path(), "", pool_);
  const OpenModel base(demo.base);
  const OpenAdapter adapter(demo.adapter, base);
  const OpenModel merged(demo.merged);
  for (const DamageName& damage : damages()) {
    if (damage.in_files) {
      continue;
    }
    const std::filesystem::path written = folder_.path() / ("broken-" + std::string(damage.name));
    write_damaged_merge(base, adapter, damage.damage, written, pool_);
    const OpenModel broken(written);
    const DamagedTensors planted(base, adapter, merged, damage.damage);
    EXPECT_EQ(planted.not_planted(), "");
    std::int64_t altered = 0;
    for (const StoredTensor& tensor : merged.checkpoint.tensors()) {
      if (!planted.alters(tensor)) {
        continue;
      }
      ++altered;
      const std::vector<std::byte> bytes = planted.read(tensor);
      ASSERT_EQ(bytes.size(), tensor.view.bytes);
      EXPECT_NE(std::memcmp(bytes.data(), tensor.view.data, bytes.size()), 0) << tensor.name;
      // Both begin from the right merge; where one element is spoilt, the demo's own stray ulps
      // stay.
      if (damage.damage != Damage::kNan && damage.damage != Damage::kBit) {
        const StoredTensor& other = *broken.checkpoint.find(tensor.name);
        EXPECT_EQ(std::memcmp(bytes.data(), other.view.data, bytes.size()), 0)
            << damage.name << " " << tensor.name;
      }
    }
    EXPECT_GT(altered, 0) << damage.name;
  }
}

TEST_F(SelftestTest, ADetourThroughTheStoredDtypeCannotBePlanted) {
  // A base of the golden models is stored as BF16: read as merged, it has nothing to lose there.
  const std::filesystem::path golden = std::filesystem::path(MG_TEST_DATA) / "golden/llama3-rope";
  const OpenModel base(golden / "base");
  const OpenAdapter adapter(golden / "adapter", base);
  ASSERT_EQ(stored_dtype(base.checkpoint), DType::kBF16);
  EXPECT_EQ(DamagedTensors(base, adapter, base, Damage::kBf16).not_planted(),
            "merged is stored as BF16 already");
}

TEST_F(SelftestTest, FilesAreDamagedInAFolderOfLinks) {
  const DemoFolders demo = write_demo(folder_.path(), "", pool_);
  const std::filesystem::path out = folder_.path() / "damaged";
  EXPECT_EQ(write_damaged_files(demo.merged, Damage::kLeftoverConfig, out), "");
  EXPECT_TRUE(std::filesystem::is_symlink(out / "model.safetensors"));
  EXPECT_FALSE(std::filesystem::is_symlink(out / "config.json"));
  EXPECT_THAT(read_text(out / "config.json"), ::testing::HasSubstr("quantization_config"));
  EXPECT_THAT(read_text(demo.merged / "config.json"),
              ::testing::Not(::testing::HasSubstr("quantization_config")));
  std::filesystem::remove(demo.merged / "tokenizer.json");
  EXPECT_EQ(write_damaged_files(demo.merged, Damage::kStaleTokenizer, folder_.path() / "other"),
            "merged has no tokenizer.json");
}

Finding finding(const std::string& rule, const std::string& command, const std::string& subject) {
  return {rule, {}, Severity::kError, command, subject, "", "", "", std::nullopt};
}

TEST(Detect, CountsOnlyWhatTheUndamagedMergeDoesNotSetOff) {
  const DamageName damage{"x", Damage::kTwice, "story", false, {"audit.scale", "kl.mean"}, true};
  Report right;
  right.findings = {finding("config.dtype", "lint", "config.json"),
                    finding("audit.scale", "audit", "layer 1")};
  Report damaged = right;
  damaged.status = RunStatus::kFail;
  EXPECT_EQ(detect(damage, right, damaged).note, "silent: audit.scale, kl.mean");
  EXPECT_THAT(detect(damage, right, damaged).lint, IsEmpty());

  damaged.findings.push_back(finding("audit.scale", "audit", "layer 2"));
  Verdict verdict;
  verdict.gate = "kl.mean";
  verdict.status = GateStatus::kFail;
  damaged.verdicts = {verdict};
  const Detection row = detect(damage, right, damaged);
  EXPECT_EQ(row.outcome, DetectionOutcome::kCaught);
  EXPECT_THAT(row.audit, ElementsAre("audit.scale"));
  EXPECT_THAT(row.compare, Contains("kl.mean"));

  damaged.verdicts[0].blocking = false;  // an advisory gate catches nothing
  EXPECT_EQ(detect(damage, right, damaged).note, "silent: kl.mean");
  damaged.verdicts[0].blocking = true;
  damaged.status = RunStatus::kInconclusive;
  EXPECT_EQ(detect(damage, right, damaged).note, "the check did not fail");
  EXPECT_EQ(detect(damage, right, damaged).outcome, DetectionOutcome::kMissed);
}

}  // namespace
}  // namespace mg
