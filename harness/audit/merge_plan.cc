#include "harness/audit/merge_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>

#include "harness/audit/plan.h"
#include "harness/model/names.h"
#include "harness/model/quantised_names.h"
#include "kernels/core/error.h"
#include "kernels/core/rounding.h"

namespace mg {
namespace {

std::string first_lines(const std::vector<std::string>& lines) {
  constexpr std::size_t kShown = 8;
  const std::size_t shown = std::min(kShown, lines.size());
  std::string text = fmt::format(
      "{}", fmt::join(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(shown), "; "));
  return lines.size() > shown ? fmt::format("{}; and {} more", text, lines.size() - shown) : text;
}

void refuse(std::string code, std::string what, const std::filesystem::path& where,
            std::string actual, std::string hint) {
  throw Error({.code = "merge." + std::move(code),
               .what = std::move(what),
               .where = where.string(),
               .expected = {},
               .actual = std::move(actual),
               .hint = std::move(hint)});
}

void check_inputs(const Checkpoint& base, const Adapter& adapter, const AttachedAdapter& attached) {
  for (const StoredTensor& tensor : base.tensors()) {
    if (quantised_name(tensor.name)) {
      refuse("quantised-base",
             "the base is quantised; nothing is merged into quantised weights unasked",
             base.folder(), tensor.name,
             "merge into the 16-bit model; or give --dequantise to merge into the numbers that the "
             "codes stand for (bitsandbytes' NF4, FP4, INT8)");
    }
  }
  const AdapterConfig& config = adapter.config();
  if (config.init_changes_base) {
    refuse(
        "residual-base",
        "the adapter's initialisation changed the base, so base + delta is not the trained model",
        adapter.folder(), config.init_lora_weights,
        "convert the adapter with PEFT (path_initial_model_for_weight_conversion)");
  }
  if (!config.unsupported.empty()) {
    refuse("unsupported", "the adapter uses features that cannot be merged", adapter.folder(),
           first_lines(config.unsupported), {});
  }
  if (!attached.unreached.empty()) {
    refuse("unreached", "parts of the adapter belong to no tensor of the base", adapter.folder(),
           first_lines(attached.unreached), "name the base the adapter was trained on");
  }
  if (!attached.problems.empty()) {
    refuse("misfit", "parts of the adapter do not fit the base", adapter.folder(),
           first_lines(attached.problems), "name the base the adapter was trained on");
  }
}

/// The dtype most of the base's bytes are stored in.
DType main_dtype(const Checkpoint& base) {
  std::map<DType, std::uint64_t> bytes;
  for (const StoredTensor& tensor : base.tensors()) {
    bytes[tensor.used_dtype()] += tensor.view.bytes;
  }
  const auto main = std::max_element(
      bytes.begin(), bytes.end(), [](const auto& x, const auto& y) { return x.second < y.second; });
  return main == bytes.end() ? DType::kF32 : main->first;
}

bool is_table(const std::string& canon) {
  return canon.ends_with("embed_tokens.weight") || canon.ends_with("wte.weight");
}

class MergePlanner {
 public:
  MergePlanner(const Checkpoint& base, const Adapter& adapter, const AttachedAdapter& attached,
               std::optional<DType> dtype)
      : base_(base),
        adapter_(adapter),
        attached_(attached),
        dtype_(dtype),
        main_(main_dtype(base)) {}

  MergePlan run() {
    for (const StoredTensor& tensor : base_.tensors()) {
      plan_.tensors.push_back(from_base(tensor));
    }
    check_claims();
    add_head();
    std::sort(plan_.tensors.begin(), plan_.tensors.end(),
              [](const MergeTensor& x, const MergeTensor& y) { return x.name < y.name; });
    return std::move(plan_);
  }

 private:
  DType stored_as(DType base) const {
    if (!dtype_ || !is_plain(base)) {
      return base;
    }
    const bool island =
        base != main_ && is_plain(main_) && grid_format(base).shift < grid_format(main_).shift;
    return island ? base : *dtype_;
  }

