#include "harness/run/generate.h"

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "harness/lanes/checkpoint_source.h"
#include "harness/run/describe.h"
#include "harness/run/logit_metrics.h"
#include "harness/run/models.h"
#include "harness/run/prompts.h"
#include "harness/run/report_run.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"

namespace mg {
namespace {

GenerationPair pair_of(const std::string& reference, const std::string& subject) {
  GenerationPair pair;
  pair.reference = reference;
  pair.subject = subject;
  return pair;
}

/// The run, phase by phase.
class Generate {
 public:
  Generate(const GenerateOptions& options, ThreadPool& pool, const CheckProgress& progress)
      : options_(options), pool_(pool), progress_(progress) {
    report_.tool.version = options.version;
    report_.tool.threads = pool.threads();
    report_.tool.backend = options.engine.backend;
    report_.tool.arithmetic = arithmetic_name(options.engine.arithmetic);
    report_.tool.machine = machine_name();
    report_.inputs.base = options.base.string();
    report_.inputs.adapter = options.adapter.string();
    report_.inputs.merged = options.merged.string();
    report_.inputs.command = options.command;
  }

  Report run() {
    run_.run([this] {
      run_.phase("open", [this] { open(); });
      run_.phase("floor", [this] { measure_margin(); });
      run_.phase("generate", [this] { generate(); });
      summarise();
      judge();
    });
    return std::move(report_);
  }

 private:
  void open() {
    EngineOptions& engine = options_.engine;
    const BackendOptions settings{
        .arithmetic = engine.arithmetic, .pool = &pool_, .isa = engine.isa};
    const BackendChoice choice = choose_backend(engine.backend, settings);
    engine.backend = choice.name;
    if (!choice.why.empty()) {
      report_.findings.push_back(engine_note(choice.why));
    }
    backend_ = make_backend(engine.backend, settings);
    report_.tool.backend = backend_->info().name + " (" + backend_->info().isa + ")";
    base_ = std::make_unique<OpenModel>(options_.base);
    require_plain_weights(*base_);
    add_lane("base", std::make_unique<CheckpointSource>(base_->checkpoint, base_->model), *base_);
    if (!options_.adapter.empty()) {
      adapter_ = std::make_unique<OpenAdapter>(options_.adapter, *base_);
      add_lane(
          "adapter",
          std::make_unique<CheckpointSource>(base_->checkpoint, base_->model, &adapter_->attached),
          *base_);
    }
    if (!options_.merged.empty()) {
      merged_ = std::make_unique<OpenModel>(options_.merged);
      require_plain_weights(*merged_);
      add_lane("merged", std::make_unique<CheckpointSource>(merged_->checkpoint, merged_->model),
               *merged_);
    }
    loaded_ =
        load_suites(options_.suites, limits_of(*base_), options_.token_budget,
                    {.base = options_.base, .adapter = options_.adapter, .merged = options_.merged},
                    vision_of(*base_));
    prompts_ = all_prompts(loaded_.suites);
    refuse_pictures();
    report_.inputs.suites = loaded_.infos;
    report_.findings.insert(report_.findings.end(), loaded_.findings.begin(),
                            loaded_.findings.end());
    result_.max_tokens = options_.max_tokens;
    result_.temperature = options_.sampling.temperature;
    result_.top_p = options_.sampling.top_p;
    result_.top_k = options_.sampling.top_k;
    result_.seed = options_.sampling.seed;
  }

  /// Decoding feeds ids: an image would be read as so many placeholders.
  void refuse_pictures() const {
    for (const SuitePrompt& prompt : prompts_) {
      if (prompt.pixel_values || prompt.pixel_values_videos || prompt.patches) {
        throw Error({.code = "generate.images",
                     .what = "texts are not generated from prompts with images",
                     .where = "prompt \"" + prompt.id + "\"",
                     .expected = "prompts of text alone",
                     .actual = "an image or a clip",
                     .hint = "leave such prompts out; check and compare take them"});
      }
    }
  }

  void add_lane(std::string name, std::unique_ptr<WeightSource> source, const OpenModel& model) {
    lanes_.push_back({std::move(name), source.get(), backend_.get()});
    sources_.push_back(std::move(source));
    stop_ids_.push_back(stop_ids_of(model));
    // Each lane beside the one before it, and merged beside base where no adapter stands between.
    if (lanes_.size() > 1) {
      pairs_.push_back({lanes_.size() - 2, lanes_.size() - 1});
    }
  }

