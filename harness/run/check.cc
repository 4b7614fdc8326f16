#include "harness/run/check.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "harness/audit/audit.h"
#include "harness/lint/config_diff.h"
#include "harness/lint/lint.h"
#include "harness/run/describe.h"
#include "harness/run/logit_metrics.h"
#include "harness/run/report_run.h"
#include "harness/run/served.h"
#include "harness/run/token_texts.h"
#include "harness/run/told_once.h"
#include "harness/verdict/floor.h"
#include "harness/verdict/judge.h"
#include "kernels/core/error.h"
#include "kernels/registry.h"

namespace mg {
namespace {

/// Share of differing elements up to which merged and our re-merge count as one: FP32 summation
/// order flips a few elements in ten thousand by an ulp (docs/reference/peers.md, "Facts for the
/// tensor proof").
constexpr double kStrayShare = 1e-3;

bool is_remerge(const AuditResult& audit) {
  return std::all_of(audit.tensors.begin(), audit.tensors.end(), [](const TensorAudit& tensor) {
    const bool stray =
        static_cast<double>(tensor.differing) <= kStrayShare * static_cast<double>(tensor.elements);
    return tensor.verdict == GateStatus::kPass && stray && tensor.max_ulp.value_or(0) <= 1;
  });
}

/// The run, phase by phase; each phase fills its part of the report.
class Check {
 public:
  Check(const CheckOptions& options, ThreadPool& pool, const CheckProgress& progress)
      : options_(options), pool_(pool), progress_(progress) {
    report_.tool.version = options.version;
    report_.tool.threads = pool.threads();
    report_.tool.backend = options.compare.engine.backend;
    report_.tool.arithmetic = arithmetic_name(options.compare.engine.arithmetic);
    report_.tool.machine = machine_name();
    report_.inputs.base = options.base.string();
    report_.inputs.adapter = options.adapter.string();
    report_.inputs.merged = options.merged.string();
    if (!options.trained_on.empty()) {
      report_.inputs.trained_on = options.trained_on.string();
    }
    report_.inputs.command = options.command;
  }

  Report run() {
    run_.run([this] { phases(); });
    return std::move(report_);
  }

 private:
  void phases() {
    choose_engine();
    run_.phase("lint", [this] { lint(); });
    run_.phase("open", [this] { open(); });
    if (options_.digests) {
      run_.phase("digest", [this] { digest(); });
    }
    if (options_.audit) {
      run_.phase("audit", [this] { audit(); });
    }
    if (options_.audit && !base_->model.arch->forward) {
      leave_outputs_out();
    } else if (merged_->model.problems.empty()) {
      run_.phase("floor", [this] {
        look_at_weights();
        measure_noise();
      });
      run_.phase("compare", [this] { compare(); });
      run_.phase("judge", [this] { judge_outputs(); });
    } else {
      skip_comparison();
    }
  }

  /// Before minutes of work, not after: a device that is not there, --backend auto.
  void choose_engine() {
    EngineOptions& engine = options_.compare.engine;
    const BackendChoice choice = choose_backend(
        engine.backend, {.arithmetic = engine.arithmetic, .pool = &pool_, .isa = engine.isa});
    engine.backend = choice.name;
    report_.tool.backend = choice.name;
    if (!choice.why.empty()) {
      add_findings({engine_note(choice.why)});
    }
  }

  /// What configs and headers tell.  Goes on whatever it finds: what cannot be read ends the run in
  /// open(), with that reader's error.
  void lint() {
    lint::Options settings;
    settings.merged = options_.merged;
    settings.base = options_.base;
    settings.adapter = options_.adapter;
    settings.also = options_.also;
    settings.accepted_keys = options_.accepted_keys;
    settings.audit_follows = options_.audit;
    const lint::Context context = lint::open_context(settings);
    add_findings(lint::run(context, settings).plain_findings());
    report_.provenance.emplace();
    report_.provenance->config_differences =
        lint::config_differences(*context.base, context.merged);
  }

