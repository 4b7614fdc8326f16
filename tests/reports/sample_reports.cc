#include "tests/reports/sample_reports.h"

#include "tests/reports/sample_parts.h"

namespace mg::samples {

Report passing(Size size) {
  Report r = common(size);
  r.findings = {version_note()};
  r.audit = audit_of(size.layers, false);
  r.comparisons = {comparison_of(size, {}, false)};
  r.verdicts = verdicts_of(r.comparisons[0], GateStatus::kPass);
  return r;
}

Report dropped_layer(Size size) {
  Report r = common(size);
  r.status = RunStatus::kFail;
  r.audit = audit_of(size.layers, true);
  r.comparisons = {comparison_of(size, {0.0231, 0.0118, 0.958, 1.4}, true)};
  r.verdicts = verdicts_of(r.comparisons[0], GateStatus::kFail);
  r.provenance->config_differences.push_back(
      {"config.json", "quantization_config", std::nullopt,
       R"({"load_in_4bit":true,"quant_method":"bitsandbytes"})", "breaking"});
  r.findings = {{"config.leftover-quantization",
                 {"F01"},
                 Severity::kError,
                 "lint",
                 "merged/config.json: quantization_config",
                 "the checkpoint is 16-bit but config.json still declares bitsandbytes",
                 "key absent",
                 R"({"load_in_4bit": true, "quant_method": "bitsandbytes"})",
                 Fix{true, "delete the key (mergegauge lint --fix)"}},
                {"audit.not-merged",
                 {"F08"},
                 Severity::kError,
                 "audit",
                 "model.layers.12: 7 tensors of self_attn and mlp",
                 "the tensors equal the base: the adapter was not merged here",
                 "c = 1",
                 "c = 0",
                 Fix{false, "merge again from base and adapter (mergegauge merge)"}},
                {"tokenizer.padding-side",
                 {"F44"},
                 Severity::kWarning,
                 "lint",
                 "merged/tokenizer_config.json: padding_side",
                 "padding_side differs from the base's",
                 "left",
                 "right",
                 std::nullopt},
                version_note()};
  return r;
}

Report too_few_prompts() {
  Report r = passing({30, 8});
  r.status = RunStatus::kInconclusive;
  for (Verdict& v : r.verdicts) {
    if (v.gate == "kl.mean" || v.gate == "nll.delta") {
      v.status = GateStatus::kInconclusive;
      v.ci95 = v.gate == "kl.mean" ? Interval{4e-7, 2.1e-4} : Interval{-0.0031, 0.0029};
      v.ci90.reset();
      v.smallest_margin = v.gate == "kl.mean" ? 2.1e-4 : 0.0031;
      v.needs_prompts = 20;
      v.power = 0.41;
      v.reason = "8 prompts cannot decide; 20 could";
    }
  }
  r.comparisons[0].metrics[0].summary.ci95 = Interval{4e-7, 2.1e-4};
  return r;
}

Report adapter_does_nothing() {
  Report r = passing();
  r.status = RunStatus::kInvalid;
  r.comparisons[0].ratios.mer = {};
  r.comparisons[0].ratios.slope = {};
  r.comparisons[0].ratios.r2 = {};
  for (Verdict& v : r.verdicts) {
    if (v.gate == "merge.error-ratio" || v.gate == "merge.slope") {
      v.status = GateStatus::kInvalid;
      v.value.reset();
      v.ci95.reset();
      v.ci90.reset();
      v.reason = "KL(adapter || base) does not exceed the floor: the adapter does nothing here";
    }
  }
  return r;
}

Report input_error() {
  Report r = common({});
  r.status = RunStatus::kInputError;
  r.error = ErrorRecord{"safetensors.truncated",
                        "the file ends before its last tensor",
                        "models/smollm2-packages-merged/model.safetensors",
                        "269060280 bytes",
                        "134217728 bytes",
                        "the download or copy was cut: fetch the file again"};
  r.floor.reset();
  r.findings = {version_note()};
  return r;
}

Report not_finite() {
  Report r = dropped_layer();
  Comparison& c = r.comparisons[0];
  c.non_finite = {{"merged", 3072, 150994944, Place{"smoke-00", 0, std::nullopt}}};
  for (NamedMetric& metric : c.metrics) {
    metric.summary = {};
    metric.summary.non_finite = c.tokens;
  }
  for (PromptDetail& prompt : c.prompts_detail) {
    prompt.kl_mean.reset();
    prompt.kl_max.reset();
    prompt.delta_nll_mean.reset();
    prompt.non_finite = prompt.tokens;
  }
  for (LayerDrift& layer : c.layers) {
    if (layer.place.layer >= kCulprit) {
      layer.free_rel.reset();
      layer.forced_rel.reset();
      layer.non_finite = c.tokens;
    }
  }
  c.ratios = {};
  c.kl_histogram.clear();
  c.slices.clear();
  c.positions.clear();
  c.confidence.clear();
  for (Verdict& v : r.verdicts) {
    if (v.subject == "adapter/merged" && v.status != GateStatus::kNotRun) {
      v.status = GateStatus::kFail;
      v.value.reset();
      v.ci95.reset();
      v.ci90.reset();
      v.reason = "3,072 rows of merged are not finite; the first is smoke-00, position 0";
    }
  }
  for (TensorAudit& t : r.audit->tensors) {
    if (t.verdict == GateStatus::kFail) {
      t.c.reset();
      t.rho.reset();
      t.non_finite = 17;
      t.note = "17 elements are NaN";
    }
  }
  r.findings = {{"compare.not-finite",
                 {"F31"},
                 Severity::kError,
                 "compare",
                 "merged",
                 "the merged lane's logits are not finite",
                 "numbers",
                 "3072 rows with NaN",
                 std::nullopt}};
  return r;
}

Report lint_only() {
  Report full = dropped_layer();
  Report r = common({});
  r.status = RunStatus::kFail;
  r.inputs.suites.clear();
  r.inputs.adapter.clear();
  r.inputs.model.reset();
  r.inputs.adapter_info.reset();
  r.inputs.command =
      "mergegauge lint models/smollm2-packages-merged --base models/SmolLM2-135M-Instruct";
  r.floor.reset();
  r.provenance = full.provenance;
  for (const Finding& finding : full.findings) {
    if (finding.command == "lint") {
      r.findings.push_back(finding);
    }
  }
  r.timing = Timing{"2024-05-01T12:34:56Z", 0.012, {{"lint", 0.012}}};
  return r;
}

Report hostile() {
  Report r = passing({4, 24});
  const std::string attack = "</script><script>alert(1)</script>";
  r.inputs.merged = "dir/" + attack + "\"'&<!--";
  r.inputs.command += " --merged '" + attack + "'";
  r.audit->tensors[2].name = "model.layers.0." + attack + ".weight";
  r.audit->tensors[3].note = "<img src=x onerror=alert(2)>";
  Comparison& c = r.comparisons[0];
  c.prompts_detail[0].id = attack;
  c.prompts_detail[1].id = "=HYPERLINK(\"http://x\",\"y\")";
  c.prompts_detail[2].id = std::string("ctrl\x01\x1b[31m\xff\xfe") + "|`*_[x](y)\n# heading";
  c.evidence[0].prompt = attack;
  c.evidence[0].context = "]]> &amp; <b>bold</b> \xE2\x80\xAE reversed \xF0\x9F\xA6\x99 ${x} {{y}}";
  c.evidence[0].target = "\" onmouseover=\"alert(3)";
  c.evidence[0].top[0].tokens[0].text = attack;
  c.slices[0].name = attack;
  r.findings[0].subject = attack;
  r.findings[0].actual = "a | b\n```\n<script>";
  r.provenance->config_differences.push_back(
      {"config.json", attack, std::nullopt, "\"</script>\"", "<b>"});
  r.provenance->files.push_back({"merged", attack, 1, std::string(64, '0')});
  return r;
}

Report served_otherwise() {
  Report r = passing();
  for (const auto& [lane, kl, slope] :
       {std::tuple("support-bot-Q4_K_M", 0.031, 0.998), std::tuple("base-Q8_0", 0.246, 0.011)}) {
    const bool right = slope > 0.5;
    r.also.push_back(
        {lane,
         std::string("served/") + lane + ".gguf",
         "GGUF 3",
         right ? 397800000U : 531100000U,
         right ? 4.84 : 8.5,
         {{right ? "Q4_K" : "Q8_0", 168, right ? 310000000U : 531000000U}, {"F32", 121, 100000U}},
         "served"});
    Comparison c = comparison_of(Size{}, {.kl = kl, .delta_nll = kl, .agreement = 0.92}, false);
    c.reference = "merged";
    c.subject = lane;
    c.ratios.slope.value = slope;
    c.ratios.slope.ci95 = Interval{slope - 0.002, slope + 0.002};
    c.ratios.mer.value = kl / 0.25;
    Verdict gate;
    gate.gate = std::string("served.kl[") + lane + "]";
    gate.subject = std::string("merged/") + lane;
    gate.unit = "nat";
    gate.value = kl;
    gate.ci90 = Interval{0.97 * kl, 1.03 * kl};
    gate.limit = right ? 0.12 : 0.005;
    gate.status = right ? GateStatus::kPass : GateStatus::kFail;
    gate.basis = right ? "max(10 x floor, 0.12); 4.8 bits a weight" : "max(10 x floor, 0.005)";
    gate.reason = right ? "0.031 with its interval lies within at most 0.12"
                        : "0.246 with its interval lies outside at most 0.005";
    r.comparisons.push_back(std::move(c));
    r.verdicts.push_back(std::move(gate));
  }
  Finding finding;
  finding.rule = "served.not-merged";
  finding.catalogue = {"F07", "F58"};
  finding.severity = Severity::kError;
  finding.command = "served";
  finding.subject = "base-Q8_0";
  finding.message =
      "what is to be served answers as the base does, not as merged: it was made from the base, or "
      "without the adapter";
  finding.expected = "a slope near 1: the adapter's effect on the logits, once";
  finding.actual = "0.011, 95 % interval [0.009, 0.013]";
  finding.fix = Fix{false, "convert and quantise the merged folder again"};
  r.findings.push_back(std::move(finding));
  r.status = RunStatus::kFail;
  return r;
}

Report with_bench() {
  Report r = passing();
  Sequence s(5);
  BenchResult bench;
  for (const auto& [phase, length] : {std::pair("prefill", 128), std::pair("prefill", 512),
                                      std::pair("decode", 128), std::pair("decode", 2048)}) {
    const bool prefill = std::string(phase) == "prefill";
    const double merged = prefill ? 720.0 : 68.0;
    for (const auto& [lane, factor] :
         {std::pair("base", 1.0), std::pair("adapter", prefill ? 0.83 : 0.71),
          std::pair("merged", 1.0)}) {
      const double rate = s.around(merged * factor, 1.01);
      bench.rates.push_back(
          {phase, lane, length, 1, rate, Interval{rate * 0.985, rate * 1.012}, 12});
    }
    const double ratio = prefill ? 1.2 : 1.41;
    bench.ratios.push_back(
        {phase, "adapter", "merged", length, 1, ratio, Interval{ratio - 0.02, ratio + 0.02}});
  }
  bench.memory = {{"base", 269060552, 41000000},
                  {"adapter", 278864624, 45000000},
                  {"merged", 269060280, 41000000}};
  r.bench = bench;
  return r;
}

Report with_server() {
  Report r;
  r.status = RunStatus::kFail;
  r.tool = passing().tool;
  r.tool.backend = "server";
  r.inputs.command =
      "mergegauge bench --openai http://127.0.0.1:8000 --model merged --adapter-model packages";
  ServerResult server{.url = "http://127.0.0.1:8000/v1",
                      .endpoint = "completions",
                      .concurrency = 8,
                      .rate = 20.0,
                      .max_tokens = 64,
                      .requests = 16,
                      .rounds = 12,
                      .latest_s = 0.0021,
                      .lanes = {}};
  for (const auto& [lane, slower] : {std::pair("adapter", 1.31), std::pair("merged", 1.0)}) {
    ServerLane measured;
    measured.lane = lane;
    measured.model = lane == std::string("merged") ? "merged" : "packages";
    measured.requests = 416;
    measured.outcomes = {{"ok", 416, true, ""}};
    measured.rounds = 11;
    measured.tokens_per_s = 412 / slower;
    measured.ci95 = Interval{405 / slower, 418 / slower};
    measured.prompt_tokens = 93.5;
    measured.tokens = 64;
    measured.tokens_counted = "usage";
    measured.first_token = {384, 0.031 * slower, 0.04 * slower, std::nullopt, 0.055 * slower};
    measured.inter_token = {24192, 0.0121 * slower, 0.0151 * slower, 0.0213 * slower, 0.11};
    measured.whole = {384, 0.8 * slower, 0.83 * slower, std::nullopt, 0.9 * slower};
    server.lanes.push_back(measured);
  }
  server.lanes[1].outcomes = {{"ok", 413, true, ""},
                              {"http-500", 2, false, "CUDA error: an illegal memory access"},
                              {"cut", 1, false, "transfer closed with outstanding read data"}};
  ServerLogprobs logprobs;
  logprobs.top = 5;
  logprobs.prompts = 49;
  logprobs.failed = 1;
  logprobs.first_failure = "prompt \"geo-7\": http-500: out of memory";
  logprobs.positions = 3031;
  logprobs.left_out = 41;
  logprobs.unknown = 12;
  logprobs.first_unknown =
      "prompt \"geo-3\", token 9: \".\" is the text of several tokens, 17 and 30";
  logprobs.unusable = 1;
  logprobs.first_unusable = "prompt \"geo-4\", token 0: \" a\" has null";
  logprobs.short_lists = 3;
  logprobs.mean = 0.0023;
  logprobs.ci95 = Interval{0.0019, 0.0028};
  logprobs.ci90 = Interval{0.002, 0.0027};
  logprobs.max = 0.0412;
  logprobs.worst = Place{"geo-3", 5, 262};
  logprobs.worst_text = " the";
  logprobs.worst_server = -1.2301;
  logprobs.worst_engine = -1.2713;
  logprobs.top1 = 0.9987;
  logprobs.top_share = 0.991;
  logprobs.top_mean = 0.0031;
  logprobs.floor = 0.0017;
  logprobs.floor_arithmetic = "fp16";
  server.lanes[1].logprobs = logprobs;
  Verdict compared;
  compared.gate = "server.logprobs";
  compared.subject = "merged";
  compared.status = GateStatus::kPass;
  compared.unit = "nat";
  compared.value = logprobs.mean;
  compared.ci95 = logprobs.ci95;
  compared.ci90 = logprobs.ci90;
  compared.limit = 0.02;
  compared.floor = logprobs.floor;
  compared.basis = "max(4 x floor, 0.02)";
  compared.reason = "the server's log-probabilities are the engine's";
  r.verdicts.push_back(compared);
  BenchResult bench;
  bench.margin = 0.05;
  for (const auto& [phase, value] : {std::pair("throughput", 1.31), std::pair("first-token", 1.28),
                                     std::pair("inter-token", 1.32)}) {
    bench.ratios.push_back({phase, "adapter", "merged", 64, 8, value,
                            Interval{value - 0.02, value + 0.02},
                            Interval{value - 0.015, value + 0.015}, "faster"});
    Verdict verdict;
    verdict.gate = std::string("server.") + phase;
    verdict.subject = "adapter/merged, 64 tokens x 8";
    verdict.status = GateStatus::kPass;
    verdict.unit = "ratio";
    verdict.value = value;
    verdict.lower_limit = 1 / 1.05;
    verdict.ci95 = bench.ratios.back().ci95;
    verdict.ci90 = bench.ratios.back().ci90;
    verdict.reason = "merged is faster";
    r.verdicts.push_back(verdict);
  }
  Verdict answers;
  answers.gate = "server.answers";
  answers.subject = "merged";
  answers.status = GateStatus::kFail;
  answers.unit = "share";
  answers.value = 3.0 / 416;
  answers.limit = 0.0;
  answers.reason = "3 of 416 requests to merged failed: 2 http-500, 1 cut";
  r.verdicts.push_back(answers);
  bench.server = server;
  r.bench = bench;
  return r;
}

Report selftest_missed() {
  Report r = passing();
  r.status = RunStatus::kFail;
  r.inputs.command =
      "mergegauge selftest --base models/SmolLM2-135M-Instruct --adapter models/smollm2-packages "
      "--merged models/smollm2-packages-merged";
  r.selftest =
      SelftestResult{{{"drop-layer",
                       "one layer was left at the base",
                       DetectionOutcome::kCaught,
                       {"audit.partly-merged", "weights.targets"},
                       {},
                       {"audit.partly-merged", "weights.targets", "weights.slope"},
                       {"compare.layer-departs", "kl.mean", "merge.error-ratio", "merge.slope"},
                       1,
                       ""},
                      {"bf16",
                       "the merge went through BF16 on its way to its stored dtype",
                       DetectionOutcome::kNotPlanted,
                       {"audit.detour"},
                       {},
                       {},
                       {},
                       std::nullopt,
                       "merged is stored as BF16 already"},
                      {"stale-tokenizer",
                       "the tokenizer is of another revision: its ids are one off",
                       DetectionOutcome::kCaught,
                       {"tokenizer.other"},
                       {"tokenizer.other"},
                       {},
                       {},
                       1,
                       ""},
                      {"one-nan",
                       "one element of an adapted tensor is NaN",
                       DetectionOutcome::kMissed,
                       {"audit.non-finite", "guard.finite"},
                       {},
                       {"audit.non-finite"},
                       {},
                       1,
                       "silent: guard.finite"}}};
  r.findings.push_back({"selftest.missed",
                        {},
                        Severity::kError,
                        "selftest",
                        "one-nan",
                        "a planted fault was not caught: one element of an adapted tensor is NaN",
                        "audit.non-finite, guard.finite",
                        "silent: guard.finite",
                        std::nullopt});
  return r;
}

std::vector<Sample> all() {
  return {{"passing", [] { return passing(); }},
          {"dropped-layer", [] { return dropped_layer(); }},
          {"too-few-prompts", [] { return too_few_prompts(); }},
          {"adapter-does-nothing", [] { return adapter_does_nothing(); }},
          {"input-error", [] { return input_error(); }},
          {"not-finite", [] { return not_finite(); }},
          {"lint-only", [] { return lint_only(); }},
          {"hostile", [] { return hostile(); }},
          {"with-bench", [] { return with_bench(); }},
          {"with-server", [] { return with_server(); }},
          {"served-otherwise", [] { return served_otherwise(); }},
          {"selftest-missed", [] { return selftest_missed(); }}};
}

}  // namespace mg::samples
