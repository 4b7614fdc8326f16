#include "harness/lanes/checkpoint_source.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "harness/model/delta.h"
#include "kernels/core/convert.h"
#include "kernels/core/error.h"

namespace mg {

struct CheckpointSource::PendingDora {
  std::int64_t layer = -1;
  LowRank* delta = nullptr;
  const AttachedDelta* attached = nullptr;
};

/// Fills the source's weights by role, with the adapter's parts where they belong.
struct CheckpointSource::Builder {
  CheckpointSource& source;
  const AttachedAdapter* adapter;

  /// The tensor's bytes: the adapter's where it replaces the whole tensor.
  TensorView view(const ResolvedTensor* tensor) const {
    if (tensor == nullptr || tensor->stored == nullptr) {
      return {};
    }
    if (adapter != nullptr) {
      const AttachedReplacement* replaced = adapter->replacement_for(*tensor->stored);
      if (replaced != nullptr && !replaced->replacement->base_copy &&
          replaced->replacement->rows.empty()) {
        return replaced->replacement->value;
      }
    }
    return tensor->stored->view;
  }

  const ResolvedTensor* find(Role role, std::int64_t layer, std::int64_t expert = -1) const {
    return source.model_->find(role, layer, expert);
  }

  Norm norm(Role weight, std::int64_t layer, Role bias = Role::kCount) const {
    Norm result{.weight = view(find(weight, layer)), .bias = {}};
    if (bias != Role::kCount) {
      result.bias = view(find(bias, layer));
    }
    return result;
  }

  void attach_delta(const AttachedDelta& attached, std::int64_t layer, LowRank& delta) {
    const AdapterModule& module = *attached.module;
    if (module.kind == LowRankKind::kConv && attached.target != stored_as(Role::kPatchEmbed)) {
      throw Error({.code = "adapter.unsupported",
                   .what = "this kind of adapter part has no forward pass yet",
                   .where = module.raw_name,
                   .expected = "a low-rank pair on a linear layer, an embedding or fused experts",
                   .actual = "a pair on a convolution",
                   .hint = "`mergegauge audit` checks the merged weights without a forward pass"});
    }
    delta.a = module.a;
    delta.b = module.b;
    delta.scale = module.scale;
    delta.bias = module.bias;
    if (!module.magnitude.empty()) {
      source.pending_.push_back({layer, &delta, &attached});
    }
  }

  const StoredTensor* stored_as(Role role) const {
    const ResolvedTensor* tensor = find(role, -1);
    return tensor == nullptr ? nullptr : tensor->stored;
  }

  /// The adapter's pair on a stored matrix.  A tied table is an embedding and a head at once:
  /// `kind` says which use.
  const AttachedDelta* delta_on(const StoredTensor& stored, LowRankKind kind) const {
    if (adapter == nullptr) {
      return nullptr;
    }
    for (const AttachedDelta& delta : adapter->deltas) {
      const bool embedding = delta.module->kind == LowRankKind::kEmbedding;
      if (delta.target == &stored && embedding == (kind == LowRankKind::kEmbedding)) {
        return &delta;
      }
    }
    return nullptr;
  }

  void fill(Linear& linear, Role weight, Role bias, std::int64_t layer, std::int64_t expert = -1) {
    const ResolvedTensor* tensor = find(weight, layer, expert);
    if (tensor == nullptr || tensor->stored == nullptr) {
      return;
    }
    linear.weight = {.values = view(tensor), .transposed = tensor->rule->layout == Layout::kConv1D};
    if (bias != Role::kCount) {
      linear.bias = view(find(bias, layer));
    }
    if (const AttachedDelta* delta = delta_on(*tensor->stored, LowRankKind::kLinear)) {
      if (delta->expert >= 0) {
        attach_expert(*delta, delta->expert, delta->first_row, linear);
      } else {
        attach_delta(*delta, layer, linear.delta);
      }
    }
  }

