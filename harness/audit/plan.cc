#include "harness/audit/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "harness/model/names.h"
#include "harness/model/quantised_names.h"
#include "kernels/core/error.h"

namespace mg {
namespace {

constexpr std::string_view kHead = "lm_head.weight";

// Buffers that models rebuild and savers drop at will.
constexpr auto kBuffers = std::to_array<std::string_view>(
    {".rotary_emb.inv_freq", ".position_ids", ".attn.masked_bias", ".attn.bias"});

bool is_buffer(const StoredTensor& tensor) {
  return std::any_of(kBuffers.begin(), kBuffers.end(), [&](std::string_view suffix) {
    // GPT-2's causal mask is a 4-D "attn.bias"; a real bias is a vector.
    return tensor.name.ends_with(suffix) &&
           (suffix != ".attn.bias" || tensor.view.shape.size() > 2);
  });
}

bool same_bytes(const TensorView& x, const TensorView& y) {
  return x.dtype == y.dtype && x.shape == y.shape && std::equal(x.data, x.data + x.bytes, y.data);
}

void refuse_quantised(const Checkpoint& checkpoint, std::string_view role) {
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    const std::optional<QuantisedName> name = quantised_name(tensor.name);
    if (!name) {
      continue;
    }
    throw Error(
        {.code = "audit.quantised",
         .what = fmt::format("the {} is quantised in a form that cannot be read yet", role),
         .where = fmt::format("{}: {}", checkpoint.folder().string(), tensor.name),
         .expected = "F16, BF16 or F32 weights, or codes that quantization_config describes",
         .actual = fmt::format("{} {} of {}", dtype_name(tensor.view.dtype),
                               to_string(tensor.view.shape), name->weight),
         .hint =
             "dequantise it to 16 bits first, or audit against the 16-bit model the adapter fits"});
  }
}

/// x [rows, cols] and y [cols, rows] hold each other's transpose.
bool is_transpose(const TensorView& x, const TensorView& y) {
  if (x.shape.size() != 2 || y.shape.size() != 2 || x.dtype != y.dtype || x.dim(0) != y.dim(1) ||
      x.dim(1) != y.dim(0)) {
    return false;
  }
  const auto width = static_cast<std::size_t>(dtype_bits(x.dtype) / 8);
  const auto at = [width](const TensorView& view, std::int64_t i, std::int64_t j) {
    return view.data + static_cast<std::size_t>(i * view.dim(1) + j) * width;
  };
  for (std::int64_t i = 0; i < x.dim(0); ++i) {
    for (std::int64_t j = 0; j < x.dim(1); ++j) {
      if (std::memcmp(at(x, i, j), at(y, j, i), width) != 0) {
        return false;
      }
    }
  }
  return true;
}

class AuditPlanner {
 public:
  AuditPlanner(const Checkpoint& base, const Checkpoint& merged, const AttachedAdapter& attached)
      : base_(base), merged_(merged), attached_(attached) {
    for (const StoredTensor& tensor : merged.tensors()) {
      by_canon_[canonical_name(tensor.name)].push_back(&tensor);
    }
    for (const AttachedDelta& delta : attached.deltas) {
      if (!delta.tied_head) {
        ++pairs_[delta.target];
      }
    }
    for (const AttachedReplacement& replacement : attached.replacements) {
      if (replacement.target != nullptr) {
        ++replacements_[replacement.target];
      }
    }
  }

  AuditPlan run() {
    const bool base_has_head = find_canonical(base_, kHead) != nullptr;
    plan_.tied = ties_embeddings(merged_, !base_has_head);
    for (const StoredTensor& tensor : base_.tensors()) {
      add_base(tensor);
    }
    add_heads_of_the_adapter();
    for (const StoredTensor& tensor : merged_.tensors()) {
      if (!used_.contains(&tensor)) {
        add_extra(tensor);
      }
    }
    std::sort(plan_.items.begin(), plan_.items.end(),
              [](const AuditItem& x, const AuditItem& y) { return x.name < y.name; });
    for (AuditItem& item : plan_.items) {
      item.base_owner = item.kind == ItemKind::kTiedHead ? &merged_ : &base_;
      item.merged_owner = &merged_;
    }
    return std::move(plan_);
  }

 private:
  static const StoredTensor* find_canonical(const Checkpoint& checkpoint, std::string_view canon) {
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      if (canonical_name(tensor.name) == canon) {
        return &tensor;
      }
    }
    return nullptr;
  }

  /// The input embedding: the one 2-D tensor whose canonical name every family known here gives it.
  static const StoredTensor* find_embedding(const Checkpoint& checkpoint) {
    for (const StoredTensor& tensor : checkpoint.tensors()) {
      const std::string canon = canonical_name(tensor.name);
      if (canon.ends_with("embed_tokens.weight") || canon.ends_with("wte.weight")) {
        return &tensor;
      }
    }
    return nullptr;
  }