  void open() {
    base_ = std::make_unique<OpenModel>(options_.base, options_.block_order);
    base_->model.require_complete(base_->checkpoint);
    require_plain_weights(*base_);
    adapter_ = std::make_unique<OpenAdapter>(options_.adapter, *base_);
    merged_ = std::make_unique<OpenModel>(options_.merged, options_.block_order);
    require_plain_weights(*merged_);
    if (!options_.trained_on.empty()) {
      other_base_ = std::make_unique<OpenModel>(options_.trained_on, options_.block_order);
      other_base_->model.require_complete(other_base_->checkpoint);
      require_plain_weights(*other_base_);
      other_adapter_ = std::make_unique<OpenAdapter>(options_.adapter, *other_base_);
    }
    add_findings(block_order_findings(*base_, "base"));
    if (other_base_) {
      add_findings(block_order_findings(*other_base_, "trained-on"));
    }
    plant();
    describe_inputs(*base_, *adapter_, *merged_, report_.inputs);
    gates_ = at_bits(
        load_gate_profile(!options_.gates.empty() ? options_.gates
                                                  : std::string(default_gate_profile(
                                                        stored_dtype(merged_->checkpoint), false))),
        bits_per_weight(*merged_));
    ModelLimits limits = limits_of(*base_);
    open_served_models(limits);
    prompts_ = load_prompts(
        options_.suites, limits, options_.token_budget,
        {.base = options_.base, .adapter = options_.adapter, .merged = options_.merged},
        vision_of(*base_));
    report_.inputs.suites = prompts_.suites;
    if (options_.prompt_tokens > 0) {
      prompts_ = first_tokens(prompts_, options_.prompt_tokens);
    }
    tell_once(report_.findings, prompts_.findings);
    add_findings(prompts_.findings);
  }

  /// `limits` is narrowed to the ids that every lane can read.
  void open_served_models(ModelLimits& limits) {
    const GateProfile profile =
        load_gate_profile(options_.also_gates.empty() ? kServedProfile : options_.also_gates);
    const std::vector<std::string> lanes = served_lanes(options_.also);
    for (std::size_t i = 0; i < options_.also.size(); ++i) {
      served_.push_back(open_served(options_.also[i], lanes[i], *merged_, options_.block_order));
      const OpenServed& served = served_.back();
      served_gates_.push_back(at_bits(profile, bits_per_weight(*served.model)));
      report_.also.push_back(describe_served(served, profile.name));
      add_findings(vocabulary_findings(served, *merged_));
      add_findings(block_order_findings(*served.model, served.lane));
      limits.vocab_size = std::min(limits.vocab_size, served.model->model.config.vocab_size);
    }
  }

  void plant() {
    if (options_.damage != Damage::kNone) {
      damaged_.emplace(*base_, *adapter_, *merged_, options_.damage);
    }
  }

  const AlteredTensors* altered() const { return damaged_ ? &*damaged_ : nullptr; }

  void digest() {
    std::vector<InputFolder> folders = {
        {"base", options_.base}, {"adapter", options_.adapter}, {"merged", options_.merged}};
    if (!options_.trained_on.empty()) {
      folders.push_back({"trained-on", options_.trained_on});
    }
    for (const OpenServed& served : served_) {
      folders.push_back({"also:" + served.lane, served.path});
    }
    report_.provenance->files =
        digest_inputs(folders, pool_, [this](double done) { progress_("digest", done); });
  }

  void audit() {
    AuditOptions settings = audit_options();
    settings.progress = [this](std::uint64_t done, std::uint64_t total) {
      progress_("audit",
                static_cast<double>(done) / static_cast<double>(std::max<std::uint64_t>(total, 1)));
    };
    AuditOutcome outcome = audited(settings);
    merged_into_ = outcome.merged_into;
    if (outcome.not_checked) {
      report_.not_checked.push_back("the audit could not judge every tensor");
    }
    add_findings(std::move(outcome.findings));
    report_.audit = std::move(outcome.result);
  }

