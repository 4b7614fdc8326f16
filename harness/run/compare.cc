#include "harness/run/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <utility>

#include "harness/lanes/altered_source.h"
#include "harness/lanes/checkpoint_source.h"
#include "harness/lanes/devices.h"
#include "harness/lanes/remerge_source.h"
#include "harness/run/layers.h"
#include "harness/run/logit_metrics.h"
#include "harness/run/token_rows.h"
#include "harness/verdict/floor.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"

namespace mg {
namespace {

std::string what_if_name(DType dtype) {
  std::string name = "remerge-";
  for (const char letter : dtype_name(dtype)) {
    name += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  }
  return name;
}

/// The lanes of a comparison and the pairs that are compared.
struct Lineup {
  std::vector<std::unique_ptr<WeightSource>> sources;
  std::vector<Lane> lanes;
  std::vector<PairSpec> pairs;
  std::vector<std::size_t> subjects;    // lanes whose hidden states are compared
  std::vector<std::size_t> references;  // beside them: with which lane's
  std::size_t first_served_pair = 0;    // CompareOptions::served stand last, in their order
  std::size_t first_served_subject = 0;

  int add(std::string name, std::unique_ptr<WeightSource> source, Backend& backend) {
    lanes.push_back({std::move(name), source.get(), &backend});
    sources.push_back(std::move(source));
    return static_cast<int>(lanes.size()) - 1;
  }
  void follow(int lane, int reference) {
    subjects.push_back(static_cast<std::size_t>(lane));
    references.push_back(static_cast<std::size_t>(reference));
  }
};

constexpr int kBase = 0;
constexpr int kAdapter = 1;
constexpr int kMerged = 2;
constexpr std::size_t kRemergeSubject = 1;  // where there is a re-merge: right behind merged

Lineup line_up(const OpenModel& base, const OpenAdapter& adapter, const OpenModel& merged,
               const CompareOptions& options, Backend& backend, ThreadPool& pool) {
  Lineup lineup;
  // Base and adapter stand side by side: they share every matrix.
  lineup.add("base",
             std::make_unique<CheckpointSource>(base.checkpoint, base.model, nullptr, &pool),
             backend);
  lineup.add(
      "adapter",
      std::make_unique<CheckpointSource>(base.checkpoint, base.model, &adapter.attached, &pool),
      backend);
  std::unique_ptr<WeightSource> subject;
  if (options.altered != nullptr) {
    subject =
        std::make_unique<AlteredSource>(merged.checkpoint, merged.model, *options.altered, pool);
  } else {
    subject = std::make_unique<CheckpointSource>(merged.checkpoint, merged.model, nullptr, &pool);
  }
  lineup.add("merged", std::move(subject), backend);
  lineup.pairs.push_back({.reference = kAdapter, .subject = kMerged, .base = kBase});
  lineup.follow(kMerged, kAdapter);
  const auto add_remerge = [&](std::string name, std::optional<DType> dtype) {
    const int lane = lineup.add(
        std::move(name),
        std::make_unique<RemergeSource>(base.checkpoint, base.model, adapter.attached, dtype, pool),
        backend);
    lineup.pairs.push_back({.reference = kAdapter, .subject = lane, .base = kBase});
    return lane;
  };
  if (options.remerge) {
    const int lane = add_remerge("remerge", stored_dtype(merged.checkpoint));
    lineup.pairs.push_back({.reference = lane, .subject = kMerged, .base = kBase});
    lineup.follow(lane, kAdapter);  // what rounding alone does to each layer
  }
  for (const DType dtype : options.what_if) {
    add_remerge(what_if_name(dtype), dtype);
  }
  if (options.other.base != nullptr) {
    const int lane = lineup.add(options.other.lane,
                                std::make_unique<CheckpointSource>(
                                    options.other.base->checkpoint, options.other.base->model,
                                    &options.other.adapter->attached, &pool),
                                backend);
    lineup.pairs.push_back({.reference = lane, .subject = kMerged, .base = kBase});
    lineup.pairs.push_back({.reference = kAdapter, .subject = lane, .base = kBase});
  }
  lineup.first_served_pair = lineup.pairs.size();
  lineup.first_served_subject = lineup.subjects.size();
  for (const ServedModel& served : options.served) {
    const int lane = lineup.add(served.lane,
                                std::make_unique<CheckpointSource>(
                                    served.model->checkpoint, served.model->model, nullptr, &pool),
                                backend);
    lineup.pairs.push_back({.reference = kMerged, .subject = lane, .base = kBase});
    lineup.follow(lane, kMerged);
  }
  return lineup;
}

/// One device with everything that stands on it.
struct DeviceLineup {
  std::unique_ptr<ThreadPool> own_pool;  // null: the only device has the whole pool
  std::unique_ptr<Backend> backend;
  Lineup lineup;