  const StoredTensor* find_merged(const StoredTensor& tensor) const {
    if (const StoredTensor* exact = merged_.find(tensor.name)) {
      return exact;
    }
    const auto found = by_canon_.find(canonical_name(tensor.name));
    if (found == by_canon_.end()) {
      return nullptr;
    }
    for (const StoredTensor* candidate : found->second) {
      // A tensor that is another base tensor's own by name is not free.
      if (base_.find(candidate->name) == nullptr && !used_.contains(candidate)) {
        return candidate;
      }
    }
    return nullptr;
  }

  void add_base(const StoredTensor& tensor) {
    const StoredTensor* merged = find_merged(tensor);
    AuditItem item;
    item.base = &tensor;
    item.merged = merged;
    item.name = merged == nullptr ? tensor.name : merged->name;
    item.start = tensor.view;
    item.delta = attached_.delta_for(tensor);
    const AttachedReplacement* replacement = attached_.replacement_for(tensor);
    item.replacement = replacement == nullptr ? nullptr : replacement->replacement;
    if (merged == nullptr) {
      add_missing(std::move(item));
      return;
    }
    used_.insert(merged);
    item.renamed = merged->name != tensor.name;
    classify(item);
    plan_.items.push_back(std::move(item));
  }

  void classify(AuditItem& item) const {
    const AttachedDelta* bias = bias_delta(*item.base);
    if (pairs_of(item.base) > 1 || replacements_of(item.base) > 1) {
      return not_checked(item, "several parts of the adapter change this tensor");
    }
    const bool rows = item.replacement != nullptr && !item.replacement->rows.empty();
    if (rows && item.delta != nullptr) {
      return not_checked(item, "the adapter holds both rows and a low-rank pair for this tensor");
    }
    if (item.replacement != nullptr && !rows) {
      item.start = item.replacement->value;  // with a pair: the copy that D is added to
    }
    const TensorView& expected = item.start;
    if (expected.shape != item.merged->view.shape) {
      item.kind = ItemKind::kMismatch;
      item.reason = fmt::format("stored as {}, expected {}", to_string(item.merged->view.shape),
                                to_string(expected.shape));
      return;
    }
    if (!comparable(expected.dtype, item.merged->view.dtype)) {
      return not_checked(
          item, fmt::format("{} in merged cannot be compared with {}",
                            dtype_name(item.merged->view.dtype), dtype_name(expected.dtype)));
    }
    if (item.delta != nullptr) {
      item.kind = ItemKind::kTarget;
      check_floats(item);
    } else if (bias != nullptr) {
      item.kind = ItemKind::kBias;
      item.delta = bias;
      check_floats(item);
    } else if (item.replacement != nullptr && !item.replacement->base_copy) {
      item.kind = rows ? ItemKind::kReplacedRows : ItemKind::kReplaced;
    } else {
      item.kind = ItemKind::kUntouched;
    }
  }

  static void not_checked(AuditItem& item, std::string reason) {
    item.kind = ItemKind::kNotChecked;
    item.reason = std::move(reason);
  }

  static bool comparable(DType x, DType y) {
    return x == y || ((is_plain(x) || x == DType::kF64) && is_plain(y));
  }

  static void check_floats(AuditItem& item) {
    if (!is_plain(item.start.dtype) || !is_plain(item.merged->view.dtype)) {
      not_checked(item, fmt::format("a delta on {} weights", dtype_name(item.start.dtype)));
    }
  }

  const AttachedDelta* bias_delta(const StoredTensor& tensor) const {
    for (const AttachedDelta& delta : attached_.deltas) {
      if (delta.target_bias == &tensor) {
        return &delta;
      }
    }
    return nullptr;
  }

  int pairs_of(const StoredTensor* tensor) const {
    const auto found = pairs_.find(tensor);
    return found == pairs_.end() ? 0 : found->second;
  }

  int replacements_of(const StoredTensor* tensor) const {
    const auto found = replacements_.find(tensor);
    return found == replacements_.end() ? 0 : found->second;
  }

  void add_missing(AuditItem item) {
    item.kind = ItemKind::kMissing;
    const bool adapted = item.delta != nullptr || item.replacement != nullptr;
    item.reason = adapted ? "the adapter changes it, and merged has no such tensor"
                          : "the base has it, merged does not";
    const StoredTensor* embedding = find_embedding(base_);
    const bool head = canonical_name(item.name) == kHead;
    const std::array<DecodedHold, 2> holds = {
        base_.decode(*item.base), embedding == nullptr ? nullptr : base_.decode(*embedding)};
    if (head && plan_.tied && !adapted && embedding != nullptr &&
        same_bytes(embedding->view, item.base->view)) {
      item.kind = ItemKind::kExcused;
      item.reason = "the head is tied and equals the embedding";
    } else if (is_buffer(*item.base)) {
      item.kind = ItemKind::kExcused;
      item.reason = "a buffer that loaders rebuild";
    }
    plan_.items.push_back(std::move(item));
  }