  /// The part of a pair on fused experts (target_parameters) that belongs to one matrix [M, K] of
  /// one expert, whose D are rows [first_row, first_row + M) of B_e * A_e, or of its transpose. A_e
  /// and B_e are copied out of A's rows and B's columns: B's columns of one expert are E apart
  /// (PEFT's ParamWrapper).
  void attach_expert(const AttachedDelta& attached, std::int64_t expert, std::int64_t first_row,
                     Linear& linear) {
    const AdapterModule& module = *attached.module;
    const std::int64_t experts = attached.expert_count;
    const std::int64_t rank = module.a.dim(0) / experts;  // R
    const std::int64_t outputs = linear.weight.outputs();
    const std::int64_t inputs = linear.weight.inputs();
    const std::vector<float> a = widened(module.a);  // [E * R, dA]
    const std::vector<float> b = widened(module.b);  // [dB, R * E]
    const std::int64_t a_cols = module.a.dim(1);
    const std::int64_t b_cols = module.b.dim(1);
    const auto a_at = [&](std::int64_t r, std::int64_t i) {
      return a[static_cast<std::size_t>((expert * rank + r) * a_cols + i)];
    };
    const auto b_at = [&](std::int64_t i, std::int64_t r) {
      return b[static_cast<std::size_t>(i * b_cols + expert + r * experts)];
    };
    std::vector<float> left;   // [R, K]
    std::vector<float> right;  // [M, R]
    for (std::int64_t r = 0; r < rank; ++r) {
      for (std::int64_t k = 0; k < inputs; ++k) {
        left.push_back(attached.transposed ? b_at(k, r) : a_at(r, k));
      }
    }
    for (std::int64_t m = first_row; m < first_row + outputs; ++m) {
      for (std::int64_t r = 0; r < rank; ++r) {
        right.push_back(attached.transposed ? a_at(r, m) : b_at(m, r));
      }
    }
    linear.delta.a = keep(std::move(left), {rank, inputs});
    linear.delta.b = keep(std::move(right), {outputs, rank});
    linear.delta.scale = module.scale;
  }

  static std::vector<float> widened(const TensorView& view) {
    std::vector<float> values(static_cast<std::size_t>(view.elements()));
    widen_to_float(view.dtype, view.data, view.elements(), values.data());
    return values;
  }

  TensorView keep(std::vector<float> values, Shape shape) {
    source.computed_.push_back(std::make_unique<std::vector<float>>(std::move(values)));
    const std::vector<float>& kept = *source.computed_.back();
    return {.dtype = DType::kF32,
            .shape = std::move(shape),
            .data = reinterpret_cast<const std::byte*>(kept.data()),
            .bytes = kept.size() * sizeof(float)};
  }

  void fill_layer(std::int64_t l, LayerWeights& layer) {
    layer.input_norm = norm(Role::kInputNorm, l, Role::kInputNormBias);
    fill(layer.q, Role::kQProj, Role::kQBias, l);
    fill(layer.k, Role::kKProj, Role::kKBias, l);
    fill(layer.v, Role::kVProj, Role::kVBias, l);
    fill(layer.qkv, Role::kQkvProj, Role::kQkvBias, l);
    layer.q_norm = norm(Role::kQNorm, l);
    layer.k_norm = norm(Role::kKNorm, l);
    fill(layer.o, Role::kOProj, Role::kOBias, l);
    layer.post_attention_norm = norm(Role::kPostAttentionNorm, l);
    layer.mlp_norm = norm(Role::kMlpNorm, l, Role::kMlpNormBias);
    fill(layer.gate, Role::kGateProj, Role::kGateBias, l);
    fill(layer.up, Role::kUpProj, Role::kUpBias, l);
    fill(layer.gate_up, Role::kGateUpProj, Role::kCount, l);
    fill(layer.down, Role::kDownProj, Role::kDownBias, l);
    layer.post_mlp_norm = norm(Role::kPostMlpNorm, l);
    fill(layer.router, Role::kRouter, Role::kCount, l);
    const std::int64_t experts = layer.router.empty() ? 0 : source.model_->config.num_experts;
    layer.experts.resize(static_cast<std::size_t>(experts));
    for (std::int64_t e = 0; e < experts; ++e) {
      ExpertWeights& expert = layer.experts[static_cast<std::size_t>(e)];
      if (source.model_->config.packed_experts) {
        fill_packed(expert, l, e);
        continue;
      }
      fill(expert.gate, Role::kExpertGateProj, Role::kCount, l, e);
      fill(expert.up, Role::kExpertUpProj, Role::kCount, l, e);
      fill(expert.down, Role::kExpertDownProj, Role::kCount, l, e);
    }
  }