  ThreadPool* pool(ThreadPool& whole) const { return own_pool ? own_pool.get() : &whole; }
};

/// As many devices as the engine has and the prompts can be split over.
std::vector<DeviceLineup> line_up_on_devices(const OpenModel& base, const OpenAdapter& adapter,
                                             const OpenModel& merged, const Batch& batch,
                                             const CompareOptions& options, ThreadPool& pool) {
  const auto make = [&](ThreadPool* threads, std::size_t device) {
    return make_backend(options.engine.backend, {.arithmetic = options.engine.arithmetic,
                                                 .pool = threads,
                                                 .isa = options.engine.isa,
                                                 .device = static_cast<int>(device)});
  };
  const std::size_t count =
      split_prompts(batch, static_cast<std::size_t>(make(&pool, 0)->devices())).size();
  std::vector<DeviceLineup> places;
  for (std::size_t device = 0; device < count; ++device) {
    DeviceLineup place;
    if (count > 1) {
      place.own_pool =
          std::make_unique<ThreadPool>(std::max(1, pool.threads() / static_cast<int>(count)));
    }
    place.backend = make(place.pool(pool), device);
    place.lineup = line_up(base, adapter, merged, options, *place.backend, *place.pool(pool));
    places.push_back(std::move(place));
  }
  return places;
}

/// Findings of a pair whose subject is what will be served.
Finding as_served(Finding finding) {
  finding.rule = "served." + finding.rule.substr(finding.rule.find('.') + 1);
  finding.command = "served";
  return finding;
}

void add_notes(const std::vector<std::string>& notes, std::vector<Finding>& findings) {
  for (const std::string& note : notes) {
    findings.push_back(engine_note(note));
  }
}

}  // namespace

Finding engine_note(const std::string& message) {
  return {.rule = "compare.engine",
          .catalogue = {},
          .severity = Severity::kNote,
          .command = "compare",
          .subject = "engine",
          .message = message,
          .expected = {},
          .actual = {},
          .fix = {}};
}

Finding merge_base_note(const std::vector<Comparison>& comparisons, const std::string& other_lane) {
  const auto price = [&](const std::string& reference, const std::string& subject) {
    const auto found =
        std::find_if(comparisons.begin(), comparisons.end(), [&](const Comparison& comparison) {
          return comparison.reference == reference && comparison.subject == subject;
        });
    MG_CHECK(found != comparisons.end(), "the pairs of the other base were run");
    const MetricSummary* kl = find_metric(found->metrics, "kl");
    const MetricSummary* nll = find_metric(found->metrics, "delta_nll");
    const auto mean = [](const MetricSummary* metric, const char* form) {
      return metric == nullptr || !metric->mean ? std::string("unknown")
                                                : fmt::format(fmt::runtime(form), *metric->mean);
    };
    return fmt::format("KL {} nat and {} nat of NLL a token", mean(kl, "{:.3g}"),
                       mean(nll, "{:+.4f}"));
  };
  const bool trained_apart = other_lane == kTrainedLane;
  Finding f = engine_note({});
  f.rule = "compare.merge-base";
  f.catalogue = {"F28"};
  f.subject = "merged";
  f.message =
      trained_apart
          ? fmt::format(
                "the price of merging into --base rather than into the base the adapter was "
                "trained "
                "on, against the adapter on that one: {}",
                price(other_lane, "merged"))
          : fmt::format(
                "merged was made from the base the adapter was trained on, at {} against the "
                "adapter there; merged into --base it would have been {}",
                price("adapter", "merged"), price("adapter", other_lane));
  return f;
}

DType stored_dtype(const Checkpoint& checkpoint) {
  std::map<DType, std::size_t> bytes;
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    bytes[tensor.used_dtype()] += tensor.view.bytes;
  }
  DType most = DType::kF32;
  std::size_t largest = 0;
  for (const auto& [dtype, count] : bytes) {
    if (count > largest) {
      largest = count;
      most = dtype;
    }
  }
  return most;
}