  /// Heads that the adapter makes where the base's is tied: a whole tensor, or a pair on the shared
  /// table.
  void add_heads_of_the_adapter() {
    for (const AttachedReplacement& replacement : attached_.replacements) {
      if (replacement.target == nullptr && !replacement.replacement->base_copy) {
        AuditItem item;
        item.kind = ItemKind::kReplaced;
        item.replacement = replacement.replacement;
        item.start = replacement.replacement->value;
        place_head(std::move(item));
      }
    }
    const AttachedDelta* head = attached_.head_delta();
    if (head != nullptr && !(by_canon_.find(std::string(kHead)) == by_canon_.end() && plan_.tied &&
                             is_shared(*head))) {
      AuditItem item;
      item.kind = ItemKind::kTarget;
      item.delta = head;
      item.base = head->target;
      item.start = head->target->view;
      place_head(std::move(item));
    }
  }

  /// Whether the pair on the head is the embedding's own, the other way round: PEFT ties the two
  /// (ensure_weight_tying) and saves both, so that the shared table holds what either side asks
  /// for.
  bool is_shared(const AttachedDelta& head) const {
    const AttachedDelta* table = attached_.delta_for(*head.target);
    return table != nullptr && table->module->scale == head.module->scale &&
           is_transpose(head.module->a, table->module->b) &&
           is_transpose(head.module->b, table->module->a);
  }

  void place_head(AuditItem item) {
    item.name = kHead;
    const auto found = by_canon_.find(std::string(kHead));
    if (found == by_canon_.end()) {
      item.kind = ItemKind::kMissing;
      item.reason =
          "the adapter trains the head apart from the tied embedding; merged stores no "
          "lm_head.weight";
      plan_.items.push_back(std::move(item));
      return;
    }
    item.merged = found->second.front();
    item.name = item.merged->name;
    used_.insert(item.merged);
    if (item.start.shape != item.merged->view.shape) {
      item.kind = ItemKind::kMismatch;
      item.reason = fmt::format("stored as {}, expected {}", to_string(item.merged->view.shape),
                                to_string(item.start.shape));
    }
    plan_.items.push_back(std::move(item));
  }

  void add_extra(const StoredTensor& tensor) {
    AuditItem item;
    item.kind = ItemKind::kExtra;
    item.name = tensor.name;
    item.merged = &tensor;
    item.reason = "neither the base nor the adapter has it";
    // A head that the base ties: merged stores its table twice, or has untied the two.
    const StoredTensor* table = find_embedding(plan_.tied ? merged_ : base_);
    if (canonical_name(tensor.name) == kHead && table != nullptr &&
        table->view.shape == tensor.view.shape &&
        comparable(table->view.dtype, tensor.view.dtype) &&
        find_canonical(base_, kHead) == nullptr) {
      item.kind = plan_.tied ? ItemKind::kTiedHead : ItemKind::kUntiedHead;
      item.base = table;
      item.start = table->view;
      item.reason.clear();
    }
    plan_.items.push_back(std::move(item));
  }

  const Checkpoint& base_;
  const Checkpoint& merged_;
  const AttachedAdapter& attached_;
  std::map<std::string, std::vector<const StoredTensor*>> by_canon_;
  std::map<const StoredTensor*, int> pairs_;
  std::map<const StoredTensor*, int> replacements_;
  std::set<const StoredTensor*> used_;
  AuditPlan plan_;
};

}  // namespace

std::vector<DecodedHold> AuditItem::hold() const {
  std::vector<DecodedHold> holds;
  if (base != nullptr && base_owner != nullptr) {
    holds.push_back(base_owner->decode(*base));
  }
  if (merged != nullptr && merged_owner != nullptr) {
    holds.push_back(merged_owner->decode(*merged));
  }
  return holds;
}

bool ties_embeddings(const Checkpoint& checkpoint, bool fallback) {
  const nlohmann::json& config = checkpoint.config();
  const auto flag = [](const nlohmann::json& level) -> std::optional<bool> {
    const auto found = level.find("tie_word_embeddings");
    if (found == level.end() || !found->is_boolean()) {
      return std::nullopt;
    }
    return found->get<bool>();
  };
  if (!config.is_object()) {
    return fallback;
  }
  if (const std::optional<bool> root = flag(config)) {
    return *root;
  }
  const auto text = config.find("text_config");
  return text != config.end() && text->is_object() ? flag(*text).value_or(fallback) : fallback;
}

AuditPlan make_plan(const Checkpoint& base, const Checkpoint& merged,
                    const AttachedAdapter& attached) {
  refuse_quantised(base, "base");
  refuse_quantised(merged, "merged checkpoint");
  return AuditPlanner(base, merged, attached).run();
}

}  // namespace mg