  bool greedy() const { return options_.sampling.temperature == 0; }

  /// Two tokens within the serving arithmetic's own noise are a near tie, as in `compare`.
  void measure_margin() {
    if (!adapter_ || !greedy() || options_.floor_tokens == 0) {
      return;
    }
    CompareOptions settings;
    settings.engine = options_.engine;
    settings.floor_tokens = options_.floor_tokens;
    const FloorRun floor = measure_floor(
        *base_, *adapter_, stored_dtype(merged_ ? merged_->checkpoint : base_->checkpoint),
        make_prompts(loaded_, limits_of(*base_)), settings, pool_,
        [this](double done) { progress_("floor", done); });
    report_.findings.insert(report_.findings.end(), floor.findings.begin(), floor.findings.end());
    if (!floor.overflow) {
      report_.floor = floor.floor;
      result_.margin = floor.floor.flip_margin;
      result_.margin_basis = floor.floor.basis;
    }
  }

  void generate() {
    TextOptions options;
    options.sampling = options_.sampling;
    options.stop_ids = stop_ids_;
    options.pairs = pairs_;
    options.context = base_->model.config.max_position_embeddings;
    options.decoder.streamed = options_.streamed;
    const auto batch = static_cast<std::size_t>(options_.batch);
    for (std::size_t first = 0; first < prompts_.size(); first += batch) {
      const std::size_t count = std::min(batch, prompts_.size() - first);
      std::vector<TextRequest> requests;
      for (std::size_t p = first; p < first + count; ++p) {
        requests.push_back({beginning_of(prompts_[p]), options_.max_tokens});
      }
      options.first_prompt = first;
      const std::vector<TextResult> texts =
          decode_texts(lanes_, requests, options, [&](double done) {
            progress_("generate", (static_cast<double>(first) + done * static_cast<double>(count)) /
                                      static_cast<double>(prompts_.size()));
          });
      for (std::size_t p = 0; p < count; ++p) {
        result_.prompts.push_back(told(prompts_[first + p], requests[p], texts[p]));
      }
    }
  }

  std::string text_of(std::span<const std::int32_t> ids) const {
    const PromptTokenizer* tokenizer = loaded_.sources->reference();
    return tokenizer == nullptr ? "" : tokenizer->tokenizer().decode(ids, /*skip_special=*/false);
  }

  GeneratedPrompt told(const SuitePrompt& prompt, const TextRequest& request,
                       const TextResult& texts) const {
    GeneratedPrompt out{.prompt = prompt.id,
                        .tokens = static_cast<std::int64_t>(request.ids.size()),
                        .texts = {},
                        .departures = {}};
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      const LaneText& from = texts.lanes[lane];
      GeneratedText text;
      text.lane = lanes_[lane].name;
      text.ids = from.ids;
      text.stop = from.stop;
      const bool ended = from.stop == StopReason::kEndOfText;
      text.text = text_of(std::span(from.ids).first(from.ids.size() - (ended ? 1 : 0)));
      text.repetition = repetition_of(from.ids);
      if (prompt.expect) {
        text.not_met = unmet(*prompt.expect, text.text);
        text.passed = text.not_met.empty();
      }
      out.texts.push_back(std::move(text));
    }
    for (std::size_t i = 0; i < pairs_.size(); ++i) {
      if (const std::optional<Parting>& parting = texts.partings[i]) {
        out.departures.push_back(departure_of(*parting, pairs_[i]));
      }
    }
    return out;
  }

  Departure departure_of(const Parting& parting, const WritingPair& pair) const {
    Departure out;
    out.reference = lanes_[pair.reference].name;
    out.subject = lanes_[pair.subject].name;
    out.position = parting.position;
    out.reference_id = parting.reference_id;
    out.subject_id = parting.subject_id;
    out.reference_token = text_of(std::span(&parting.reference_id, 1));
    out.subject_token = text_of(std::span(&parting.subject_id, 1));
    out.reference_gap = parting.reference_gap;
    out.subject_gap = parting.subject_gap;
    if (greedy() && result_.margin) {
      out.near_tie =
          parting.reference_gap <= *result_.margin && parting.subject_gap <= *result_.margin;
    }
    return out;
  }

