// Every record of a report as a list of its JSON keys, written once and used in both directions:
// `Archive` is the Writer (write.cc) or the Reader (read.cc).  The order here is the order in the
// file.
//   required   a key every report has; reading without it is an error
//   optional   written always; when absent on reading, the record keeps its default
// Private to reports/json.
#pragma once

#include "harness/result/report.h"
#include "reports/json/bench_fields.h"
#include "reports/json/record.h"

namespace mg::report_json {

// metric.h
// ---------------------------------------------------------------------------------------------------

template <typename Archive, Is<Place> Record>
void fields(Archive& ar, Record& place) {
  ar.required("prompt", place.prompt);
  ar.required("position", place.position);
  ar.optional("token", place.token);
}

template <typename Archive, Is<MetricSummary> Record>
void fields(Archive& ar, Record& summary) {
  ar.optional("mean", summary.mean);
  ar.optional("ci95", summary.ci95);
  ar.optional("ci90", summary.ci90);
  ar.optional("ci_method", summary.ci_method);
  ar.optional("se", summary.se);
  ar.optional("p50", summary.p50);
  ar.optional("p90", summary.p90);
  ar.optional("p95", summary.p95);
  ar.optional("p99", summary.p99);
  ar.optional("p99_ci95", summary.p99_ci95);
  ar.optional("p999", summary.p999);
  ar.optional("min", summary.min);
  ar.optional("max", summary.max);
  ar.optional("worst", summary.worst);
  ar.optional("count", summary.count);
  ar.optional("prompts", summary.prompts);
  ar.optional("non_finite", summary.non_finite);
}

template <typename Archive, Is<Ratio> Record>
void fields(Archive& ar, Record& ratio) {
  ar.optional("value", ratio.value);
  ar.optional("ci95", ratio.ci95);
  ar.optional("ci90", ratio.ci90);
  ar.optional("ci_method", ratio.ci_method);
  ar.optional("se", ratio.se);
}

// report.h: what ran
// -----------------------------------------------------------------------------------------

template <typename Archive, Is<ErrorRecord> Record>
void fields(Archive& ar, Record& error) {
  ar.required("code", error.code);
  ar.required("what", error.what);
  ar.optional("where", error.where);
  ar.optional("expected", error.expected);
  ar.optional("actual", error.actual);
  ar.optional("hint", error.hint);
}

template <typename Archive, Is<ToolInfo> Record>
void fields(Archive& ar, Record& tool) {
  ar.required("version", tool.version);
  ar.required("commit", tool.commit);
  ar.required("backend", tool.backend);
  ar.required("threads", tool.threads);
  ar.required("arithmetic", tool.arithmetic);
  ar.optional("machine", tool.machine);
}

template <typename Archive, Is<PromptIds> Record>
void fields(Archive& ar, Record& prompt) {
  ar.required("prompt", prompt.prompt);
  ar.required("ids", prompt.ids);
}

template <typename Archive, Is<SuiteInfo> Record>
void fields(Archive& ar, Record& suite) {
  ar.required("name", suite.name);
  ar.required("digest", suite.digest);
  ar.required("prompts", suite.prompts);
  ar.required("tokens", suite.tokens);
  ar.optional("token_ids", suite.token_ids);
}

template <typename Archive, Is<ModelSummary> Record>
void fields(Archive& ar, Record& model) {
  ar.optional("model_type", model.model_type);
  ar.optional("architecture", model.architecture);
  ar.optional("layers", model.layers);
  ar.optional("vocab_size", model.vocab_size);
  ar.optional("parameters", model.parameters);
  ar.optional("base_dtype", model.base_dtype);
  ar.optional("merged_dtype", model.merged_dtype);
}

template <typename Archive, Is<AdapterSummary> Record>
void fields(Archive& ar, Record& adapter) {
  ar.optional("kind", adapter.kind);
  ar.optional("rank", adapter.rank);
  ar.optional("scaling", adapter.scaling);
  ar.optional("targets", adapter.targets);
  ar.optional("replaced", adapter.replaced);
  ar.optional("modules", adapter.modules);
}

template <typename Archive, Is<InputInfo> Record>
void fields(Archive& ar, Record& inputs) {
  ar.required("base", inputs.base);
  ar.required("adapter", inputs.adapter);
  ar.required("merged", inputs.merged);
  ar.optional("trained_on", inputs.trained_on);
  ar.required("suites", inputs.suites);
  ar.required("command", inputs.command);
  ar.optional("model", inputs.model);
  ar.optional("adapter_info", inputs.adapter_info);
}

template <typename Archive, Is<FileRecord> Record>
void fields(Archive& ar, Record& file) {
  ar.required("role", file.role);
  ar.required("path", file.path);
  ar.required("bytes", file.bytes);
  ar.required("sha256", file.sha256);
}

template <typename Archive, Is<ConfigDifference> Record>
void fields(Archive& ar, Record& difference) {
  ar.required("file", difference.file);
  ar.required("key", difference.key);
  ar.json_text("base", difference.base);
  ar.json_text("merged", difference.merged);
  ar.required("class", difference.difference_class);
}

template <typename Archive, Is<Provenance> Record>
void fields(Archive& ar, Record& provenance) {
  ar.required("files", provenance.files);
  ar.required("config_differences", provenance.config_differences);
}

template <typename Archive, Is<Timing> Record>
void fields(Archive& ar, Record& timing) {
  ar.optional("started", timing.started);
  ar.required("wall_s", timing.wall_s);
  ar.required("phases", timing.phases);
}

template <typename Archive, Is<Memory> Record>
void fields(Archive& ar, Record& memory) {
  ar.required("anonymous_peak_bytes", memory.anonymous_peak_bytes);
  ar.required("resident_peak_bytes", memory.resident_peak_bytes);
}

// finding.h, verdict.h
// ---------------------------------------------------------------------------------------

template <typename Archive, Is<Fix> Record>
void fields(Archive& ar, Record& fix) {
  ar.required("automatic", fix.automatic);
  ar.required("what", fix.what);
}

template <typename Archive, Is<Finding> Record>
void fields(Archive& ar, Record& finding) {
  ar.required("rule", finding.rule);
  ar.required("catalogue", finding.catalogue);
  ar.required("severity", finding.severity);
  ar.required("command", finding.command);
  ar.required("subject", finding.subject);
  ar.required("message", finding.message);
  ar.optional("expected", finding.expected);
  ar.optional("actual", finding.actual);
  ar.optional("fix", finding.fix);
}

template <typename Archive, Is<Verdict> Record>
void fields(Archive& ar, Record& verdict) {
  ar.required("gate", verdict.gate);
  ar.optional("subject", verdict.subject);
  ar.required("status", verdict.status);
  ar.required("blocking", verdict.blocking);
  ar.optional("unit", verdict.unit);
  ar.required("value", verdict.value);
  ar.required("limit", verdict.limit);
  ar.optional("lower_limit", verdict.lower_limit);
  ar.optional("ci95", verdict.ci95);
  ar.optional("ci90", verdict.ci90);
  ar.optional("floor", verdict.floor);
  ar.optional("power", verdict.power);
  ar.optional("smallest_margin", verdict.smallest_margin);
  ar.optional("needs_prompts", verdict.needs_prompts);
  ar.optional("basis", verdict.basis);
  ar.optional("reason", verdict.reason);
}

template <typename Archive, Is<Floor> Record>
void fields(Archive& ar, Record& floor) {
  ar.required("kl_mean", floor.kl_mean);
  ar.optional("kl_mean_ci95", floor.kl_mean_ci95);
  ar.optional("kl_p99", floor.kl_p99);
  ar.optional("flip_margin", floor.flip_margin);
  ar.optional("prompts", floor.prompts);
  ar.optional("tokens", floor.tokens);
  ar.required("basis", floor.basis);
}

// audit.h
// ----------------------------------------------------------------------------------------------------

template <typename Archive, Is<TensorAudit> Record>
void fields(Archive& ar, Record& tensor) {
  ar.required("name", tensor.name);
  ar.required("class", tensor.tensor_class);
  ar.optional("c", tensor.c);
  ar.optional("rho", tensor.rho);
  ar.optional("c_remerge", tensor.c_remerge);
  ar.optional("rho_remerge", tensor.rho_remerge);
  ar.optional("recipe", tensor.recipe);
  ar.optional("elements", tensor.elements);
  ar.optional("differing", tensor.differing);
  ar.optional("max_ulp", tensor.max_ulp);
  ar.optional("unchanged_share", tensor.unchanged_share);
  ar.optional("non_finite", tensor.non_finite);
  ar.optional("scale_low", tensor.scale_low);
  ar.optional("scale_high", tensor.scale_high);
  ar.optional("ulp_histogram", tensor.ulp_histogram);
  ar.optional("max_abs", tensor.max_abs);
  ar.optional("subnormal", tensor.subnormal);
  ar.required("verdict", tensor.verdict);
  ar.optional("note", tensor.note);
}

template <typename Archive, Is<RecipeException> Record>
void fields(Archive& ar, Record& exception) {
  ar.required("tensor", exception.tensor);
  ar.required("name", exception.name);
}

template <typename Archive, Is<MergeRecipe> Record>
void fields(Archive& ar, Record& recipe) {
  ar.required("name", recipe.name);
  ar.required("share", recipe.share);
  ar.required("exceptions", recipe.exceptions);
}

template <typename Archive, Is<AuditSummary> Record>
void fields(Archive& ar, Record& summary) {
  ar.required("target", summary.target);
  ar.required("untouched", summary.untouched);
  ar.required("replaced", summary.replaced);
  ar.required("missing", summary.missing);
  ar.required("extra", summary.extra);
  ar.required("renamed", summary.renamed);
  ar.required("not_checked", summary.not_checked);
}

template <typename Archive, Is<AuditResult> Record>
void fields(Archive& ar, Record& audit) {
  ar.required("recipe", audit.recipe);
  ar.required("summary", audit.summary);
  ar.required("tensors", audit.tensors);
}

// comparison.h
// -----------------------------------------------------------------------------------------------

template <typename Archive, Is<Ratios> Record>
void fields(Archive& ar, Record& ratios) {
  ar.required("mer", ratios.mer);
  ar.required("slope", ratios.slope);
  ar.required("r2", ratios.r2);
  ar.required("perplexity_ratio", ratios.perplexity_ratio);
}

template <typename Archive, Is<Flips> Record>
void fields(Archive& ar, Record& flips) {
  ar.required("near_tie", flips.near_tie);
  ar.required("real", flips.real);
  ar.required("towards_base", flips.towards_base);
  ar.required("away", flips.away);
  ar.optional("margin", flips.margin);
}

template <typename Archive, Is<NonFiniteLane> Record>
void fields(Archive& ar, Record& lane) {
  ar.required("lane", lane.lane);
  ar.required("rows", lane.rows);
  ar.required("elements", lane.elements);
  ar.optional("first", lane.first);
}

template <typename Archive, Is<HistogramBin> Record>
void fields(Archive& ar, Record& bin) {
  ar.required("from", bin.from);
  ar.unbounded("to", bin.to);
  ar.required("rows", bin.rows);
}

template <typename Archive, Is<Slice> Record>
void fields(Archive& ar, Record& slice) {
  ar.required("name", slice.name);
  ar.required("tokens", slice.tokens);
  ar.required("metrics", slice.metrics);
}

template <typename Archive, typename Record>
requires Is<Record, PositionBucket> || Is<Record, ConfidenceBucket>
void fields(Archive& ar, Record& bucket) {
  ar.required("from", bucket.from);
  ar.required("to", bucket.to);
  ar.required("metrics", bucket.metrics);
}

template <typename Archive, Is<PromptDetail> Record>
void fields(Archive& ar, Record& prompt) {
  ar.required("id", prompt.id);
  ar.required("tokens", prompt.tokens);
  ar.optional("kl_mean", prompt.kl_mean);
  ar.optional("kl_max", prompt.kl_max);
  ar.optional("delta_nll_mean", prompt.delta_nll_mean);
  ar.optional("flips", prompt.flips);
  ar.optional("non_finite", prompt.non_finite);
}

template <typename Archive, Is<LayerPlace> Record>
void fields(Archive& ar, Record& place) {
  ar.required("stack", place.stack);
  ar.required("layer", place.layer);
  ar.required("module", place.module);
}

template <typename Archive, Is<LayerDrift> Record>
void fields(Archive& ar, Record& drift) {
  fields(ar, drift.place);  // the place's keys stand in the layer's own object
  ar.optional("free_rel", drift.free_rel);
  ar.optional("forced_rel", drift.forced_rel);
  ar.optional("non_finite", drift.non_finite);
}

template <typename Archive, Is<Evidence> Record>
void fields(Archive& ar, Record& evidence) {
  ar.required("prompt", evidence.prompt);
  ar.required("position", evidence.position);
  ar.optional("why", evidence.why);
  ar.optional("context", evidence.context);
  ar.optional("target_id", evidence.target_id);
  ar.optional("target", evidence.target);
  ar.required("top", evidence.top);
  ar.optional("kl", evidence.kl);
  ar.optional("delta_nll", evidence.delta_nll);
  ar.optional("margin", evidence.margin);
  ar.optional("first_layer", evidence.first_layer);
}

template <typename Archive, Is<Comparison> Record>
void fields(Archive& ar, Record& comparison) {
  ar.required("reference", comparison.reference);
  ar.required("subject", comparison.subject);
  ar.required("arithmetic", comparison.arithmetic);
  ar.required("prompts", comparison.prompts);
  ar.required("tokens", comparison.tokens);
  ar.optional("scored_tokens", comparison.scored_tokens);
  ar.required("metrics", comparison.metrics);
  ar.required("ratios", comparison.ratios);
  ar.required("flips", comparison.flips);
  ar.optional("non_finite", comparison.non_finite);
  ar.optional("kl_histogram", comparison.kl_histogram);
  ar.required("slices", comparison.slices);
  ar.required("positions", comparison.positions);
  ar.optional("confidence", comparison.confidence);
  ar.required("prompts_detail", comparison.prompts_detail);
  ar.required("layers", comparison.layers);
  ar.optional("culprit", comparison.culprit);
  ar.required("evidence", comparison.evidence);
  ar.optional("bootstrap_replicates", comparison.bootstrap_replicates);
  ar.optional("bootstrap_seed", comparison.bootstrap_seed);
}

// report.h: what is served in merged's place
// ----------------------------------------------------------------------------------------------------

template <typename Archive, Is<StoredShare> Record>
void fields(Archive& ar, Record& share) {
  ar.required("format", share.format);
  ar.required("tensors", share.tensors);
  ar.required("bytes", share.bytes);
}

template <typename Archive, Is<AlsoModel> Record>
void fields(Archive& ar, Record& model) {
  ar.required("lane", model.lane);
  ar.required("path", model.path);
  ar.required("format", model.format);
  ar.required("bytes", model.bytes);
  ar.optional("bits_per_weight", model.bits_per_weight);
  ar.optional("stored", model.stored);
  ar.required("gates", model.gates);
}

// selftest.h
// ----------------------------------------------------------------------------------------------------

template <typename Archive, Is<Detection> Record>
void fields(Archive& ar, Record& detection) {
  ar.required("damage", detection.damage);
  ar.required("story", detection.story);
  ar.required("outcome", detection.outcome);
  ar.required("expected", detection.expected);
  ar.required("lint", detection.lint);
  ar.required("audit", detection.audit);
  ar.required("compare", detection.compare);
  ar.required("exit_code", detection.exit_code);
  ar.optional("note", detection.note);
}

template <typename Archive, Is<SelftestResult> Record>
void fields(Archive& ar, Record& selftest) {
  ar.required("detections", selftest.detections);
}

// generation.h
// ----------------------------------------------------------------------------------------------------

template <typename Archive, Is<GeneratedText> Record>
void fields(Archive& ar, Record& text) {
  ar.required("lane", text.lane);
  ar.required("ids", text.ids);
  ar.optional("text", text.text);
  ar.required("stop", text.stop);
  ar.optional("repetition", text.repetition);
  ar.optional("passed", text.passed);
  ar.optional("not_met", text.not_met);
}

template <typename Archive, Is<Departure> Record>
void fields(Archive& ar, Record& departure) {
  ar.required("reference", departure.reference);
  ar.required("subject", departure.subject);
  ar.required("position", departure.position);
  ar.required("reference_id", departure.reference_id);
  ar.required("subject_id", departure.subject_id);
  ar.optional("reference_token", departure.reference_token);
  ar.optional("subject_token", departure.subject_token);
  ar.optional("reference_gap", departure.reference_gap);
  ar.optional("subject_gap", departure.subject_gap);
  ar.optional("near_tie", departure.near_tie);
}

template <typename Archive, Is<GeneratedPrompt> Record>
void fields(Archive& ar, Record& prompt) {
  ar.required("prompt", prompt.prompt);
  ar.required("tokens", prompt.tokens);
  ar.required("texts", prompt.texts);
  ar.required("departures", prompt.departures);
}

template <typename Archive, Is<GenerationPair> Record>
void fields(Archive& ar, Record& pair) {
  ar.required("reference", pair.reference);
  ar.required("subject", pair.subject);
  ar.required("prompts", pair.prompts);
  ar.required("identical", pair.identical);
  ar.required("near_ties", pair.near_ties);
  ar.required("real", pair.real);
  ar.required("unjudged", pair.unjudged);
  ar.optional("edit_share", pair.edit_share);
  ar.optional("scenarios_lost", pair.scenarios_lost);
  ar.optional("scenarios_gained", pair.scenarios_gained);
}

template <typename Archive, Is<StopCount> Record>
void fields(Archive& ar, Record& stop) {
  ar.required("reason", stop.reason);
  ar.required("prompts", stop.prompts);
}

template <typename Archive, Is<GenerationLane> Record>
void fields(Archive& ar, Record& lane) {
  ar.required("lane", lane.lane);
  ar.required("tokens", lane.tokens);
  ar.required("stops", lane.stops);
  ar.optional("repetition", lane.repetition);
  ar.optional("scenarios", lane.scenarios);
  ar.optional("passed", lane.passed);
}

template <typename Archive, Is<GenerationResult> Record>
void fields(Archive& ar, Record& generation) {
  ar.required("max_tokens", generation.max_tokens);
  ar.required("temperature", generation.temperature);
  ar.optional("top_p", generation.top_p);
  ar.optional("top_k", generation.top_k);
  ar.optional("seed", generation.seed);
  ar.optional("margin", generation.margin);
  ar.optional("margin_basis", generation.margin_basis);
  ar.required("lanes", generation.lanes);
  ar.required("pairs", generation.pairs);
  ar.required("prompts", generation.prompts);
}

// report.h: the whole
// ----------------------------------------------------------------------------------------

/// "schema", "status" and "exit_code" stand before these and are the caller's.
template <typename Archive, Is<Report> Record>
void fields(Archive& ar, Record& report) {
  ar.optional("error", report.error);
  ar.optional("not_checked", report.not_checked);
  ar.required("tool", report.tool);
  ar.required("inputs", report.inputs);
  ar.required("provenance", report.provenance);
  ar.required("findings", report.findings);
  ar.required("audit", report.audit);
  ar.required("comparisons", report.comparisons);
  ar.optional("also", report.also);
  ar.required("floor", report.floor);
  ar.required("verdicts", report.verdicts);
  ar.optional("bench", report.bench);
  ar.optional("selftest", report.selftest);
  ar.optional("generation", report.generation);
  ar.optional("timing", report.timing);
  ar.optional("memory", report.memory);
}

}  // namespace mg::report_json
