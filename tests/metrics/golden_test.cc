// The metrics of the reference implementation's own logits against the figures it computed from
// them.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/json_file.h"
#include "harness/io/safetensors.h"
#include "harness/metrics/quantile.h"
#include "harness/metrics/summary.h"

namespace mg {
namespace {

namespace fs = std::filesystem;

struct GoldenPrompt {
  std::string id;
  std::vector<std::int32_t> input_ids;
};

std::vector<GoldenPrompt> read_prompts(const fs::path& folder) {
  std::vector<GoldenPrompt> prompts;
  std::ifstream lines(folder / "inputs.jsonl");
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    prompts.push_back({json.at("id"), json.at("input_ids")});
  }
  return prompts;
}

// The logits of one lane of one prompt, FP32 [T, V].
struct Logits {
  std::vector<float> values;
  std::int64_t V = 0;
};

class GoldenLogits {
 public:
  explicit GoldenLogits(const fs::path& folder)
      : file_(SafetensorsFile::open(folder / "expected.safetensors")) {}

  Logits read(const std::string& name) const {
    for (const SafetensorsRecord& record : file_.header().records) {
      if (record.name == name) {
        const TensorView view = file_.view(record);
        Logits logits{std::vector<float>(static_cast<std::size_t>(view.elements())), view.shape[1]};
        std::memcpy(logits.values.data(), view.data, view.bytes);
        return logits;
      }
    }
    throw std::runtime_error("no tensor " + name);
  }