CompareRun compare_lanes(const OpenModel& base, const OpenAdapter& adapter, const OpenModel& merged,
                         const Prompts& prompts, const CompareOptions& options,
                         const FloorRun* floor, ThreadPool& pool,
                         const std::function<void(double)>& progress) {
  const std::vector<DeviceLineup> places =
      line_up_on_devices(base, adapter, merged, prompts.batch, options, pool);
  const Lineup& lineup = places.front().lineup;
  std::vector<DeviceLanes> devices;
  for (const DeviceLineup& place : places) {
    devices.push_back({place.pool(pool), place.lineup.lanes});
  }
  LogitMetrics metrics(lineup.lanes, lineup.pairs, prompts, pool, progress);
  LockstepOptions lockstep;
  lockstep.reference = kAdapter;
  lockstep.subjects = lineup.subjects;
  lockstep.subject_references = lineup.references;
  lockstep.forced_tokens = options.forced_tokens;
  lockstep.chunk_tokens = options.chunk_tokens;
  const LockstepResult hidden = run_on_devices(devices, prompts.batch, lockstep, metrics);

  CompareRun run;
  run.backend = places.front().backend->info();
  add_notes(hidden.notes, run.findings);
  for (const DeviceLineup& place : places) {
    add_notes(place.backend->notes(), run.findings);
  }
  SummaryOptions summary{.context = {},
                         .bootstrap = options.bootstrap,
                         .slices = prompts.slices,
                         .evidence = options.evidence};
  if (floor != nullptr && floor->floor.flip_margin) {
    summary.context.flip_margin = *floor->floor.flip_margin;
  }
  for (std::size_t pair = 0; pair < lineup.pairs.size(); ++pair) {
    Comparison comparison = summarise(metrics.accumulator(), static_cast<int>(pair), summary, pool);
    comparison.arithmetic = arithmetic_name(options.engine.arithmetic);
    run.comparisons.push_back(std::move(comparison));
  }
  if (options.token_rows != nullptr) {
    *options.token_rows = collect_token_rows(metrics.accumulator(), prompts, summary.context);
  }
  Comparison& main = run.comparisons.front();
  ExpectedDrift expected;
  if (options.remerge) {
    expected = expected_of_remerge(hidden.drift[kRemergeSubject]);
  } else if (floor != nullptr) {
    expected = {.halves = floor->drift, .by_prompt = false, .basis = "the arithmetic's own"};
  }
  add_layers(hidden.drift.front(), hidden.non_finite[kMerged], expected, prompts.batch, main);
  if (std::optional<Finding> departure = departing_half(hidden.drift.front(), main, expected)) {
    run.findings.push_back(std::move(*departure));
  }
  for (std::size_t i = 0; i < options.served.size(); ++i) {
    Comparison& comparison = run.comparisons[lineup.first_served_pair + i];
    const std::size_t subject = lineup.first_served_subject + i;
    const std::vector<HalfDrift>& drift = hidden.drift[subject];
    // Merged's own rounding, where that is all that tells it from the adapter.
    const std::vector<HalfDrift>& yardstick =
        main.culprit && floor != nullptr ? floor->drift : hidden.drift.front();
    const ExpectedDrift usual = expected_of_others(drift, yardstick);
    // Nothing is expected of a single prompt: quantisation moves them all from the first layer on.
    add_layers(drift, hidden.non_finite[lineup.subjects[subject]], {}, prompts.batch, comparison);
    if (std::optional<Finding> departure = departing_half(drift, comparison, usual)) {
      departure->subject = comparison.subject + ", " + departure->subject;
      run.findings.push_back(as_served(std::move(*departure)));
    }
  }
  const std::size_t first_served = lineup.lanes.size() - options.served.size();
  for (std::size_t lane = 0; lane < lineup.lanes.size(); ++lane) {
    if (hidden.non_finite[lane]) {
      Finding finding =
          non_finite_finding(lineup.lanes[lane].name, *hidden.non_finite[lane], prompts.batch);
      run.findings.push_back(lane < first_served ? std::move(finding)
                                                 : as_served(std::move(finding)));
    }
  }
  return run;
}