  /// One expert of the tensors that hold all of a layer: [E, 2M, H] with the gate first, and [E, H,
  /// M].
  void fill_packed(ExpertWeights& expert, std::int64_t l, std::int64_t e) {
    const ResolvedTensor* gate_up_tensor = find(Role::kExpertsGateUpProj, l);
    const ResolvedTensor* down_tensor = find(Role::kExpertsDownProj, l);
    const TensorView gate_up = view(gate_up_tensor);
    const std::int64_t inner = gate_up.dim(1) / 2;
    expert.gate.weight.values = rows_of_matrix(gate_up, e, 0, inner);
    expert.up.weight.values = rows_of_matrix(gate_up, e, inner, inner);
    const TensorView down = view(down_tensor);
    expert.down.weight.values = rows_of_matrix(down, e, 0, down.dim(1));
    if (const AttachedDelta* delta = delta_on(*gate_up_tensor->stored, LowRankKind::kLinear)) {
      attach_expert(*delta, e, 0, expert.gate);
      attach_expert(*delta, e, inner, expert.up);
    }
    if (const AttachedDelta* delta = delta_on(*down_tensor->stored, LowRankKind::kLinear)) {
      attach_expert(*delta, e, 0, expert.down);
    }
  }

  /// Rows [begin, begin + count) of matrix `index` of a stack [E, rows, cols].
  static TensorView rows_of_matrix(const TensorView& stack, std::int64_t index, std::int64_t begin,
                                   std::int64_t count) {
    const std::int64_t cols = stack.dim(2);
    const auto row_bytes = static_cast<std::size_t>(cols * dtype_bits(stack.dtype) / 8);
    const auto row = static_cast<std::size_t>(index * stack.dim(1) + begin);
    return {.dtype = stack.dtype,
            .shape = {count, cols},
            .data = stack.data + row * row_bytes,
            .bytes = static_cast<std::size_t>(count) * row_bytes};
  }

  /// Rows of the embedding that the adapter trained (trainable_token_indices); a tied head uses
  /// them too.
  void fill_row_overrides(const StoredTensor& table, bool tied) {
    if (adapter == nullptr) {
      return;
    }
    const AttachedReplacement* replaced = adapter->replacement_for(table);
    if (replaced == nullptr || replaced->replacement->rows.empty()) {
      return;
    }
    source.globals_.embed_rows = {replaced->replacement->value, replaced->replacement->rows};
    if (tied) {
      source.globals_.head_rows = source.globals_.embed_rows;
    }
  }

  /// A head that the adapter brings along for a model whose own is tied.
  const AdapterReplacement* own_head() const {
    if (adapter != nullptr) {
      for (const AttachedReplacement& replaced : adapter->replacements) {
        if (replaced.target == nullptr && replaced.replacement->name == "lm_head.weight") {
          return replaced.replacement;
        }
      }
    }
    return nullptr;
  }

  /// What surrounds a vision tower's blocks.  The stride of the convolution over patches is its
  /// size, so that it is a product with its weight laid flat, and so is a pair on it.
  void fill_tower(GlobalWeights& globals) {
    const ResolvedTensor* patches = find(Role::kPatchEmbed, -1);
    if (patches != nullptr) {
      globals.patch_embed.weight.values = flat(view(patches));
      if (const AttachedDelta* delta = delta_on(*patches->stored, LowRankKind::kConv)) {
        attach_delta(*delta, -1, globals.patch_embed.delta);
        globals.patch_embed.delta.a = flat(globals.patch_embed.delta.a);
        globals.patch_embed.delta.b = flat(globals.patch_embed.delta.b);
      }
    }
    globals.merger_norm = norm(Role::kMergerNorm, -1, Role::kMergerNormBias);
    fill(globals.merger_up, Role::kMergerUp, Role::kMergerUpBias, -1);
    fill(globals.merger_down, Role::kMergerDown, Role::kMergerDownBias, -1);
  }