  void measure_noise() {
    if (options_.known_floor && *options_.known_floor) {
      floor_ = **options_.known_floor;
    } else if (options_.compare.floor_tokens > 0) {
      floor_ =
          measure_floor(*base_, *adapter_, stored_dtype(merged_->checkpoint), prompts_,
                        options_.compare, pool_, [this](double done) { progress_("floor", done); });
    }
    if (options_.known_floor) {
      *options_.known_floor = floor_;
    }
    if (floor_) {
      if (!floor_->overflow) {
        report_.floor = floor_->floor;
      }
      add_findings(floor_->findings);
    }
  }

  void compare() {
    CompareOptions settings = options_.compare;
    settings.altered = altered();
    // Behind codes stand weights that are not here: our re-merge would be another model.
    const bool comparable = merged_into_ != MergedInto::kOriginal;
    settings.remerge = settings.remerge || (!same_as_remerge_ && comparable);
    if (other_base_) {
      settings.other = {other_base_.get(), other_adapter_.get(), other_lane()};
    }
    for (const OpenServed& served : served_) {
      settings.served.push_back({served.model.get(), served.lane});
    }
    CompareRun run =
        compare_lanes(*base_, *adapter_, *merged_, prompts_, settings, floor_ ? &*floor_ : nullptr,
                      pool_, [this](double done) { progress_("compare", done); });
    report_.comparisons = std::move(run.comparisons);
    if (const PromptTokenizer* tokenizer = prompts_.sources->reference()) {
      for (Comparison& comparison : report_.comparisons) {
        add_token_texts(tokenizer->tokenizer(), prompts_.batch, comparison);
      }
    }
    report_.tool.backend = run.backend.name + " (" + run.backend.isa + ")";
    add_findings(std::move(run.findings));
    if (other_base_) {
      add_findings({merge_base_note(report_.comparisons, other_lane())});
    }
  }

  std::string other_lane() const {
    return merged_into_ == MergedInto::kTrainedOn ? kGivenLane : kTrainedLane;
  }

  AuditOptions audit_options() const {
    AuditOptions settings;
    settings.altered = altered();
    settings.trained_on = other_base_ ? &other_base_->checkpoint : nullptr;
    return settings;
  }

  /// By the engine's backend, where that can sum up weights.
  AuditOutcome audited(AuditOptions settings) {
    const std::unique_ptr<Backend> backend = make_backend(
        options_.compare.engine.backend, {.pool = &pool_, .isa = options_.compare.engine.isa});
    settings.device = backend->merge_statistics();
    AuditOutcome outcome = run_audit(base_->checkpoint, adapter_->adapter, adapter_->attached,
                                     merged_->checkpoint, pool_, settings);
    for (const std::string& note : backend->notes()) {
      outcome.findings.push_back(engine_note(note));
    }
    return outcome;
  }

  /// Which weights merged is our re-merge of, before anything runs on them: the lanes stand on the
  /// base that merged was made from.
  void look_at_weights() {
    same_as_remerge_ = merged_is_remerge();
    if (merged_into_ == MergedInto::kTrainedOn) {
      std::swap(base_, other_base_);
      std::swap(adapter_, other_adapter_);
    }
    if (merged_into_ == MergedInto::kOriginal && options_.gates.empty()) {
      gates_ = load_gate_profile(
          std::string(default_gate_profile(stored_dtype(merged_->checkpoint), true)));
    }
  }

  /// A re-merge lane would only repeat merged's numbers then.  `compare` reports no audit, but
  /// looks all the same: to read the weights once costs a tenth of running a lane on them.
  bool merged_is_remerge() {
    if (report_.audit) {
      return is_remerge(*report_.audit);
    }
    const AuditOutcome outcome = audited(audit_options());
    merged_into_ = outcome.merged_into;
    return is_remerge(outcome.result);
  }

