#include "harness/audit/findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/io/folder.h"
#include "harness/model/names.h"

namespace mg {
namespace {

constexpr std::string_view kUnreadRule = "audit.unread-weights";

Finding finding(std::string rule, std::vector<std::string> ids, Severity severity,
                std::string subject, std::string message) {
  Finding f;
  f.rule = std::move(rule);
  f.catalogue = std::move(ids);
  f.severity = severity;
  f.command = "audit";
  f.subject = std::move(subject);
  f.message = std::move(message);
  return f;
}

std::string subject_of(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 4;
  const std::size_t shown = std::min(kShown, names.size());
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + static_cast<std::ptrdiff_t>(shown), ", "));
  if (names.size() > shown) {
    text += fmt::format(" and {} more", names.size() - shown);
  }
  return text;
}

struct Group {
  const Diagnosis* first = nullptr;
  std::vector<std::string> catalogue;
  std::vector<std::string> tensors;
};

/// Tensors by the kind of module they belong to: "q_proj 4, up_proj 2".
std::string by_module(const std::vector<std::string>& names) {
  std::map<std::string, int> counts;
  for (const std::string& name : names) {
    const std::size_t end = name.rfind('.');
    const std::string module = name.substr(0, end == std::string::npos ? name.size() : end);
    const std::size_t begin = module.rfind('.');
    ++counts[begin == std::string::npos ? module : module.substr(begin + 1)];
  }
  std::vector<std::string> parts;
  for (const auto& [module, count] : counts) {
    parts.push_back(fmt::format("{} {}", module, count));
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

Finding finding_of(const Group& group) {
  const Diagnosis& d = *group.first;
  const std::string message =
      group.tensors.size() == 1 ? fmt::format("{} {}", group.tensors.front(), d.message)
                                : fmt::format("{} tensors; the first, {}, {}", group.tensors.size(),
                                              group.tensors.front(), d.message);
  Finding f = finding(d.rule, group.catalogue, d.severity, subject_of(group.tensors), message);
  f.expected = d.expected;
  f.actual = d.actual;
  if (!d.fix.empty()) {
    f.fix = Fix{false, d.fix};
  }
  return f;
}

class Findings {
 public:
  Findings(const AuditInputs& inputs, const AuditPlan& plan,
           const std::vector<ItemJudgement>& judgements)
      : inputs_(inputs), plan_(plan), judgements_(judgements) {}

  std::vector<Finding> run() {
    group_stories();
    add_adapter_findings();
    add_zero_adapter();
    add_unfit_base();
    add_tied_adapter();
    add_renamed();
    add_excused();
    add_dtypes();
    add_unread_files();
    std::stable_sort(out_.begin(), out_.end(), [](const Finding& x, const Finding& y) {
      return static_cast<int>(x.severity) < static_cast<int>(y.severity);
    });
    return std::move(out_);
  }

 private:
  void group_stories() {
    std::map<std::string, std::size_t> places;
    std::vector<Group> groups;
    for (const ItemJudgement& judgement : judgements_) {
      for (const Story& story : judgement.stories) {
        const Diagnosis& d = story.diagnosis;
        const std::string key = fmt::format(
            "{}|{}|{}|{}", d.rule, d.key, static_cast<int>(d.severity),
            d.rule == "audit.not-merged" ? "" : fmt::format("{}", fmt::join(d.catalogue, ",")));
        const auto [at, added] = places.try_emplace(key, groups.size());
        if (added) {
          groups.push_back({&d, {}, {}});
        }
        Group& group = groups[at->second];
        for (const std::string& id : d.catalogue) {
          if (std::find(group.catalogue.begin(), group.catalogue.end(), id) ==
              group.catalogue.end()) {
            group.catalogue.push_back(id);
          }
        }
        group.tensors.push_back(story.tensor);
      }
    }
    for (Group& group : groups) {
      out_.push_back(group.first->rule == "audit.not-merged" ? not_merged(group)
                                                             : finding_of(group));
    }
  }

  /// F07 where nothing at all was merged, F08 where some tensors were left out.
  Finding not_merged(const Group& group) const {
    std::size_t targets = 0;
    for (const ItemJudgement& judgement : judgements_) {
      const bool could_change = !judgement.absorbed && !judgement.zero_delta;
      targets += judgement.audit.tensor_class == TensorClass::kTarget && could_change ? 1U : 0U;
    }
    const std::size_t left = group.tensors.size();
    const bool none = left == targets;
    std::vector<std::string> ids = group.catalogue;
    if (none) {
      std::replace(ids.begin(), ids.end(), std::string("F08"), std::string("F07"));
    }
    Finding f = finding(
        none ? "audit.not-merged" : "audit.partly-merged", ids, Severity::kError,
        subject_of(group.tensors),
        none ? fmt::format("nothing was merged: 0 of {} targeted tensors hold their delta", targets)
             : fmt::format("{} of {} targeted tensors were left at the base ({})", left, targets,
                           by_module(group.tensors)));
    f.expected = fmt::format("{} of {} tensors merged", targets, targets);
    f.actual = fmt::format("{} of {} merged", targets - left, targets);
    f.fix = Fix{false, none ? "merge again; this is the base model" : group.first->fix};
    return f;
  }

  void add_adapter_findings() {
    const std::string file = inputs_.adapter.files().back().filename().string();
    if (!inputs_.attached.unreached.empty()) {
      Finding f = finding("audit.adapter-unreached", {"F33"}, Severity::kError,
                          subject_of(inputs_.attached.unreached),
                          fmt::format("{} tensors of the adapter reach nothing in the base",
                                      inputs_.attached.unreached.size()));
      f.expected = "every tensor of the adapter belongs to one of the base";
      f.actual = fmt::format("{}: {}", file, subject_of(inputs_.attached.unreached));
      f.fix = Fix{false, "name the base the adapter was trained on, or rename the adapter's keys"};
      out_.push_back(std::move(f));
    }
    for (const std::string& problem : inputs_.attached.problems) {
      const std::string subject = problem.substr(0, problem.find(':'));
      Finding f = finding("audit.adapter-misfit", {"F33"}, Severity::kError, subject, problem);
      f.fix = Fix{false, "name the base the adapter was trained on"};
      out_.push_back(std::move(f));
    }
    for (const std::string& surprise : inputs_.attached.surprises) {
      out_.push_back(
          finding("audit.adapter-surprise", {}, Severity::kNote, "adapter_config.json", surprise));
    }
    for (const std::string& feature : inputs_.adapter.config().unsupported) {
      Finding f = finding("audit.adapter-unsupported", {"F51"}, Severity::kWarning,
                          "adapter_config.json", fmt::format("{} cannot be verified", feature));
      out_.push_back(std::move(f));
    }
  }

  void add_zero_adapter() {
    std::vector<std::string> zero;
    std::size_t targets = 0;
    for (const ItemJudgement& judgement : judgements_) {
      if (judgement.audit.tensor_class == TensorClass::kTarget) {
        ++targets;
        if (judgement.zero_delta) {
          zero.push_back(judgement.audit.name);
        }
      }
    }
    if (zero.empty()) {
      return;
    }
    const bool all = zero.size() == targets;
    Finding f = finding(
        "audit.zero-delta", {"F32"}, all ? Severity::kError : Severity::kWarning, subject_of(zero),
        all ? fmt::format("the adapter changes nothing: all {} deltas are zero", targets)
            : fmt::format("{} of {} deltas are zero", zero.size(), targets));
    // Experts that no token was routed to in training stay at zero, and rightly so (F25).
    const bool experts = std::all_of(zero.begin(), zero.end(), [](const std::string& name) {
      return name.find("expert") != std::string::npos;
    });
    if (!all && experts) {
      f.severity = Severity::kNote;
    }
    f.expected = "a trained adapter";
    f.actual = fmt::format("{} zero deltas", zero.size());
    f.fix = Fix{false, "save the adapter again with gathered weights (ZeRO-3), or train it"};
    out_.push_back(std::move(f));
  }

  /// An adapter relative to a residual base fits this one only if it was converted (F26).
  void add_unfit_base() {
    const AdapterConfig& config = inputs_.adapter.config();
    if (!config.init_changes_base) {
      return;
    }
    Finding f = finding(
        "audit.residual-base", {"F26"}, Severity::kError, "adapter_config.json: init_lora_weights",
        fmt::format(
            "the adapter was initialised by {}, which changes the base: its pairs are valid "
            "on the residual base only",
            config.init_lora_weights));
    f.expected = "an adapter converted to plain LoRA, or the residual base";
    f.actual = config.init_lora_weights;
    f.fix = Fix{false,
                "convert it with PEFT (path_initial_model_for_weight_conversion) and merge that"};
    out_.push_back(std::move(f));
  }

  /// A tied table adapted on one side only: both sides of merged get the delta (F35).
  void add_tied_adapter() {
    if (!plan_.tied || inputs_.adapter.config().ensure_weight_tying) {
      return;
    }
    const bool own_head =
        std::any_of(plan_.items.begin(), plan_.items.end(), [](const AuditItem& item) {
          return item.merged != nullptr && canonical_name(item.name) == "lm_head.weight";
        });
    for (const AuditItem& item : plan_.items) {
      const std::string canon = canonical_name(item.name);
      const bool table = canon.ends_with("embed_tokens.weight") || canon.ends_with("wte.weight");
      // Trained rows belong to both sides: PEFT ties their wrapper as well.
      const bool adapted = item.kind == ItemKind::kTarget || item.kind == ItemKind::kReplaced;
      if (!table || !adapted || own_head) {
        continue;
      }
      Finding f = finding(
          "audit.tied-one-side", {"F35"}, Severity::kError, item.name,
          fmt::format(
              "{} is adapted and tied to the head: the merge changes the head too, which the "
              "adapter does not",
              item.name));
      f.expected =
          "an untied merged checkpoint with both tensors, or an adapter trained with "
          "ensure_weight_tying";
      f.actual = "tie_word_embeddings true, one shared tensor";
      f.fix = Fix{
          false, "write both tensors and set tie_word_embeddings to false (mergegauge merge does)"};
      out_.push_back(std::move(f));
    }
  }

  void add_renamed() {
    std::vector<std::string> names;
    std::vector<std::string> wrapped;
    for (const AuditItem& item : plan_.items) {
      if (item.renamed && has_peft_residue(item.name)) {
        wrapped.push_back(item.name);
      } else if (item.renamed) {
        names.push_back(fmt::format("{} (base: {})", item.name, item.base->name));
      }
    }
    add_wrapped(wrapped);
    if (!names.empty()) {
      out_.push_back(finding(
          "audit.renamed", {}, Severity::kNote, subject_of(names),
          fmt::format(
              "{} tensors are stored under another name than the base's; they were compared "
              "all the same",
              names.size())));
    }
  }

  /// What PEFT's wrapping left in the names: no loader finds such tensors (F13).
  void add_wrapped(const std::vector<std::string>& names) {
    if (names.empty()) {
      return;
    }
    Finding f = finding(
        "audit.peft-names", {"F13"}, Severity::kError, subject_of(names),
        fmt::format("{} {} stored under PEFT's names: a loader starts with random weights there",
                    names.size(), names.size() == 1 ? "tensor is" : "tensors are"));
    f.expected = "the base's names";
    f.actual = names.front();
    f.fix = Fix{false, "save the model that merge_and_unload() returns, or rename the tensors"};
    out_.push_back(std::move(f));
  }

  void add_excused() {
    for (const AuditItem& item : plan_.items) {
      if (item.kind == ItemKind::kExcused) {
        out_.push_back(finding("audit.absent", {}, Severity::kNote, item.name,
                               fmt::format("{} is not stored: {}", item.name, item.reason)));
      }
    }
  }

  struct Cast {
    DType base;
    DType merged;
    friend bool operator<(const Cast& x, const Cast& y) {
      return std::pair(x.base, x.merged) < std::pair(y.base, y.merged);
    }
  };

  std::string declared_dtype() const {
    const nlohmann::json& config = inputs_.merged.config();
    const auto read = [](const nlohmann::json& level) -> std::string {
      for (const char* key : {"dtype", "torch_dtype"}) {
        const auto found = level.find(key);
        if (found != level.end() && found->is_string()) {
          return found->get<std::string>();
        }
      }
      return {};
    };
    if (!config.is_object()) {
      return {};
    }
    std::string declared = read(config);
    const auto text = config.find("text_config");
    if (declared.empty() && text != config.end() && text->is_object()) {
      declared = read(*text);
    }
    return declared;
  }

  static std::string_view config_name(DType dtype) {
    switch (dtype) {
      case DType::kF16:
        return "float16";
      case DType::kBF16:
        return "bfloat16";
      case DType::kF32:
        return "float32";
      default:
        return "";
    }
  }

  /// Stored dtypes against the base's (F05): a declared cast of the whole file is a note, anything
  /// else a warning.
  void add_dtypes() {
    std::map<Cast, std::vector<std::string>> casts;
    std::map<Cast, std::uint64_t> bytes;
    std::set<DType> base_dtypes;
    for (const AuditItem& item : plan_.items) {
      if (item.base == nullptr || item.merged == nullptr || item.kind == ItemKind::kTiedHead ||
          !is_plain(item.base->view.dtype) || !is_plain(item.merged->view.dtype) ||
          item.base->quantised != nullptr || item.merged->quantised != nullptr) {
        continue;  // what was decoded has no stored dtype of its own
      }
      const Cast cast{item.base->view.dtype, item.merged->view.dtype};
      casts[cast].push_back(item.name);
      bytes[cast] += item.base->view.bytes;
      base_dtypes.insert(cast.base);
    }
    for (const DType base : base_dtypes) {
      const Cast* main = nullptr;
      for (const auto& [cast, size] : bytes) {
        if (cast.base == base && (main == nullptr || size > bytes[*main])) {
          main = &cast;
        }
      }
      for (const auto& [cast, names] : casts) {
        if (cast.base == base && cast.merged != base) {
          add_cast(cast, names, cast.merged == main->merged, base_dtypes.size() == 1);
        }
      }
    }
  }

  void add_cast(const Cast& cast, const std::vector<std::string>& names, bool whole,
                bool uniform_base) {
    const bool declared = declared_dtype() == config_name(cast.merged);
    const bool stated = whole && declared && uniform_base;
    Finding f = finding(
        "audit.dtype", {"F05"}, stated ? Severity::kNote : Severity::kWarning, subject_of(names),
        whole ? fmt::format("merged stores the base's {} tensors as {}{}", dtype_name(cast.base),
                            dtype_name(cast.merged), declared ? ", as its config says" : "")
              : fmt::format("{} {} stored as {}, the rest of the base's {} tensors are not",
                            names.size(), names.size() == 1 ? "tensor is" : "tensors are",
                            dtype_name(cast.merged), dtype_name(cast.base)));
    f.expected = fmt::format("{}", dtype_name(cast.base));
    f.actual = fmt::format("{} in {} tensors; config.json says {}", dtype_name(cast.merged),
                           names.size(), declared_dtype().empty() ? "nothing" : declared_dtype());
    if (!stated) {
      f.fix = Fix{false, "store the base's dtype, or declare the new one in config.json"};
    }
    out_.push_back(std::move(f));
  }

  /// Weights trained beside the adapter and kept in pickles (F10): named, never opened.
  void add_unread_files() {
    if (inputs_.adapter.is_gguf()) {
      return;
    }
    for (const FolderEntry& entry : list_folder(inputs_.adapter.folder(), "an adapter folder")) {
      const bool trained =
          entry.name.starts_with("non_lora") || entry.name.starts_with("mm_projector");
      if (!trained || entry.is_folder) {
        continue;
      }
      Finding f = finding(
          std::string(kUnreadRule), {"F10"}, Severity::kWarning, entry.name,
          fmt::format(
              "{} holds weights trained beside the adapter; whether merged has them was not "
              "checked",
              entry.name));
      f.fix = Fix{false, "convert it to safetensors inside the adapter (modules_to_save)"};
      out_.push_back(std::move(f));
    }
  }

  const AuditInputs& inputs_;
  const AuditPlan& plan_;
  const std::vector<ItemJudgement>& judgements_;
  std::vector<Finding> out_;
};

}  // namespace

std::vector<Finding> make_findings(const AuditInputs& inputs, const AuditPlan& plan,
                                   const std::vector<ItemJudgement>& judgements) {
  return Findings(inputs, plan, judgements).run();
}

bool has_unread_weights(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const Finding& f) {
    return f.rule == kUnreadRule || f.rule == "audit.adapter-unsupported";
  });
}

}  // namespace mg