  static TensorView flat(TensorView view) {
    view.shape = {view.dim(0), view.elements() / view.dim(0)};
    return view;
  }

  void fill_globals(GlobalWeights& globals) {
    const ResolvedTensor* table = find(Role::kEmbedTokens, -1);
    const ResolvedTensor* head = source.model_->head();
    MG_CHECK(table != nullptr && head != nullptr, "a complete model has an embedding and a head");
    globals.embed_tokens = view(table);
    if (const AttachedDelta* delta = delta_on(*table->stored, LowRankKind::kEmbedding)) {
      attach_delta(*delta, -1, globals.embed_delta);
    }
    globals.embed_positions = view(find(Role::kEmbedPositions, -1));
    globals.final_norm = norm(Role::kFinalNorm, -1, Role::kFinalNormBias);
    fill_tower(globals);
    globals.lm_head.weight = {.values = view(head)};
    if (const AttachedDelta* delta = delta_on(*head->stored, LowRankKind::kLinear)) {
      attach_delta(*delta, -1, globals.lm_head.delta);
    }
    if (const AdapterReplacement* own = own_head()) {
      globals.lm_head.weight.values = own->value;
    }
    fill_row_overrides(*table->stored, head->stored == table->stored);
  }
};

namespace {

/// DoRA's magnitude / |W + s*B*A| of each output.
std::vector<float> dora_factors(const AttachedDelta& attached) {
  const DeltaRows rows(attached);
  std::vector<float> factors(static_cast<std::size_t>(attached.module->magnitude.elements()));
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const auto output = static_cast<std::int64_t>(i);
    factors[i] = static_cast<float>(rows.dora_magnitude(output) / rows.dora_norm(output));
  }
  return factors;
}

void require_attached(const AttachedAdapter& adapter) {
  if (adapter.unreached.empty() && adapter.problems.empty()) {
    return;
  }
  std::string list;
  for (const std::string& name : adapter.unreached) {
    list += (list.empty() ? "" : "; ") + name + " reaches no tensor of the base";
  }
  for (const std::string& problem : adapter.problems) {
    list += (list.empty() ? "" : "; ") + problem;
  }
  throw Error({.code = "adapter.attach",
               .what = "the adapter does not fit the base",
               .where = {},
               .expected = "every part of the adapter on a tensor of the base",
               .actual = list,
               .hint = "is this the base the adapter was trained on?"});
}

}  // namespace

CheckpointSource::CheckpointSource(const Checkpoint& checkpoint, const ResolvedModel& model,
                                   const AttachedAdapter* adapter, ThreadPool* pool)
    : checkpoint_(&checkpoint), model_(&model), pool_(pool) {
  require_forward(*model.arch, checkpoint.folder().string());
  model.require_complete(checkpoint);
  if (adapter != nullptr) {
    require_attached(*adapter);
  }
  const std::int64_t blocks = model.config.vision ? model.config.vision->depth : 0;
  const auto layers = static_cast<std::size_t>(model.config.num_hidden_layers + blocks);
  layers_.resize(layers);
  stored_.resize(layers);
  holds_.resize(layers);
  in_codes_holds_.resize(layers);
  Builder builder{*this, adapter};
  builder.fill_globals(globals_);
  for (std::size_t l = 0; l < layers; ++l) {
    builder.fill_layer(static_cast<std::int64_t>(l), layers_[l]);
  }
  std::vector<const StoredTensor*> globals;
  for (const ResolvedTensor& tensor : model.tensors) {
    if (tensor.stored == nullptr) {
      continue;
    }
    (tensor.layer < 0 ? globals : stored_[static_cast<std::size_t>(tensor.layer)])
        .push_back(tensor.stored);
    if (tensor.stored->quantised != nullptr) {
      copies_.emplace(tensor.stored->view.data, tensor.stored->view.bytes);
    }
  }
  hold(globals, global_holds_);
  compute_dora(-1);
  find_codes();
}