  const Comparison* find_comparison(const std::string& reference,
                                    const std::string& subject) const {
    for (const Comparison& comparison : report_.comparisons) {
      if (comparison.reference == reference && comparison.subject == subject) {
        return &comparison;
      }
    }
    return nullptr;
  }

  void judge_outputs() {
    const JudgeInputs inputs{
        .total = find_comparison("adapter", "merged"),
        .tool = find_comparison("remerge", "merged"),
        .rounding = find_comparison("adapter", "remerge"),
        .self_compare_exact = floor_ ? std::optional(floor_->self_compare_exact) : std::nullopt,
        .remerge_is_merged = same_as_remerge_,
        .same_weights = adapter_->attached.deltas.empty(),
        .other = other_base_ ? find_comparison(other_lane(), "merged") : nullptr,
        .floor = report_.floor,
        .audit = report_.audit ? &*report_.audit : nullptr};
    Judgement judgement = judge(inputs, gates_);
    report_.verdicts = std::move(judgement.verdicts);
    add_findings(std::move(judgement.findings));
    for (std::size_t i = 0; i < served_.size(); ++i) {
      judge_served(*find_comparison("merged", served_[i].lane), served_gates_[i]);
    }
  }

  void judge_served(const Comparison& comparison, const GateProfile& gates) {
    JudgeInputs inputs;
    inputs.total = &comparison;
    inputs.floor = report_.floor;
    inputs.served = true;
    Judgement judgement = judge(inputs, gates);
    for (Verdict& verdict : judgement.verdicts) {
      report_.verdicts.push_back(std::move(verdict));
    }
    add_findings(std::move(judgement.findings));
    add_findings(effect_findings(comparison));
  }

  /// Merged lacks tensors or has others: its outputs cannot be computed, and that is the finding.
  void skip_comparison() {
    std::string list;
    for (const ResolveProblem& problem : merged_->model.problems) {
      list += (list.empty() ? "" : "; ") + problem.name + ": " + problem.actual;
    }
    add_findings({{.rule = "compare.incomplete-model",
                   .catalogue = {},
                   .severity = Severity::kError,
                   .command = "compare",
                   .subject = "merged",
                   .message = "merged's tensors are not those of its architecture, so that its "
                              "outputs were not computed",
                   .expected = "every tensor of " + merged_->model.config.architecture +
                               ", with its shape, and no other",
                   .actual = list,
                   .fix = std::nullopt}});
    report_.not_checked.push_back("outputs: merged cannot run");
  }

  /// An architecture that is known by its headers alone: lint and audit have judged all there is.
  void leave_outputs_out() {
    try {
      require_forward(*base_->model.arch, options_.base.string());
    } catch (const Error& error) {
      report_.not_checked.push_back("outputs: " + error.parts().what +
                                    " (known: " + error.parts().expected + ")");
    }
  }

  void add_findings(std::vector<Finding> findings) {
    for (Finding& finding : findings) {
      report_.findings.push_back(std::move(finding));
    }
  }

  CheckOptions options_;
  ThreadPool& pool_;
  const CheckProgress& progress_;
  Report report_;
  ReportRun run_{report_, progress_};
  std::unique_ptr<OpenModel> base_;
  std::unique_ptr<OpenAdapter> adapter_;
  std::unique_ptr<OpenModel> merged_;
  std::unique_ptr<OpenModel>
      other_base_;  // what the adapter was trained on, or, if merged was made
  std::unique_ptr<OpenAdapter> other_adapter_;  // from that, the base that was given
  MergedInto merged_into_ = MergedInto::kBase;
  std::vector<OpenServed> served_;
  std::vector<GateProfile> served_gates_;  // beside them
  std::optional<DamagedTensors> damaged_;
  GateProfile gates_;  // read before anything is computed: a typing error must not cost a run
  Prompts prompts_;
  std::optional<FloorRun> floor_;
  bool same_as_remerge_ = false;
};

}  // namespace

Report run_check(const CheckOptions& options, ThreadPool& pool, const CheckProgress& progress) {
  return Check(options, pool, progress).run();
}

}  // namespace mg