namespace {

/// Whether the adapter lane, run twice side by side, gives the same numbers.
bool equals_itself(CheckpointSource& source, Backend& backend, const Prompts& prompts,
                   const CompareOptions& options, ThreadPool& pool) {
  const std::vector<Lane> lanes{{"adapter", &source, &backend},
                                {"adapter-again", &source, &backend}};
  LogitMetrics metrics(lanes, {{.reference = 0, .subject = 1, .base = -1}}, prompts, pool,
                       [](double) {});
  LockstepOptions lockstep;
  lockstep.chunk_tokens = options.chunk_tokens;
  run_lockstep(pool, lanes, prompts.batch, lockstep, metrics);
  return rows_are_identical(metrics.accumulator(), 0);
}

}  // namespace

FloorRun measure_floor(const OpenModel& base, const OpenAdapter& adapter, DType serving,
                       const Prompts& prompts, const CompareOptions& options, ThreadPool& pool,
                       const std::function<void(double)>& progress) {
  constexpr std::int64_t kFewestPrompts = 8;
  const Prompts sample = sample_prompts(prompts, options.floor_tokens, kFewestPrompts);
  const Arithmetic rounded = serving == DType::kBF16 ? Arithmetic::kBf16 : Arithmetic::kFp16;
  const std::unique_ptr<Backend> exact =
      make_backend(options.engine.backend,
                   {.arithmetic = Arithmetic::kExact, .pool = &pool, .isa = options.engine.isa});
  const std::unique_ptr<Backend> served = make_backend(
      options.engine.backend, {.arithmetic = rounded, .pool = &pool, .isa = options.engine.isa});
  CheckpointSource source(base.checkpoint, base.model, &adapter.attached, &pool);
  const std::vector<Lane> lanes{{"adapter", &source, exact.get()},
                                {"adapter-serving", &source, served.get()}};
  const std::vector<PairSpec> pairs{{.reference = 0, .subject = 1, .base = -1}};
  LogitMetrics metrics(lanes, pairs, sample, pool, progress);
  LockstepOptions lockstep;
  lockstep.subjects = {1};
  lockstep.forced_tokens = kDriftTokens;
  lockstep.chunk_tokens = options.chunk_tokens;
  const LockstepResult hidden = run_lockstep(pool, lanes, sample.batch, lockstep, metrics);

  FloorRun run;
  add_notes(hidden.notes, run.findings);
  add_notes(exact->notes(), run.findings);
  add_notes(served->notes(), run.findings);
  const SummaryOptions summary{
      .context = {}, .bootstrap = options.bootstrap, .slices = {}, .evidence = 0};
  run.self_compare_exact =
      equals_itself(source, *exact, sample_prompts(sample, kSelfTokens, 1), options, pool);
  run.noise = summarise(metrics.accumulator(), 0, summary, pool);
  run.noise.arithmetic = arithmetic_name(rounded);
  if (const std::optional<NonFiniteHidden>& overflow = hidden.non_finite[1];
      overflow && !hidden.non_finite[0]) {
    run.findings.push_back(serving_overflow_finding(
        arithmetic_name(rounded), serving != DType::kF32, *overflow, sample.batch));
    run.overflow = true;
    return run;  // no floor: a NaN is no noise
  }
  run.drift = hidden.drift.front();
  run.floor =
      make_floor(run.noise, "adapter lane, exact against " + arithmetic_name(rounded) +
                                " arithmetic, " + std::to_string(run.noise.prompts) + " prompts");
  return run;
}

}  // namespace mg