 private:
  SafetensorsFile file_;
};

// Fed prompt by prompt, as pairs adapter/merged and adapter/base.
MetricAccumulator accumulate(const fs::path& folder, const std::string& merged) {
  const auto prompts = read_prompts(folder);
  std::vector<PromptRows> layout;
  for (const GoldenPrompt& prompt : prompts) {
    layout.push_back({prompt.id, static_cast<std::int64_t>(prompt.input_ids.size()),
                      next_tokens_of(prompt.input_ids)});
  }
  const GoldenLogits golden(folder);
  const std::int64_t V = golden.read(prompts[0].id + ".adapter").V;
  MetricAccumulator rows(RowLayout(layout), V, {"base", "adapter", "merged"},
                         {{1, 2, 0}, {1, 0, -1}});
  ThreadPool pool(1);
  std::int64_t first = 0;
  for (const GoldenPrompt& prompt : prompts) {
    const Logits base = golden.read(prompt.id + ".base");
    const Logits adapter = golden.read(prompt.id + ".adapter");
    const Logits subject = golden.read(prompt.id + "." + merged);
    const auto T = static_cast<std::int64_t>(prompt.input_ids.size());
    const std::vector<LogitRows> lanes{
        {base.values.data(), V}, {adapter.values.data(), V}, {subject.values.data(), V}};
    rows.add_rows(first, T, lanes, pool);
    first += T;
  }
  return rows;
}

// The stored logits are float roundings of the doubles the figures come from: off by at most 2^-24
// |z| each. With e = 2 * 2^-24 max|z| >= the error of a difference d:
//   max_abs, rms   change by at most e;
//   KL             to second order Var_p(d)/2, so by at most sqrt(2 KL) e + e^2/2; the third order
//   is max|d| times that; JS             is bounded by the same; a NLL changes by at most e.
// Mean, percentiles and extremes of rows change by at most the largest change of a row.
struct Tolerances {
  double logit = 0.0;  // e
  double kl = 0.0;
  double cosine = 0.0;
};

Tolerances derive_tolerances(const MetricAccumulator& rows, double largest_logit) {
  Tolerances out;
  out.logit = 2.0 * std::exp2(-24) * largest_logit;
  for (const PairRow& row : rows.pair_rows(0)) {
    const double first_order =
        std::sqrt(2.0 * std::max(row.kl, row.reverse_kl)) * out.logit + 0.5 * out.logit * out.logit;
    out.kl = std::max(out.kl, first_order * (1.0 + row.max_abs_centred));
    // Each row vector turns by at most 2^-24, and d cos = sin * d angle.
    const double turn = 2.0 * std::exp2(-24);
    const double sine = std::sqrt(std::max(0.0, 1.0 - row.cosine * row.cosine));
    out.cosine = std::max(out.cosine, sine * turn + turn * turn);
  }
  return out;
}

double largest_logit(const fs::path& folder) {
  const GoldenLogits golden(folder);
  double largest = 0.0;
  for (const GoldenPrompt& prompt : read_prompts(folder)) {
    for (const char* lane : {".base", ".adapter", ".merged"}) {
      for (const float z : golden.read(prompt.id + lane).values) {
        largest = std::max(largest, std::abs(static_cast<double>(z)));
      }
    }
  }
  return largest;
}

void expect_metric(const MetricAccumulator& rows, const char* name, const nlohmann::json& expected,
                   double tolerance) {
  const MetricDef& metric = metric_by_name(name);
  std::vector<double> values;
  double sum = 0.0;
  for (const PairRow& row : rows.pair_rows(0)) {
    ASSERT_TRUE(metric_applies(metric, row));
    values.push_back(metric.value(row, {}));
    sum += values.back();
  }
  std::sort(values.begin(), values.end());
  // Sums of some hundred doubles: 1e-13 relative.
  const auto check = [&](const char* key, double actual) {
    const double wanted = expected.at(key);
    EXPECT_TRUE(std::abs(actual - wanted) <= tolerance + 1e-13 * std::abs(wanted))
        << name << "." << key << ": " << actual << " instead of " << wanted << ", tolerance "
        << tolerance;
  };
  check("mean", sum / static_cast<double>(values.size()));
  check("min", values.front());
  check("max", values.back());
  check("median", quantile_of_sorted(values, 0.5));
  check("p95", quantile_of_sorted(values, 0.95));
  check("p99", quantile_of_sorted(values, 0.99));
}

double mean_of(const MetricAccumulator& rows, int pair, const char* name) {
  const MetricDef& metric = metric_by_name(name);
  double sum = 0.0;
  double count = 0.0;
  for (const PairRow& row : rows.pair_rows(pair)) {
    if (metric_applies(metric, row)) {
      sum += metric.value(row, {});
      count += 1.0;
    }
  }
  return sum / count;
}

class Golden : public ::testing::TestWithParam<std::string> {
 public:
  static fs::path folder(const std::string& name) {
    return fs::path(MG_TEST_DATA) / "golden" / name;
  }
};

std::vector<std::string> cases(bool quantised) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(MG_TEST_DATA) / "golden")) {
    if (fs::exists(entry.path() / "expected.json") &&
        quantised != read_json(entry.path() / "expected.json").contains("metrics")) {
      names.push_back(entry.path().filename());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Cases, Golden, ::testing::ValuesIn(cases(false)), test_name);

TEST_P(Golden, MetricsEqualTheReferenceImplementations) {
  const nlohmann::json expected = read_json(folder(GetParam()) / "expected.json");
  const MetricAccumulator rows = accumulate(folder(GetParam()), "merged");
  ASSERT_TRUE(rows.complete());
  ASSERT_EQ(rows.layout().rows(), expected.at("tokens"));
  const Tolerances tolerances = derive_tolerances(rows, largest_logit(folder(GetParam())));
  // The tolerance must leave the figures room to be wrong: KL to better than 1 %.
  ASSERT_LT(tolerances.kl, 1e-2 * expected.at("metrics").at("kl").at("mean").get<double>());
  const nlohmann::json& metrics = expected.at("metrics");
  expect_metric(rows, "kl", metrics.at("kl"), tolerances.kl);
  expect_metric(rows, "reverse_kl", metrics.at("reverse_kl"), tolerances.kl);
  expect_metric(rows, "js", metrics.at("js"), tolerances.kl);
  expect_metric(rows, "max_abs", metrics.at("max_abs"), tolerances.logit);
  expect_metric(rows, "rms", metrics.at("rms"), tolerances.logit);
  expect_metric(rows, "cosine", metrics.at("cosine"), tolerances.cosine);
  expect_metric(rows, "top1_agreement", metrics.at("top1_same"), 0.0);
  expect_metric(rows, "top5_overlap", metrics.at("top5_overlap"),
                std::exp2(-25));  // the shares were stored as floats: 0.8 is 0.80000001
  EXPECT_NEAR(mean_of(rows, 0, "nll_reference"), expected.at("mean_nll").at("adapter"),
              tolerances.logit);
  EXPECT_NEAR(mean_of(rows, 0, "nll_subject"), expected.at("mean_nll").at("merged"),
              tolerances.logit);
  // Which way the base's KL was taken is not written beside the figure: one of the two must match.
  const double base = expected.at("base_vs_adapter_kl_mean");
  const double forward = mean_of(rows, 0, "kl_base");
  const double backward = mean_of(rows, 1, "reverse_kl");
  EXPECT_TRUE(std::abs(forward - base) <= 1e-5 * base || std::abs(backward - base) <= 1e-5 * base)
      << forward << " and " << backward << " instead of " << base;
}

class GoldenQuantised : public Golden {};

INSTANTIATE_TEST_SUITE_P(Cases, GoldenQuantised, ::testing::ValuesIn(cases(true)), test_name);

TEST_P(GoldenQuantised, MeanKlEqualsTheReferenceImplementations) {
  const nlohmann::json expected = read_json(folder(GetParam()) / "expected.json");
  const double e = 2.0 * std::exp2(-24) * largest_logit(folder(GetParam()));
  for (const std::string merged : {"merged", "merged_16bit_base"}) {
    const MetricAccumulator rows = accumulate(folder(GetParam()), merged);
    const double wanted = expected.at("kl_mean(adapter||" + merged + ")");
    EXPECT_NEAR(mean_of(rows, 0, "kl"), wanted, 2.0 * std::sqrt(2.0 * wanted) * e);
    const double base = expected.at("kl_mean(adapter||base)");
    EXPECT_NEAR(mean_of(rows, 0, "kl_base"), base, 2.0 * std::sqrt(2.0 * base) * e);
  }
}

}  // namespace
}  // namespace mg
