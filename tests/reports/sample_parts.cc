#include "tests/reports/sample_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace mg::samples {
namespace {

std::vector<NamedMetric> metrics_of(const Distance& distance, std::int64_t tokens, Sequence& s) {
  const auto positive = [&](double mean) {
    MetricSummary m;
    m.mean = mean;
    m.ci95 = Interval{mean * 0.81, mean * 1.24};
    m.ci90 = Interval{mean * 0.84, mean * 1.2};
    m.ci_method = IntervalMethod::kBca;
    m.se = mean * 0.11;
    m.prompts = 24;
    m.p50 = mean * 0.72;
    m.p90 = mean * 2.0;
    m.p95 = mean * 2.7;
    m.min = mean * 0.01;
    m.max = mean * s.around(11.0, 1.2);
    m.worst = Place{"smoke-07", 17, std::nullopt};
    m.count = tokens;
    return m;
  };
  const auto share = [&](double mean) {
    MetricSummary m;
    m.mean = mean;
    m.ci95 = Interval{mean - 2.0 * (1.0 - mean), std::min(1.0, mean + 0.8 * (1.0 - mean))};
    m.ci_method = IntervalMethod::kBca;
    m.min = 0.0;
    m.max = 1.0;
    m.p50 = 1.0;
    m.count = tokens;
    return m;
  };
  MetricSummary signed_metric = positive(std::fabs(distance.delta_nll));
  signed_metric.mean = distance.delta_nll;
  signed_metric.ci95 = Interval{distance.delta_nll - 4e-5, distance.delta_nll + 4e-5};
  signed_metric.count = tokens - tokens / 128;
  MetricSummary max_abs = positive(distance.logit);
  max_abs.worst->token = 318;
  return {
      {"kl", positive(distance.kl)},
      {"reverse_kl", positive(distance.kl * 1.001)},
      {"js", positive(distance.kl * 0.25)},
      {"tv", positive(std::sqrt(distance.kl) * 0.4)},
      {"max_abs", max_abs},
      {"rms", positive(distance.logit * 0.2)},
      {"max_abs_centred", max_abs},
      {"rms_centred", positive(distance.logit * 0.19)},
      {"cosine", share(1.0 - distance.kl * 0.1)},
      {"top1_agreement", share(distance.agreement)},
      {"top5_overlap", share(1.0 - (1.0 - distance.agreement) * 0.6)},
      {"delta_nll", signed_metric},
      {"rank", positive(1.0 + (1.0 - distance.agreement))},
  };
}

std::vector<NamedMetric> bucket_metrics(const Distance& distance, std::int64_t tokens,
                                        Sequence& s) {
  Distance varied = distance;
  varied.kl = s.around(distance.kl, 1.6);
  varied.delta_nll = s.around(distance.delta_nll, 3.0) * (s.next() < 0.5 ? -1.0 : 1.0);
  varied.agreement = 1.0 - s.around(1.0 - distance.agreement, 1.7);
  return metrics_of(varied, tokens, s);
}

std::vector<HistogramBin> histogram_of(double mean, std::int64_t rows) {
  // A log-normal shape around the mean in quarter decades, the first bin for exact zeros and less.
  std::vector<HistogramBin> bins{{0.0, 1e-10, rows / 400}};
  std::int64_t left = rows - bins[0].rows;
  const double centre = std::log10(mean) - 0.15;
  for (int quarter = -40; quarter < 4 && left > 0; ++quarter) {
    const double from = std::pow(10.0, quarter / 4.0);
    const double to = std::pow(10.0, (quarter + 1) / 4.0);
    const auto cdf = [&](double x) { return 0.5 * std::erfc((centre - std::log10(x)) / 0.5); };
    const std::int64_t count = std::min<std::int64_t>(
        left, std::llround((cdf(to) - cdf(from)) * static_cast<double>(rows)));
    bins.push_back({from, to, count});
    left -= count;
  }
  bins.push_back({10.0, std::numeric_limits<double>::max(), left});
  return bins;
}

std::vector<LayerDrift> drift_of(int layers, bool dropped, Sequence& s) {
  std::vector<LayerDrift> drift;
  double free = 1e-4;
  for (int layer = 0; layer < layers; ++layer) {
    for (const char* module : {"attention", "mlp"}) {
      double forced = s.around(1.1e-4, 1.3);
      if (dropped && layer == kCulprit) {
        forced = std::string(module) == "mlp" ? 0.034 : 0.021;
      }
      free = std::sqrt(free * free * 0.97 + forced * forced * 0.5);
      drift.push_back({{"language", layer, module}, free, forced, 0});
    }
  }
  return drift;
}

Evidence evidence_card(int index, bool dropped, Sequence& s) {
  const double p = 0.2 + 0.5 * s.next();
  Evidence card;
  card.prompt = fmt::format("smoke-{:02}", (index * 7) % 24);
  card.position = 17 + index * 13;
  card.why = index == 0 ? "largest KL" : dropped ? "flip towards base" : "flip within the margin";
  card.context = "What is the Debian package libeigen3-dev?\nlibeigen3-dev is a";
  card.target_id = 318;
  card.target = " lightweight";
  card.top = {
      {"base",
       {{260, " package", 0.31},
        {253, " the", 0.12},
        {1004, " library", 0.09},
        {725, " free", 0.05},
        {318, " lightweight", 0.02}}},
      {"adapter",
       {{318, " lightweight", p},
        {1004, " library", p * 0.55},
        {260, " package", 0.08},
        {253, " the", 0.04},
        {725, " free", 0.02}}},
      {"merged",
       {{dropped ? 260 : 318, dropped ? " package" : " lightweight", p * 0.99},
        {1004, " library", p * 0.54},
        {dropped ? 318 : 260, dropped ? " lightweight" : " package", 0.08},
        {253, " the", 0.04},
        {725, " free", 0.02}}},
  };
  card.kl = dropped ? s.around(0.4, 2.0) : s.around(2e-5, 1.5);
  card.delta_nll = dropped ? s.around(0.9, 1.5) : s.around(2e-4, 2.0);
  card.margin = dropped ? 0.83 : 0.004;
  if (dropped) {
    card.first_layer = LayerPlace{"language", kCulprit, "attention"};
  }
  return card;
}

}  // namespace

