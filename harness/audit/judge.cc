#include "harness/audit/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "harness/audit/quantised_story.h"
#include "harness/model/names.h"

namespace mg {
namespace {

// Limits of docs/reference/failures.md, F30.
constexpr double kNoiseLimit = 0.3;
constexpr double kUnchangedLimit = 0.5;
// "Subnormals if frequent" (F31): a tenth of the elements.
constexpr double kSubnormalLimit = 0.1;

Story story(const AuditItem& item, std::string rule, std::vector<std::string> ids,
            Severity severity, std::string message) {
  Diagnosis d;
  d.rule = std::move(rule);
  d.catalogue = std::move(ids);
  d.severity = severity;
  d.message = std::move(message);
  return {std::move(d), item.name};
}

void add_stories(ItemJudgement& judgement, const AuditItem& item,
                 std::vector<Diagnosis> diagnoses) {
  for (Diagnosis& diagnosis : diagnoses) {
    judgement.stories.push_back({std::move(diagnosis), item.name});
  }
}

void add_non_finite(ItemJudgement& judgement, const AuditItem& item, std::int64_t count,
                    const std::vector<ElementSample>& samples, bool input_too) {
  Story s = story(item, "audit.non-finite", {"F31"}, Severity::kError,
                  fmt::format("holds {} non-finite value{} ({})", count, count == 1 ? "" : "s",
                              describe_samples(item.merged->view, samples)));
  s.diagnosis.expected = "finite values only";
  s.diagnosis.actual = fmt::format("{} NaN or infinity", count);
  s.diagnosis.fix =
      input_too
          ? "the base or the adapter is not finite there, or too large for this dtype: store BF16"
          : "merge again; base and adapter are finite there";
  judgement.stories.push_back(std::move(s));
}

std::optional<Story> detour_story(const TargetCase& c) {
  const Recipe& recipe = c.best.recipe;
  Story s = story(c.item, "audit.detour", {"F64"}, Severity::kWarning, {});
  s.diagnosis.key = recipe.name;
  s.diagnosis.expected = "no rounding coarser than the base's and merged's own";
  s.diagnosis.actual = recipe.name;
  switch (recipe.kind) {
    case RecipeKind::kDetour: {
      s.diagnosis.message = fmt::format("went through a coarser dtype before it was stored as {}",
                                        dtype_name(c.views.merged.dtype));
      s.diagnosis.fix = "merge in the base's dtype or in FP32 and round once";
      // More of the delta lost than the gates of docs/reference/metrics.md section 9 allow.
      const bool lost = !(std::fabs(c.measure.c_remerge().value_or(1.0) - 1.0) <= 0.01 &&
                          c.measure.rho_remerge().value_or(0.0) <= 0.1);
      if (lost) {
        s.diagnosis.severity = Severity::kError;
        s.diagnosis.key += " lost";
        s.diagnosis.message += ", which lost part of the delta";
      }
      return s;
    }
    case RecipeKind::kDeltaDetour:
      s.diagnosis.message = "holds a delta that was rounded to a coarser dtype before it was added";
      s.diagnosis.fix = "keep the adapter and its product in FP32";
      return s;
    case RecipeKind::kCast: {
      const bool widened = grid_format(*recipe.sum).shift > grid_format(c.views.merged.dtype).shift;
      if (!widened) {
        return std::nullopt;
      }
      s.diagnosis.severity = Severity::kNote;
      s.diagnosis.message = fmt::format("was merged in {} and stored as {}: no more exact than {}",
                                        dtype_name(*recipe.sum), dtype_name(c.views.merged.dtype),
                                        dtype_name(*recipe.sum));
      s.diagnosis.fix = "merge in FP32 to gain from the finer dtype";
      return s;
    }
    case RecipeKind::kPlain:
      return std::nullopt;
  }
  return std::nullopt;
}

/// What the store does to a right merge: swallowed updates, headroom.
void add_store_stories(ItemJudgement& judgement, const TargetCase& c) {
  const TargetMeasure& m = c.measure;
  const double noise = m.noise_share().value_or(0.0);
  const double unchanged = m.unchanged_share().value_or(0.0);
  const std::string_view dtype = dtype_name(c.views.merged.dtype);
  if (judgement.absorbed || noise > kNoiseLimit || unchanged > kUnchangedLimit) {
    Story s = story(
        c.item, "audit.absorbed", {"F30"},
        judgement.absorbed ? Severity::kNote : Severity::kWarning,
        judgement.absorbed
            ? fmt::format("keeps nothing of its delta: every update is below half a step of {}",
                          dtype)
            : fmt::format(
                  "loses much of its delta to {}: noise {:.2f} of the delta, {:.0f} % of the "
                  "elements unchanged",
                  dtype, noise, 100.0 * unchanged));
    s.diagnosis.key = judgement.absorbed ? "all" : "part";
    s.diagnosis.expected =
        "noise below 0.3 of the delta, fewer than half of the elements unchanged";
    s.diagnosis.actual = fmt::format("noise {:.3g}, unchanged {:.3g}", noise, unchanged);
    s.diagnosis.fix = "store F16 if the range allows, or F32, or serve the adapter unmerged";
    judgement.stories.push_back(std::move(s));
  }
  const bool half = c.views.merged.dtype == DType::kF16;
  const double subnormal =
      static_cast<double>(m.subnormal) / static_cast<double>(std::max<std::int64_t>(1, m.elements));
  if (half && m.overflow == 0 &&
      (m.max_expected > 65504.0 ||
       (c.views.base.dtype != DType::kF16 && subnormal > kSubnormalLimit))) {
    Story s = story(c.item, "audit.headroom", {"F31"}, Severity::kWarning,
                    fmt::format("barely fits F16: largest magnitude {:.6g}, {:.1f} % subnormal",
                                m.max_expected, 100.0 * subnormal));
    s.diagnosis.expected = "magnitudes from 6.1e-5 to 65504";
    s.diagnosis.actual =
        fmt::format("largest {:.6g}, {} subnormal elements", m.max_expected, m.subnormal);
    s.diagnosis.fix = "store BF16";
    judgement.stories.push_back(std::move(s));
  }
}

GateStatus status_of(const ItemJudgement& judgement) {
  bool unknown = false;
  for (const Story& s : judgement.stories) {
    if (s.diagnosis.severity == Severity::kError) {
      return GateStatus::kFail;
    }
    unknown =
        unknown || s.diagnosis.rule == "audit.unknown-recipe" || s.diagnosis.key == kOriginalBase;
  }
  return unknown ? GateStatus::kInconclusive : GateStatus::kPass;
}

void finish(ItemJudgement& judgement) {
  judgement.audit.verdict = status_of(judgement);
  for (const Story& s : judgement.stories) {
    if (judgement.audit.note.empty() || s.diagnosis.severity == Severity::kError) {
      judgement.audit.note = s.diagnosis.message;
      if (s.diagnosis.severity == Severity::kError) {
        break;
      }
    }
  }
}

TensorAudit row_of(const TargetCase& c) {
  const TargetMeasure& m = c.measure;
  TensorAudit row;
  row.name = c.item.name;
  row.tensor_class = TensorClass::kTarget;
  row.c = m.c();
  row.rho = m.rho();
  row.c_remerge = m.c_remerge();
  row.rho_remerge = m.rho_remerge();
  row.elements = m.elements;
  row.differing = m.differing;
  row.max_ulp = m.max_ulp();
  row.unchanged_share = m.unchanged_share();
  row.non_finite = m.non_finite;
  const bool bounded =
      m.scale_low > -TargetMeasure::kNoBound && m.scale_high < TargetMeasure::kNoBound;
  if (bounded && !m.scale_bounds_cross()) {
    row.scale_low = m.scale_low;
    row.scale_high = m.scale_high;
  }
  row.ulp_histogram.assign(m.ulp_histogram.begin(), m.ulp_histogram.end());
  row.max_abs = m.max_merged;
  row.subnormal = m.subnormal;
  return row;
}

std::int64_t number_in(const nlohmann::json& config, const char* key) {
  const auto read = [key](const nlohmann::json& level) -> std::int64_t {
    const auto found = level.find(key);
    return found != level.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
  };
  if (!config.is_object()) {
    return 0;
  }
  const auto text = config.find("text_config");
  return std::max(read(config), text != config.end() && text->is_object() ? read(*text) : 0);
}

/// Layers that share keys and values with earlier ones are saved without them (F12).
bool shares_keys(const std::string& name, const nlohmann::json& config) {
  const std::int64_t shared = number_in(config, "num_kv_shared_layers");
  const std::int64_t layers = number_in(config, "num_hidden_layers");
  const bool kv =
      name.find(".k_proj.") != std::string::npos || name.find(".v_proj.") != std::string::npos ||
      name.find(".k_norm.") != std::string::npos || name.find(".v_norm.") != std::string::npos;
  const std::size_t at = name.find("layers.");
  if (shared == 0 || !kv || at == std::string::npos) {
    return false;
  }
  return std::atoll(name.c_str() + at + 7) >= layers - shared;
}

Story missing_story(const AuditItem& item, const nlohmann::json& config) {
  Story s =
      story(item, "audit.missing-tensor", {"F11"}, Severity::kError, "is missing: " + item.reason);
  s.diagnosis.expected = "every tensor of the base";
  s.diagnosis.actual = "absent";
  s.diagnosis.fix = "copy it from the base (and merge its delta, where the adapter has one)";
  const bool adapted = item.delta != nullptr || item.replacement != nullptr;
  if (adapted) {
    s.diagnosis.catalogue = {"F11", item.base == nullptr || item.delta == nullptr ? "F09" : "F08"};
    if (item.base == nullptr || item.delta == nullptr ? false : item.delta->tied_head) {
      s.diagnosis.catalogue = {"F35"};
    }
    s.diagnosis.key = "adapted";
  } else if (shares_keys(item.name, config)) {
    s.diagnosis.catalogue = {"F12"};
    s.diagnosis.severity = Severity::kNote;
    s.diagnosis.key = "shared";
  } else if (canonical_name(item.name).starts_with("mtp.")) {
    const bool announced = number_in(config, "num_nextn_predict_layers") > 0 ||
                           number_in(config, "mtp_num_hidden_layers") > 0;
    s.diagnosis.severity = announced ? Severity::kError : Severity::kWarning;
    s.diagnosis.key = "mtp";
  }
  return s;
}

Story extra_story(const AuditItem& item) {
  const bool residue = has_peft_residue(item.name);
  Story s = story(item, "audit.extra-tensor",
                  residue ? std::vector<std::string>{"F13"} : std::vector<std::string>{},
                  residue ? Severity::kError : Severity::kWarning,
                  residue ? "is a part of an adapter left among the weights"
                          : "is in merged only: " + item.reason);
  s.diagnosis.expected = "the base's tensors and no others";
  s.diagnosis.actual =
      fmt::format("{} {}", dtype_name(item.merged->view.dtype), to_string(item.merged->view.shape));
  s.diagnosis.fix = "remove it, or name the base that has it";
  s.diagnosis.key = residue ? "residue" : "";
  return s;
}

}  // namespace

bool has_peft_residue(const std::string& name) {
  constexpr auto kParts = std::to_array<std::string_view>(
      {".lora_A", ".lora_B", ".lora_embedding", "modules_to_save", "original_module",
       "lora_magnitude_vector", "token_adapter", ".base_layer", "trainable_tokens"});
  return name.starts_with("base_model.model.") ||
         std::any_of(kParts.begin(), kParts.end(),
                     [&](std::string_view part) { return name.find(part) != std::string::npos; });
}

ItemJudgement judge_target(const TargetCase& c) {
  const TargetMeasure& m = c.measure;
  ItemJudgement judgement;
  judgement.audit = row_of(c);
  judgement.zero_delta = m.nonzero_delta == 0;
  judgement.absorbed = !judgement.zero_delta && !(m.step_square > 0.0);
  judgement.recipe = c.best.recipe;
  judgement.explained = m.elements - c.best.fit.unexplained;
  judgement.audit.recipe = c.best.recipe.name;
  if (m.non_finite > 0) {
    add_non_finite(judgement, c.item, m.non_finite, m.non_finite_samples,
                   m.unusable + m.overflow > 0);
  }
  if (c.best.fit.explains()) {
    if (std::optional<Story> detour = detour_story(c)) {
      judgement.stories.push_back(std::move(*detour));
    }
    add_store_stories(judgement, c);
  } else {
    add_stories(judgement, c.item, diagnose_target(c));
    // A recipe that leaves much over explains nothing.
    const bool stray = c.best.fit.unexplained_share() <= 0.01;
    if (!stray) {
      judgement.audit.recipe = "unknown";
      judgement.recipe->name = "unknown";
      judgement.explained = 0;
    }
  }
  finish(judgement);
  return judgement;
}

ItemJudgement judge_bytes(const BytesCase& c) {
  ItemJudgement judgement;
  TensorAudit& row = judgement.audit;
  row.name = c.item.name;
  const bool replaced =
      c.item.kind == ItemKind::kReplaced || c.item.kind == ItemKind::kReplacedRows;
  row.tensor_class = replaced ? TensorClass::kReplaced
                              : (c.item.renamed ? TensorClass::kRenamed : TensorClass::kUntouched);
  row.elements = c.measure.elements;
  row.differing = c.measure.differing;
  row.non_finite = c.measure.non_finite;
  if (c.measure.non_finite > 0) {
    add_non_finite(judgement, c.item, c.measure.non_finite, c.measure.non_finite_samples,
                   c.measure.expected_non_finite > 0);
  }
  if (c.measure.differing > 0) {
    add_stories(judgement, c.item, diagnose_bytes(c));
  }
  finish(judgement);
  return judgement;
}

ItemJudgement judge_absent(const AuditItem& item, const nlohmann::json& merged_config) {
  ItemJudgement judgement;
  TensorAudit& row = judgement.audit;
  row.name = item.name;
  row.elements = item.merged == nullptr ? item.start.elements() : item.merged->view.elements();
  switch (item.kind) {
    case ItemKind::kMissing:
      row.tensor_class = TensorClass::kMissing;
      judgement.stories.push_back(missing_story(item, merged_config));
      break;
    case ItemKind::kExtra:
      row.tensor_class = TensorClass::kExtra;
      judgement.stories.push_back(extra_story(item));
      break;
    case ItemKind::kMismatch: {
      row.tensor_class = TensorClass::kNotChecked;
      const std::string canon = canonical_name(item.name);
      const bool vocabulary = canon == "lm_head.weight" || canon.ends_with("embed_tokens.weight") ||
                              canon.ends_with("wte.weight");
      Story s = story(item, "audit.shape", {vocabulary ? "F36" : "F16"}, Severity::kError,
                      "has another shape: " + item.reason);
      s.diagnosis.expected = to_string(item.start.shape);
      s.diagnosis.actual = to_string(item.merged->view.shape);
      s.diagnosis.fix = "merge again on the base the adapter was trained on";
      judgement.stories.push_back(std::move(s));
      break;
    }
    default: {
      row.tensor_class = TensorClass::kNotChecked;
      Story s = story(item, "audit.not-checked", {}, Severity::kWarning,
                      "was not checked: " + item.reason);
      s.diagnosis.key = item.reason;
      judgement.stories.push_back(std::move(s));
      finish(judgement);
      row.verdict = GateStatus::kNotRun;
      return judgement;
    }
  }
  finish(judgement);
  return judgement;
}

}  // namespace mg