  void summarise() {
    for (std::size_t lane = 0; lane < lanes_.size(); ++lane) {
      summarise_lane(lane);
    }
    for (const WritingPair& pair : pairs_) {
      summarise_pair(pair);
    }
    report_.generation = std::move(result_);
  }

  void summarise_lane(std::size_t lane) {
    GenerationLane out;
    out.lane = lanes_[lane].name;
    double repetition = 0;
    std::int64_t broken = 0;
    for (const StopReason reason : {StopReason::kEndOfText, StopReason::kLength,
                                    StopReason::kContext, StopReason::kNotFinite}) {
      const auto count =
          std::count_if(result_.prompts.begin(), result_.prompts.end(),
                        [&](const auto& prompt) { return prompt.texts[lane].stop == reason; });
      if (count > 0) {
        out.stops.push_back({reason, count});
        broken += reason == StopReason::kNotFinite ? count : 0;
      }
    }
    for (const GeneratedPrompt& prompt : result_.prompts) {
      const GeneratedText& text = prompt.texts[lane];
      out.tokens += static_cast<std::int64_t>(text.ids.size());
      repetition += text.repetition;
      out.scenarios += text.passed ? 1 : 0;
      out.passed += text.passed.value_or(false) ? 1 : 0;
    }
    out.repetition = repetition / static_cast<double>(result_.prompts.size());
    result_.lanes.push_back(std::move(out));
    if (broken > 0) {
      report_.findings.push_back(
          {.rule = "generate.not-finite",
           .catalogue = {},
           .severity = Severity::kError,
           .command = "generate",
           .subject = lanes_[lane].name,
           .message = "a text ended because the logits held a NaN or no finite value",
           .expected = "finite logits",
           .actual = std::to_string(broken) + " of " + std::to_string(result_.prompts.size()) +
                     " prompts",
           .fix = std::nullopt});
    }
  }

  void summarise_pair(const WritingPair& lanes) {
    GenerationPair pair = pair_of(lanes_[lanes.reference].name, lanes_[lanes.subject].name);
    double edits = 0;
    for (const GeneratedPrompt& prompt : result_.prompts) {
      const GeneratedText& reference = prompt.texts[lanes.reference];
      const GeneratedText& subject = prompt.texts[lanes.subject];
      ++pair.prompts;
      pair.identical += reference.ids == subject.ids && reference.stop == subject.stop ? 1 : 0;
      const std::size_t longer = std::max(reference.ids.size(), subject.ids.size());
      if (longer > 0) {
        edits += static_cast<double>(edit_distance(reference.ids, subject.ids)) /
                 static_cast<double>(longer);
      }
      if (reference.passed && subject.passed) {
        pair.scenarios_lost += *reference.passed && !*subject.passed ? 1 : 0;
        pair.scenarios_gained += !*reference.passed && *subject.passed ? 1 : 0;
      }
      if (const Departure* departure = find_departure(prompt, pair)) {
        std::int64_t& count = !departure->near_tie   ? pair.unjudged
                              : *departure->near_tie ? pair.near_ties
                                                     : pair.real;
        ++count;
      }
    }
    if (pair.prompts > 0) {
      pair.edit_share = edits / static_cast<double>(pair.prompts);
    }
    result_.pairs.push_back(std::move(pair));
  }

  static const Departure* find_departure(const GeneratedPrompt& prompt,
                                         const GenerationPair& pair) {
    const auto found = std::find_if(
        prompt.departures.begin(), prompt.departures.end(), [&](const Departure& departure) {
          return departure.reference == pair.reference && departure.subject == pair.subject;
        });
    return found == prompt.departures.end() ? nullptr : &*found;
  }

  /// Merged is to write what base + adapter writes; base is not.
  void judge() {
    for (const GenerationPair& pair : report_.generation->pairs) {
      if (pair.reference == "adapter") {
        judge_scenarios(pair);
        if (greedy()) {
          judge_departures(pair);
        }
      }
    }
  }

