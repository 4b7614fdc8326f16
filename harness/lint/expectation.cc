#include "harness/lint/expectation.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "harness/model/names.h"

namespace mg::lint {
namespace {

constexpr auto kBuffers = std::to_array<std::string_view>(
    {"rotary_emb.inv_freq", "position_ids", ".masked_bias", ".attn.bias", "rotary_pos_emb.inv_freq",
     "embed_positions.inv_freq"});
constexpr auto kVisionParts = std::to_array<std::string_view>(
    {"visual.", "vision_tower.", "vision_model.", "resampler.", "model.resampler_model.",
     "multi_modal_projector.", "audio_tower.", "mm_projector"});

std::optional<std::int64_t> integer(const ModelFolder& model, std::string_view key) {
  const nlohmann::json* value = model.effective(key);
  return value != nullptr && value->is_number_integer() ? std::optional(value->get<std::int64_t>())
                                                        : std::nullopt;
}

/// The layer in "model.layers.12.mlp..."; -1 outside layers.
std::int64_t layer_of(std::string_view name) {
  const std::size_t at = name.find("layers.");
  if (at == std::string_view::npos) {
    return -1;
  }
  std::int64_t layer = -1;
  const std::string_view digits = name.substr(at + 7);
  std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  return layer;
}

bool is_vision(std::string_view canonical) {
  return std::any_of(kVisionParts.begin(), kVisionParts.end(),
                     [&](std::string_view part) { return canonical.starts_with(part); });
}

bool is_buffer(std::string_view name) {
  return std::any_of(kBuffers.begin(), kBuffers.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

bool is_auxiliary(const ModelFolder& model, std::string_view canonical) {
  const std::optional<std::int64_t> layers = integer(model, "num_hidden_layers");
  return canonical.starts_with("mtp.") || canonical.starts_with("model.mtp.") ||
         canonical.find(".nextn.") != std::string_view::npos ||
         (layers && layer_of(canonical) >= *layers && !is_vision(canonical));
}

bool is_kv_shared_part(std::string_view name) {
  return name.find(".self_attn.k_proj.") != std::string_view::npos ||
         name.find(".self_attn.v_proj.") != std::string_view::npos ||
         name.find(".self_attn.k_norm.") != std::string_view::npos ||
         name.find(".self_attn.v_norm.") != std::string_view::npos;
}

Departure kind_of_missing(const Context& context, std::string_view canonical) {
  const ModelFolder& model = context.merged;
  if (is_head(canonical)) {
    return Departure::kHead;
  }
  if (integer(model, "num_kv_shared_layers").value_or(0) > 0 && is_kv_shared_part(canonical)) {
    return Departure::kKvShared;
  }
  if (canonical.find(".experts.") != std::string_view::npos) {
    return Departure::kExperts;
  }
  return is_auxiliary(model, canonical) ? Departure::kAuxiliary
         : is_vision(canonical)         ? Departure::kVision
                                        : Departure::kMissing;
}

void add_from_table(const Context& context, std::vector<DepartedTensor>& out) {
  using Kind = ResolveProblem::Kind;
  const ResolvedModel& resolved = *context.merged.resolved;
  for (const ResolveProblem& problem : resolved.problems) {
    const std::string canonical = canonical_name(problem.name);
    DepartedTensor departed = {
        .name = problem.name, .expected = problem.expected, .actual = problem.actual};
    if (context.base) {
      departed.in_base = context.base->find(canonical);
    }
    switch (problem.kind) {
      case Kind::kMissing: {
        departed.kind = kind_of_missing(context, canonical);
        const ResolvedTensor* wanted = resolved.find(problem.name);
        const DType dtype = context.merged.majority_dtype().value_or(DType::kF16);
        if (wanted != nullptr) {
          departed.bytes = static_cast<std::uint64_t>(element_count(wanted->shape).value_or(0) *
                                                      dtype_bits(dtype) / 8);
        }
        break;
      }
      case Kind::kShape:
        departed.kind = is_head(canonical) || is_embedding(canonical) ? Departure::kVocabulary
                                                                      : Departure::kShape;
        break;
      case Kind::kUnclaimed: {
        const HeaderTensor* stored = context.merged.find(canonical);
        if ((stored != nullptr && stored->companion) || departed.in_base != nullptr ||
            is_buffer(canonical)) {
          continue;  // F03's, or the base's as well
        }
        departed.kind = is_vision(canonical) ? Departure::kVision : Departure::kUnexpected;
        break;
      }
      case Kind::kCollision:
        continue;  // names.*
    }
    out.push_back(std::move(departed));
  }
}

/// Names of the tensors that were trained beside the adapter: adapter.trained-beside tells what
/// became of them.
std::set<std::string> trained_beside(const Context& context) {
  std::set<std::string> names;
  for (const HeaderTensor& tensor : tensors_trained_beside(context)) {
    names.insert(tensor.canonical);
  }
  return names;
}

/// What the base has and merged has not.  With the table, only what the table does not ask for.
void add_from_base(const Context& context, std::vector<DepartedTensor>& out) {
  const ModelFolder& merged = context.merged;
  const bool table = merged.resolved.has_value();
  for (const HeaderTensor& of_base : context.base->tensors) {
    if (of_base.companion || is_buffer(of_base.name) || is_head(of_base.canonical)) {
      continue;
    }
    const HeaderTensor* stored = merged.find(of_base.canonical);
    if (stored == nullptr) {
      const Departure kind = kind_of_missing(context, of_base.canonical);
      if (table && kind != Departure::kAuxiliary) {
        continue;
      }
      out.push_back({.kind = kind,
                     .name = of_base.name,
                     .expected = to_string(of_base.shape),
                     .actual = "absent",
                     .bytes = of_base.bytes,
                     .in_base = &of_base});
    } else if (!table && is_plain(of_base.dtype) && is_plain(stored->dtype) &&
               stored->shape != of_base.shape && !is_embedding(of_base.canonical)) {
      out.push_back({.kind = Departure::kShape,
                     .name = stored->name,
                     .expected = to_string(of_base.shape),
                     .actual = to_string(stored->shape),
                     .in_base = &of_base});
    }
  }
  if (table) {
    return;
  }
  for (const HeaderTensor& tensor : merged.tensors) {
    if (context.base->find(tensor.canonical) == nullptr && !tensor.companion &&
        !is_buffer(tensor.name) && !is_head(tensor.canonical)) {
      out.push_back({.kind = Departure::kUnexpected,
                     .name = tensor.name,
                     .expected = "no such tensor in the base",
                     .actual = to_string(tensor.shape)});
    }
  }
}

bool has_wrapped_names(const ModelFolder& model) {
  return std::any_of(model.tensors.begin(), model.tensors.end(), [](const HeaderTensor& tensor) {
    const std::string_view name = tensor.name;
    return name.starts_with("base_model.model.") || name.starts_with("module.") ||
           name.find("lora_") != std::string_view::npos ||
           name.find("_orig_mod.") != std::string_view::npos ||
           name.find(".base_layer.") != std::string_view::npos ||
           name.find("modules_to_save") != std::string_view::npos ||
           name.find("original_module") != std::string_view::npos;
  });
}

}  // namespace

bool is_head(std::string_view canonical) {
  return canonical == "lm_head.weight" || canonical == "model.lm_head.weight";
}

bool is_embedding(std::string_view canonical) {
  return canonical.ends_with("embed_tokens.weight") || canonical.ends_with("wte.weight");
}

bool is_multimodal(const ModelFolder& model) {
  const nlohmann::json* config = model.json("config.json");
  if (config == nullptr || !config->is_object()) {
    return false;
  }
  constexpr auto kParts =
      std::to_array<std::string_view>({"vision_config", "audio_config", "thinker_config"});
  return std::any_of(kParts.begin(), kParts.end(), [&](std::string_view part) {
    const auto it = config->find(part);
    return it != config->end() && it->is_object();
  });
}

std::vector<HeaderTensor> tensors_trained_beside(const Context& context) {
  std::vector<HeaderTensor> tensors;
  if (context.adapter) {
    for (const ScannedShard& shard : context.adapter->scan.shards) {
      if (is_trained_beside(shard.name)) {
        add_tensors(shard, tensors);
      }
    }
  }
  return tensors;
}

bool is_trained_beside(std::string_view file) {
  return file.starts_with("non_lora") || file.starts_with("mm_projector");
}

std::vector<DepartedTensor> departures(const Context& context) {
  std::vector<DepartedTensor> out;
  if (!context.merged.checkpoint || has_wrapped_names(context.merged)) {
    return out;
  }
  if (context.merged.resolved) {
    add_from_table(context, out);
  }
  if (context.base) {
    add_from_base(context, out);
  }
  if (const std::set<std::string> beside = trained_beside(context); !beside.empty()) {
    std::erase_if(out, [&](const DepartedTensor& departed) {
      return beside.contains(canonical_name(departed.name));
    });
  }
  return out;
}

}  // namespace mg::lint