Comparison comparison_of(Size size, const Distance& distance, bool dropped) {
  Sequence s(static_cast<std::uint64_t>(size.prompts + (dropped ? 1 : 0)));
  Comparison c;
  c.reference = "adapter";
  c.subject = "merged";
  c.arithmetic = "exact";
  c.prompts = size.prompts;
  c.tokens = size.prompts * 128;
  c.scored_tokens = c.tokens - size.prompts;
  c.metrics = metrics_of(distance, c.tokens, s);
  const auto ratio = [](double value, double half) {
    Ratio r;
    r.value = value;
    r.ci95 = Interval{value - half, value + half};
    r.ci90 = Interval{value - 0.84 * half, value + 0.84 * half};
    r.ci_method = IntervalMethod::kBca;
    r.se = half / 1.96;
    return r;
  };
  c.ratios.mer = ratio(distance.kl / 0.61, distance.kl / 0.61 * 0.2);
  c.ratios.slope = dropped ? ratio(0.962, 0.006) : ratio(1.0001, 0.0002);
  c.ratios.r2 = ratio(dropped ? 0.951 : 0.99999, dropped ? 0.004 : 0.00001);
  c.ratios.perplexity_ratio =
      ratio(std::exp(distance.delta_nll), std::exp(distance.delta_nll) * 4e-5);
  const auto flips = std::llround((1.0 - distance.agreement) * static_cast<double>(c.tokens));
  c.flips = {dropped ? 3 : flips, dropped ? flips - 3 : 0, dropped ? flips - 20 : 0,
             dropped ? 17 : 0, 0.011};
  c.kl_histogram = histogram_of(distance.kl, c.tokens);
  for (const auto& [name, tokens] :
       {std::pair("random", c.tokens * 2 / 3), std::pair("repeat", c.tokens / 3)}) {
    c.slices.push_back({name, tokens, bucket_metrics(distance, tokens, s)});
  }
  for (std::int64_t from = 0, to = 1; from < 256; from = to, to *= 2) {
    c.positions.push_back({from, to, bucket_metrics(distance, (to - from) * size.prompts, s)});
  }
  constexpr std::array<double, 6> kConfidence{0.0, 0.25, 0.5, 0.75, 0.95, 1.0};
  for (std::size_t i = 0; i + 1 < kConfidence.size(); ++i) {
    c.confidence.push_back(
        {kConfidence[i], kConfidence[i + 1], bucket_metrics(distance, c.tokens / 5, s)});
  }
  for (int i = 0; i < size.prompts; ++i) {
    const double kl = s.around(distance.kl, 1.9);
    c.prompts_detail.push_back({fmt::format("smoke-{:02}", i), 48 + 16 * (i % 8), kl,
                                kl * s.around(9.0, 1.3), (s.next() - 0.5) * 8e-5,
                                dropped ? i % 5 : 0, 0});
  }
  c.layers = drift_of(size.layers, dropped, s);
  if (dropped) {
    c.culprit = LayerPlace{"language", kCulprit, "attention"};
  }
  for (int i = 0; i < 6; ++i) {
    c.evidence.push_back(evidence_card(i, dropped, s));
  }
  c.bootstrap_replicates = 10000;
  c.bootstrap_seed = 1;
  return c;
}

