// Bases that bitsandbytes stored in 4 and 8 bits: which weights a merge was made from, and what
// quantising it again left of the delta (docs/reference/failures.md, F28 and F29).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "harness/audit/audit.h"
#include "harness/audit/merge.h"
#include "harness/io/temporary_folder.h"
#include "harness/model/delta.h"
#include "kernels/core/convert.h"
#include "kernels/core/dequantise.h"
#include "kernels/core/shape.h"
#include "tests/audit/world.h"

namespace mg {
namespace {

const std::filesystem::path kGoldenFolder = std::filesystem::path(MG_TEST_DATA) / "golden";

struct Folders {
  std::filesystem::path base;
  std::filesystem::path adapter;
  std::filesystem::path merged;
  std::filesystem::path trained_on;
  BlockOrder order = BlockOrder::kByRow;
};

AuditOutcome audit_folders(const Folders& folders, int threads = 2) {
  const OpenOptions decoded{.decode = true, .block_order = folders.order};
  const Checkpoint base = Checkpoint::open(folders.base, decoded);
  const Adapter adapter = Adapter::open(folders.adapter);
  const Checkpoint merged = Checkpoint::open(folders.merged, decoded);
  const AttachedAdapter attached = attach(adapter, base);
  std::optional<Checkpoint> trained_on;
  if (!folders.trained_on.empty()) {
    trained_on.emplace(Checkpoint::open(folders.trained_on, decoded));
  }
  ThreadPool pool(threads);
  AuditOptions options;
  options.trained_on = trained_on ? &*trained_on : nullptr;
  return run_audit(base, adapter, attached, merged, pool, options);
}

const Finding* find_rule(const AuditOutcome& outcome, const std::string& rule) {
  const auto found = std::find_if(outcome.findings.begin(), outcome.findings.end(),
                                  [&](const Finding& finding) { return finding.rule == rule; });
  return found == outcome.findings.end() ? nullptr : &*found;
}

class QuantisedBase : public testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path case_ = kGoldenFolder / GetParam();
  std::filesystem::path sixteen_ = kGoldenFolder / "qwen2" / "base";
};

TEST_P(QuantisedBase, AMergeIntoTheDequantisedWeightsIsProvedOnTheCodesAlone) {
  const AuditOutcome outcome =
      audit_folders({case_ / "base", case_ / "adapter", case_ / "merged", {}});
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
  EXPECT_EQ(outcome.result.recipe.name, "dequantised-fp32");
  EXPECT_EQ(outcome.result.recipe.share, 1.0);
  EXPECT_EQ(outcome.result.summary.target, 21);
  EXPECT_EQ(outcome.result.summary.missing + outcome.result.summary.extra, 0);
  EXPECT_EQ(outcome.merged_into, MergedInto::kBase);
  for (const Finding& finding : outcome.findings) {
    EXPECT_EQ(finding.severity, Severity::kNote) << test::describe(outcome);
  }
}

TEST_P(QuantisedBase, AMergeIntoTheWeightsBehindTheCodesIsRecognisedWithoutThem) {
  const AuditOutcome outcome =
      audit_folders({case_ / "base", case_ / "adapter", case_ / "merged_16bit_base", {}});
  EXPECT_EQ(outcome.merged_into, MergedInto::kOriginal);
  const Finding* f28 = find_rule(outcome, "audit.quantised-base");
  ASSERT_NE(f28, nullptr) << test::describe(outcome);
  EXPECT_THAT(f28->catalogue, testing::ElementsAre("F28"));
  EXPECT_EQ(f28->severity, Severity::kWarning);
  EXPECT_THAT(f28->message, testing::StartsWith("21 tensors; "));
  EXPECT_EQ(test::exit_code_of(outcome), 3) << test::describe(outcome);
}

TEST_P(QuantisedBase, BothBasesTellTheTwoMergesApart) {
  const AuditOutcome into_sixteen =
      audit_folders({sixteen_, case_ / "adapter", case_ / "merged_16bit_base", case_ / "base"});
  EXPECT_EQ(test::exit_code_of(into_sixteen), 0) << test::describe(into_sixteen);
  EXPECT_EQ(into_sixteen.merged_into, MergedInto::kBase);
  EXPECT_EQ(into_sixteen.result.recipe.name, "one-rounding");
  const Finding* note = find_rule(into_sixteen, "audit.merge-base");
  ASSERT_NE(note, nullptr) << test::describe(into_sixteen);
  EXPECT_EQ(note->severity, Severity::kNote);
  EXPECT_THAT(note->message, testing::HasSubstr("merged was made from --base. "));
  EXPECT_EQ(note->actual, "21 of 21 adapted tensors are base + delta on --base, 0 on --trained-on");

  const AuditOutcome into_codes =
      audit_folders({sixteen_, case_ / "adapter", case_ / "merged", case_ / "base"});
  EXPECT_EQ(test::exit_code_of(into_codes), 0) << test::describe(into_codes);
  EXPECT_EQ(into_codes.merged_into, MergedInto::kTrainedOn);
  EXPECT_EQ(into_codes.result.recipe.name, "dequantised-fp32");
  const Finding* warning = find_rule(into_codes, "audit.merge-base");
  ASSERT_NE(warning, nullptr) << test::describe(into_codes);
  EXPECT_EQ(warning->severity, Severity::kWarning);
  EXPECT_THAT(warning->message, testing::HasSubstr("merged was made from the dequantised "
                                                   "--trained-on, not from --base. "));
}

/// The adapter with another lora_alpha, which was 16.
void copy_adapter(const std::filesystem::path& from, const std::filesystem::path& to,
                  const std::string& alpha) {
  std::filesystem::create_directories(to);
  std::filesystem::copy_file(from / "adapter_model.safetensors", to / "adapter_model.safetensors");
  std::ifstream in(from / "adapter_config.json");
  std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::string key = "\"lora_alpha\": ";
  text.replace(text.find(key), key.size() + 2, key + alpha);
  std::ofstream(to / "adapter_config.json") << text;
}

TEST_P(QuantisedBase, AFaultOnTheRightBaseIsStillNamed) {
  // Twice the scale: the story on the base that merged stands on, not a choice of bases.
  const TemporaryFolder folder;
  copy_adapter(case_ / "adapter", folder.path() / "adapter", "8");
  const AuditOutcome outcome =
      audit_folders({sixteen_, folder.path() / "adapter", case_ / "merged", case_ / "base"});
  EXPECT_EQ(test::exit_code_of(outcome), 1);
  EXPECT_EQ(outcome.merged_into, MergedInto::kTrainedOn);
  const Finding* scale = find_rule(outcome, "audit.scale");
  ASSERT_NE(scale, nullptr) << test::describe(outcome);
  EXPECT_EQ(scale->severity, Severity::kError);
}

TEST_P(QuantisedBase, ThreadsDoNotChangeABit) {
  const Folders folders{sixteen_, case_ / "adapter", case_ / "merged", case_ / "base"};
  const AuditOutcome one = audit_folders(folders, 1);
  const AuditOutcome many = audit_folders(folders, 3);
  EXPECT_EQ(test::describe(one), test::describe(many));
  for (std::size_t i = 0; i < one.result.tensors.size(); ++i) {
    EXPECT_EQ(one.result.tensors[i].c, many.result.tensors[i].c);
    EXPECT_EQ(one.result.tensors[i].rho, many.result.tensors[i].rho);
  }
}

TEST_P(QuantisedBase, IsMergedIntoOnRequestAndSaidSo) {
  const TemporaryFolder folder;
  const std::filesystem::path out = folder.path() / "merged";
  {
    const Checkpoint base = Checkpoint::open(case_ / "base", {.decode = true});
    const Adapter adapter = Adapter::open(case_ / "adapter");
    ThreadPool pool(2);
    const MergeSummary summary =
        merge_to_folder(base, adapter, attach(adapter, base), out, pool, {});
    EXPECT_EQ(summary.dequantised, 21);
    EXPECT_THAT(summary.config_changes,
                testing::Contains("removed quantization_config: the weights are not quantised"));
  }
  const AuditOutcome outcome = audit_folders({case_ / "base", case_ / "adapter", out, {}});
  EXPECT_EQ(test::exit_code_of(outcome), 0) << test::describe(outcome);
  for (const TensorAudit& tensor : outcome.result.tensors) {
    EXPECT_EQ(tensor.differing, 0) << tensor.name;
  }
  const nlohmann::json provenance = read_json(out / "mergegauge_merge.json");
  EXPECT_EQ(provenance["base_dequantised"]["weights"], 21);
  EXPECT_EQ(provenance["changed_tensors"][0]["dequantised_from"],
            Checkpoint::open(case_ / "base", {.decode = true}).quantised().front()->format);
  for (const StoredTensor& tensor : Checkpoint::open(out).tensors()) {
    EXPECT_EQ(tensor.view.dtype, DType::kF16) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, QuantisedBase,
                         testing::Values("qwen2-nf4", "qwen2-fp4", "qwen2-int8"),
                         [](const auto& entry) {
                           return std::string(entry.param).substr(6);  // "nf4"
                         });

/// The FP4 base's file with the codes and scales of other numbers: what PEFT's merge into a
/// quantised model leaves.
class Requantised : public testing::Test {
 protected:
  /// W + delta, quantised in blocks of 64 to the nearest level, W taken from `from`.
  void write(const std::filesystem::path& from) {
    const OpenOptions decoded{.decode = true, .block_order = BlockOrder::kFlat};
    std::filesystem::copy(fp4_ / "base", out());
    // A delta of 7 % of the weights.
    copy_adapter(fp4_ / "adapter", folder_.path() / "adapter", "4");
    const Checkpoint codes = Checkpoint::open(fp4_ / "base", decoded);
    const Checkpoint weights = Checkpoint::open(from, decoded);
    const Adapter adapter = Adapter::open(folder_.path() / "adapter");
    const AttachedAdapter attached = attach(adapter, weights);
    const SafetensorsFile& file = codes.shards().front();
    std::vector<std::byte> bytes(file.file().bytes().begin(), file.file().bytes().end());
    for (const auto& tensor : codes.quantised()) {
      const StoredTensor& weight = *weights.find(tensor->name);
      const DecodedHold hold = weights.decode(weight);
      std::vector<double> values(to_index(weight.view.elements()));
      widen_to_double(weight.view.dtype, weight.view.data, weight.view.elements(), values.data());
      std::vector<double> delta(values.size());
      DeltaRows(*attached.delta_for(weight)).compute(0, tensor->rows_count, delta.data());
      for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] += delta[i];
      }
      std::byte* packed = bytes.data() + (tensor->parts[0].view.data - file.file().bytes().data());
      const TensorView& absmax = part(*tensor, ".absmax").view;
      quantise(values, packed, bytes.data() + (absmax.data - file.file().bytes().data()));
    }
    std::filesystem::remove(out() / "model.safetensors");
    std::ofstream(out() / "model.safetensors", std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
  }

  std::filesystem::path out() const { return folder_.path() / "merged"; }

  AuditOutcome audit_against(const std::filesystem::path& base,
                             const std::filesystem::path& trained_on) const {
    return audit_folders({base, folder_.path() / "adapter", out(), trained_on, BlockOrder::kFlat});
  }

  const std::filesystem::path fp4_ = kGoldenFolder / "qwen2-fp4";
  const std::filesystem::path sixteen_ = kGoldenFolder / "qwen2" / "base";

 private:
  static const StoredTensor& part(const QuantisedTensor& tensor, const std::string& suffix) {
    return *std::find_if(tensor.parts.begin(), tensor.parts.end(),
                         [&](const StoredTensor& each) { return each.name.ends_with(suffix); });
  }

  static void quantise(const std::vector<double>& values, std::byte* packed, std::byte* absmax) {
    for (std::size_t begin = 0; begin < values.size(); begin += 64) {
      float scale = 0;
      for (std::size_t i = begin; i < begin + 64; ++i) {
        scale = std::max(scale, static_cast<float>(std::fabs(values[i])));
      }
      std::memcpy(absmax + begin / 64 * 4, &scale, sizeof(scale));
      for (std::size_t i = begin; i < begin + 64; ++i) {
        unsigned best = 0;
        for (unsigned code = 1; code < 16; ++code) {
          const auto off = [&](unsigned c) {
            return std::fabs(values[i] - static_cast<double>(kFp4Levels[c] * scale));
          };
          best = off(code) < off(best) ? code : best;
        }
        std::byte& pair = packed[i / 2];
        pair =
            i % 2 == 0 ? static_cast<std::byte>(best << 4U) : pair | static_cast<std::byte>(best);
      }
    }
  }

  TemporaryFolder folder_;
};

TEST_F(Requantised, OnTheGridItCameFromTheDeltaIsAbsorbed) {
  write(fp4_ / "base");
  for (const AuditOutcome& outcome :
       {audit_against(fp4_ / "base", {}), audit_against(sixteen_, fp4_ / "base")}) {
    EXPECT_EQ(test::exit_code_of(outcome), 1);
    const Finding* f29 = find_rule(outcome, "audit.requantised");
    ASSERT_NE(f29, nullptr) << test::describe(outcome);
    EXPECT_THAT(f29->catalogue, testing::ElementsAre("F29"));
    EXPECT_THAT(f29->message, testing::HasSubstr("(F29a; ")) << test::describe(outcome);
  }
}

TEST_F(Requantised, FromSixteenBitsTheDeltaIsBuriedInNewRounding) {
  write(sixteen_);
  for (const AuditOutcome& outcome :
       {audit_against(sixteen_, {}), audit_against(sixteen_, fp4_ / "base")}) {
    EXPECT_EQ(test::exit_code_of(outcome), 1);
    const Finding* f29 = find_rule(outcome, "audit.requantised");
    ASSERT_NE(f29, nullptr) << test::describe(outcome);
    EXPECT_THAT(f29->message, testing::HasSubstr("(F29b)")) << test::describe(outcome);
  }
}

}  // namespace
}  // namespace mg