  MergeTensor from_base(const StoredTensor& tensor) const {
    MergeTensor out;
    out.name = tensor.name;
    out.dtype = stored_as(tensor.used_dtype());
    out.start = tensor.view;
    out.base = &tensor;
    out.delta = attached_.delta_for(tensor);
    for (const AttachedDelta& delta : attached_.deltas) {
      if (delta.target_bias == &tensor) {
        out.bias_delta = &delta;
      }
    }
    if (const AttachedReplacement* found = attached_.replacement_for(tensor)) {
      if (!found->replacement->rows.empty()) {
        out.rows = found->replacement;
      } else {
        out.start = found->replacement->value;
        out.replaced = !found->replacement->base_copy;
      }
    }
    return out;
  }

  /// Each tensor takes at most one pair and one replacement: more would be silently dropped.
  void check_claims() const {
    std::map<const StoredTensor*, int> claims;
    for (const AttachedDelta& delta : attached_.deltas) {
      claims[delta.target] += delta.tied_head ? 0 : 1;
    }
    for (const AttachedReplacement& replacement : attached_.replacements) {
      claims[replacement.target] +=
          replacement.target != nullptr && !replacement.replacement->rows.empty() ? 1 : 0;
    }
    for (const auto& [tensor, count] : claims) {
      if (count > 1) {
        refuse("several-parts", "several parts of the adapter change one tensor", adapter_.folder(),
               tensor->name, "merge with PEFT and audit the result");
      }
    }
  }

  /// A tied head that the adapter trains apart from the embedding, or the reverse, becomes a tensor
  /// of its own (docs/reference/failures.md, F35).
  void add_head() {
    const auto table = std::find_if(
        plan_.tensors.begin(), plan_.tensors.end(),
        [](const MergeTensor& tensor) { return is_table(canonical_name(tensor.name)); });
    const auto head = std::find_if(
        plan_.tensors.begin(), plan_.tensors.end(),
        [](const MergeTensor& tensor) { return canonical_name(tensor.name) == "lm_head.weight"; });
    if (table == plan_.tensors.end() || !ties_embeddings(base_, head == plan_.tensors.end())) {
      return;
    }
    const AttachedReplacement* own = nullptr;
    for (const AttachedReplacement& replacement : attached_.replacements) {
      own = replacement.target == nullptr ? &replacement : own;
    }
    const AttachedDelta* pair = attached_.head_delta();
    const bool table_adapted = table->delta != nullptr || table->replaced;
    if (head != plan_.tensors.end()) {  // tied by the config, stored all the same
      plan_.untied = table_adapted || head->delta != nullptr || head->replaced;
      return;
    }
    const bool shared = adapter_.config().ensure_weight_tying;
    if ((!table_adapted && pair == nullptr && own == nullptr) || (shared && own == nullptr)) {
      return;
    }
    plan_.untied = true;
    const StoredTensor* base_table = base_.find(table->name);
    MergeTensor out;
    out.name = table->name.starts_with("language_model.model.") ? "language_model.lm_head.weight"
                                                                : "lm_head.weight";
    out.start = own != nullptr ? own->replacement->value : base_table->view;
    out.dtype = stored_as(base_table->used_dtype());
    out.base = base_table;
    out.replaced = own != nullptr;
    out.delta = pair;
    out.added = true;
    plan_.tensors.push_back(std::move(out));
  }

  const Checkpoint& base_;
  const Adapter& adapter_;
  const AttachedAdapter& attached_;
  std::optional<DType> dtype_;
  DType main_;
  MergePlan plan_;
};

}  // namespace

bool is_dequantised(const MergeTensor& tensor) {
  return tensor.base != nullptr && tensor.base->quantised != nullptr &&
         tensor.start.data == tensor.base->view.data;
}

MergePlan plan_merge(const Checkpoint& base, const Adapter& adapter,
                     const AttachedAdapter& attached, std::optional<DType> dtype) {
  check_inputs(base, adapter, attached);
  return MergePlanner(base, adapter, attached, dtype).run();
}

}  // namespace mg