AuditResult audit_of(int layers, bool dropped) {
  Sequence s(static_cast<std::uint64_t>(layers));
  AuditResult audit;
  audit.recipe = {"one-rounding", dropped ? 0.967 : 0.99998, {}};
  const auto untouched = [&](std::string name, std::int64_t elements) {
    TensorAudit t;
    t.name = std::move(name);
    t.tensor_class = TensorClass::kUntouched;
    t.elements = elements;
    t.verdict = GateStatus::kPass;
    audit.tensors.push_back(t);
  };
  untouched("model.embed_tokens.weight", 28311552);
  for (int layer = 0; layer < layers; ++layer) {
    const std::string prefix = fmt::format("model.layers.{}.", layer);
    untouched(prefix + "input_layernorm.weight", 576);
    for (const char* module :
         {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
          "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
      const bool lost = dropped && layer == kCulprit;
      TensorAudit t;
      t.name = prefix + module + ".weight";
      t.tensor_class = TensorClass::kTarget;
      t.elements = 331776;
      t.c = lost ? 0.0 : 1.0 + (s.next() - 0.5) * 2e-3;
      t.rho = lost ? 1.0 : s.around(0.0021, 1.4);
      t.c_remerge = lost ? 0.0 : 1.0;
      t.rho_remerge = lost ? 1.0 : 0.0001 * s.next();
      t.recipe = lost ? "not-merged" : "one-rounding";
      t.differing = lost ? 329410 : std::llround(s.next() * 5.0);
      t.max_ulp = lost ? 46 : t.differing > 0 ? 1 : 0;
      t.unchanged_share = lost ? 1.0 : 0.021;
      t.verdict = lost ? GateStatus::kFail : GateStatus::kPass;
      t.note = lost ? "equals the base: the adapter was not merged here" : "";
      audit.tensors.push_back(t);
    }
    untouched(prefix + "post_attention_layernorm.weight", 576);
  }
  untouched("model.norm.weight", 576);
  audit.summary.target = layers * 7;
  audit.summary.untouched = layers * 2 + 2;
  return audit;
}

Verdict gate(std::string name, GateStatus status, std::string unit, double value, double limit,
             Interval ci95, std::string basis, std::string reason) {
  Verdict v;
  v.gate = std::move(name);
  v.subject = "adapter/merged";
  v.status = status;
  v.unit = std::move(unit);
  v.value = value;
  v.limit = limit;
  v.ci95 = ci95;
  const double middle = (ci95.lower + ci95.upper) / 2.0;
  const double half = (ci95.upper - ci95.lower) / 2.0 * 0.84;  // 1.645 / 1.96
  v.ci90 = Interval{ci95.lower == 0.0 ? 0.0 : middle - half, middle + half};
  v.basis = std::move(basis);
  v.reason = std::move(reason);
  return v;
}

std::vector<Verdict> verdicts_of(const Comparison& c, GateStatus status) {
  const bool pass = status == GateStatus::kPass;
  const double kl = *find_metric(c.metrics, "kl")->mean;
  const double nll = *find_metric(c.metrics, "delta_nll")->mean;
  const double mer = *c.ratios.mer.value;
  const double flips = static_cast<double>(c.flips.real) / static_cast<double>(c.tokens);
  std::vector<Verdict> v;
  v.push_back(
      gate("kl.mean", status, "nat", kl, 1.1e-4, {kl * 0.81, kl * 1.24}, "max(10 x floor, 1e-4)",
           pass ? "the upper bound lies under the limit" : "the lower bound lies over the limit"));
  v.back().floor = 1.1e-5;
  v.back().power = 0.99;
  v.push_back(gate("nll.delta", status, "nat/token", nll, 0.002, {nll - 4e-5, nll + 4e-5},
                   "equivalence margin for FP16",
                   pass ? "the interval lies inside the margin" : "the interval lies outside"));
  v.back().lower_limit = -0.002;
  v.back().power = 0.98;
  v.push_back(gate("flips.real", status, "share", flips, 0.001, {flips * 0.8, flips * 1.2 + 5e-4},
                   "0.1 % of the rows", pass ? "no real flip in 3,072 rows" : "over the limit"));
  v.push_back(
      gate("merge.slope", status, "ratio", *c.ratios.slope.value, 1.02, *c.ratios.slope.ci95,
           "1 +- 0.02",
           pass ? "the interval lies inside the range" : "the interval lies outside the range"));
  v.back().lower_limit = 0.98;
  v.push_back(
      gate("merge.error-ratio", status, "ratio", mer, 0.01, *c.ratios.mer.ci95,
           "1 % of the adapter's effect",
           pass ? "the upper bound lies under the limit" : "the lower bound lies over the limit"));
  Verdict p99 = gate("kl.p99", GateStatus::kInconclusive, "nat", 0.0, 1e-3, {0.0, 0.0}, "1e-3",
                     "a p99 needs 10,000 rows, this run has 3,072");
  p99.blocking = false;
  p99.value.reset();
  p99.ci95.reset();
  p99.ci90.reset();
  v.push_back(p99);
  Verdict weights = gate("weights.slope", status, "tensors", pass ? 0.0 : 7.0, 0.0, {0.0, 0.0},
                         "every target tensor within c' 1 +- 0.01, rho' 0.1",
                         pass ? "all 210 target tensors hold the adapter once"
                              : "7 of 210 target tensors do not hold the adapter");
  weights.subject = "base+adapter/merged";
  weights.ci95.reset();
  weights.ci90.reset();
  v.push_back(weights);
  return v;
}

namespace {

std::vector<FileRecord> files() {
  const auto digest = [](char c) { return std::string(64, c); };
  return {{"base", "config.json", 861, digest('1')},
          {"base", "model.safetensors", 269060552, digest('2')},
          {"base", "tokenizer.json", 2104556, digest('3')},
          {"adapter", "adapter_config.json", 1021, digest('4')},
          {"adapter", "adapter_model.safetensors", 9804072, digest('5')},
          {"merged", "config.json", 846, digest('6')},
          {"merged", "model.safetensors", 269060280, digest('7')},
          {"merged", "tokenizer.json", 2104556, digest('3')}};
}

}  // namespace

Report common(Size size) {
  Report r;
  r.status = RunStatus::kPass;
  r.tool = {"0.1.0", "0c785b9", "cpu", 2, "exact", "AMD EPYC-Milan Processor, 2 cores, AVX2"};
  r.inputs.base = "models/SmolLM2-135M-Instruct";
  r.inputs.adapter = "models/smollm2-packages-lora";
  r.inputs.merged = "models/smollm2-packages-merged";
  r.inputs.suites = {
      {"smoke", "sha256:" + std::string(64, 'a'), size.prompts, size.prompts * 128, {}}};
  r.inputs.command =
      "mergegauge check --base models/SmolLM2-135M-Instruct --adapter models/smollm2-packages-lora "
      "--merged models/smollm2-packages-merged --suite smoke";
  r.inputs.model =
      ModelSummary{"llama", "LlamaForCausalLM", size.layers, 49152, 134515008, "F16", "F16"};
  r.inputs.adapter_info = AdapterSummary{
      "lora", 16, 2.0,
      210,    0,  {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}};
  r.provenance =
      Provenance{files(),
                 {{"config.json", "transformers_version", "\"4.42.3\"", "\"5.23.0\"", "cosmetic"},
                  {"config.json", "torch_dtype", "\"float16\"", std::nullopt, "cosmetic"}}};
  r.floor = Floor{1.1e-5,
                  Interval{0.9e-5, 1.4e-5},
                  6e-5,
                  0.011,
                  8,
                  1024,
                  "adapter lane, exact against fp16 arithmetic, 8 prompts"};
  r.timing = Timing{"2024-05-01T12:34:56Z",
                    12.3,
                    {{"lint", 0.01}, {"audit", 0.41}, {"compare", 11.6}, {"report", 0.02}}};
  r.memory = Memory{210000000, 760000000};
  return r;
}

Finding version_note() {
  return {"config.transformers-version",
          {},
          Severity::kNote,
          "lint",
          "merged/config.json: transformers_version",
          "base and merged were written by different versions of transformers",
          "4.42.3",
          "5.23.0",
          std::nullopt};
}

}  // namespace mg::samples