  void judge_scenarios(const GenerationPair& pair) {
    if (report_.generation->lanes.front().scenarios == 0) {
      return;
    }
    std::int64_t at_ties = 0;
    for (const GeneratedPrompt& prompt : report_.generation->prompts) {
      const auto passed = [&](const std::string& lane) {
        const auto text = std::find_if(prompt.texts.begin(), prompt.texts.end(),
                                       [&](const auto& each) { return each.lane == lane; });
        return text->passed.value_or(false);
      };
      const Departure* departure = find_departure(prompt, pair);
      if (departure != nullptr && passed(pair.reference) && !passed(pair.subject)) {
        at_ties += departure->near_tie.value_or(false) ? 1 : 0;
      }
    }
    Verdict verdict = verdict_of("generation.scenarios", pair, pair.scenarios_lost);
    verdict.basis = "no scenario that the reference passes may fail";
    const bool only_ties = pair.scenarios_lost == at_ties;
    verdict.status = pair.scenarios_lost == 0 ? GateStatus::kPass
                     : only_ties              ? GateStatus::kInconclusive
                                              : GateStatus::kFail;
    verdict.reason =
        pair.scenarios_lost == 0
            ? "every scenario that " + pair.reference + " passes, " + pair.subject + " passes"
        : only_ties ? "scenarios are lost, each behind a near tie that noise can decide"
                    : "scenarios are lost where the lanes did not hesitate";
    report_.verdicts.push_back(std::move(verdict));
  }

  void judge_departures(const GenerationPair& pair) {
    Verdict verdict = verdict_of("generation.departures", pair, pair.real);
    verdict.blocking = false;
    verdict.basis = "texts part at near ties only";
    verdict.status = pair.real > 0       ? GateStatus::kFail
                     : pair.unjudged > 0 ? GateStatus::kInconclusive
                                         : GateStatus::kPass;
    verdict.reason = pair.real > 0       ? "texts part where the lanes did not hesitate"
                     : pair.unjudged > 0 ? "there is no margin to judge a departure by"
                                         : "no text parts beyond a near tie";
    report_.verdicts.push_back(std::move(verdict));
  }

  static Verdict verdict_of(std::string gate, const GenerationPair& pair, std::int64_t value) {
    Verdict verdict;
    verdict.gate = std::move(gate);
    verdict.subject = pair.reference + "/" + pair.subject;
    verdict.unit = "prompts";
    verdict.value = static_cast<double>(value);
    verdict.limit = 0.0;
    return verdict;
  }

  GenerateOptions options_;
  ThreadPool& pool_;
  const CheckProgress& progress_;
  Report report_;
  ReportRun run_{report_, progress_};
  GenerationResult result_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<OpenModel> base_;
  std::unique_ptr<OpenAdapter> adapter_;
  std::unique_ptr<OpenModel> merged_;
  std::vector<std::unique_ptr<WeightSource>> sources_;
  std::vector<Lane> lanes_;
  std::vector<WritingPair> pairs_;
  std::vector<std::vector<std::int32_t>> stop_ids_;  // of each lane
  LoadedSuites loaded_;
  std::vector<SuitePrompt> prompts_;
};

}  // namespace

std::int64_t edit_distance(std::span<const std::int32_t> left,
                           std::span<const std::int32_t> right) {
  std::vector<std::int64_t> row(right.size() + 1);  // distances of left's first i ids
  std::iota(row.begin(), row.end(), std::int64_t{0});
  for (std::size_t i = 0; i < left.size(); ++i) {
    std::int64_t diagonal = row[0]++;
    for (std::size_t j = 0; j < right.size(); ++j) {
      const std::int64_t changed = diagonal + (left[i] == right[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j + 1] + 1, row[j] + 1});
    }
  }
  return row.back();
}

double repetition_of(std::span<const std::int32_t> ids) {
  constexpr std::size_t kRun = 4;
  if (ids.size() < kRun + 1) {
    return 0;
  }
  std::set<std::array<std::int32_t, kRun>> seen;
  const std::size_t runs = ids.size() - kRun + 1;
  for (std::size_t i = 0; i < runs; ++i) {
    seen.insert({ids[i], ids[i + 1], ids[i + 2], ids[i + 3]});
  }
  return 1.0 - static_cast<double>(seen.size()) / static_cast<double>(runs);
}

Report run_generate(const GenerateOptions& options, ThreadPool& pool,
                    const CheckProgress& progress) {
  return Generate(options, pool, progress).run();
}

}  // namespace mg