void CheckpointSource::find_codes() {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    for_each_matrix(layers_[l], [&](const TensorView& matrix) {
      for (const StoredTensor* tensor : stored_[l]) {
        const QuantisedTensor* codes = tensor->quantised;
        if (codes != nullptr && tensor->view.data == matrix.data &&
            codes->shape() == matrix.shape &&
            (codes->four_bit() != nullptr || codes->eight_bit() != nullptr)) {
          coded_.emplace(matrix.data, tensor);
        }
      }
    });
  }
}

void CheckpointSource::hold(const std::vector<const StoredTensor*>& tensors,
                            std::vector<DecodedHold>& holds) const {
  for (const StoredTensor* tensor : tensors) {
    if (tensor->quantised != nullptr) {
      holds.push_back(checkpoint_->decode(*tensor, pool_));
    }
  }
}

CheckpointSource::~CheckpointSource() = default;

bool CheckpointSource::needs_dora(std::int64_t layer) const {
  return std::any_of(pending_.begin(), pending_.end(), [layer](const PendingDora& pending) {
    return pending.layer == layer && pending.delta->dora.empty();
  });
}

void CheckpointSource::compute_dora(std::int64_t layer) {
  for (PendingDora& pending : pending_) {
    if (pending.layer == layer && pending.delta->dora.empty()) {
      pending.delta->dora = dora_factors(*pending.attached);
    }
  }
}

const LayerWeights& CheckpointSource::layer(std::int64_t index) {
  const auto at = static_cast<std::size_t>(index);
  if (holds_[at].empty()) {
    hold(stored_[at], holds_[at]);
  }
  compute_dora(index);
  return layers_[at];
}

/// A weight stored as codes has no bytes before its layer is in use.
const LayerWeights* CheckpointSource::ahead(std::int64_t index) const {
  const auto at = static_cast<std::size_t>(index);
  const bool codes = std::any_of(stored_[at].begin(), stored_[at].end(),
                                 [](const StoredTensor* t) { return t->quantised != nullptr; });
  return codes ? nullptr : &layers_[at];
}

WeightCodes CheckpointSource::codes_of(const TensorView& matrix) const {
  const auto found = coded_.find(matrix.data);
  if (found == coded_.end()) {
    return {};
  }
  const QuantisedTensor& codes = *found->second->quantised;
  return {codes.four_bit(), codes.eight_bit()};
}

bool CheckpointSource::is_decoded_copy(const TensorView& view) const {
  const auto behind = copies_.upper_bound(view.data);
  return behind != copies_.begin() &&
         view.data < std::prev(behind)->first + std::prev(behind)->second;
}

std::vector<const StoredTensor*> CheckpointSource::values_beside_codes(std::int64_t layer) const {
  std::vector<const StoredTensor*> others;
  for (const StoredTensor* tensor : stored_[static_cast<std::size_t>(layer)]) {
    if (tensor->quantised != nullptr && coded_.count(tensor->view.data) == 0) {
      others.push_back(tensor);
    }
  }
  return others;
}

const LayerWeights& CheckpointSource::layer_in_codes(std::int64_t index) {
  const auto at = static_cast<std::size_t>(index);
  if (needs_dora(index)) {  // norms of the values, once
    std::vector<DecodedHold> values;
    hold(stored_[at], values);
    compute_dora(index);
  }
  if (in_codes_holds_[at].empty()) {
    hold(values_beside_codes(index), in_codes_holds_[at]);
  }
  return layers_[at];
}

const LayerWeights* CheckpointSource::ahead_in_codes(std::int64_t index) const {
  return values_beside_codes(index).empty() ? &layers_[static_cast<std::size_t>(index)] : nullptr;
}

void CheckpointSource::prefetch_layer(std::int64_t index) {
  for (const StoredTensor* tensor : stored_[static_cast<std::size_t>(index)]) {
    checkpoint_->prefetch(*tensor);
  }
}

void CheckpointSource::release_layer(std::int64_t index) {
  holds_[static_cast<std::size_t>(index)].clear();
  in_codes_holds_[static_cast<std::size_t>(index)].clear();
  for (const StoredTensor* tensor : stored_[static_cast<std::size_t>(index)]) {
    checkpoint_->release(*tensor);
  }
}

}  // namespace mg
