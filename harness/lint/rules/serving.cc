// Serving the adapter itself, and servers' own demands on the merged model (configs/servers).
// A server that cannot serve the adapter is no fault of the merged model: a warning.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "harness/lint/rules.h"
#include "harness/lint/tokenizer_facts.h"

namespace mg::lint {
namespace {

bool any_name(const AdapterFolder& adapter, std::string_view part) {
  return std::any_of(
      adapter.tensors.begin(), adapter.tensors.end(),
      [&](const HeaderTensor& tensor) { return tensor.name.find(part) != std::string::npos; });
}

/// Whether a key of adapter_config.json holds something: not null, false, empty or "none".
bool is_set(const AdapterFolder& adapter, const char* key) {
  const nlohmann::json* config = adapter.config();
  if (config == nullptr || !config->is_object() || !config->contains(key)) {
    return false;
  }
  const nlohmann::json& value = config->at(key);
  return !(value.is_null() || value == false || value == "none" ||
           ((value.is_object() || value.is_array() || value.is_string()) && value.empty()));
}

bool saved_modules(const AdapterFolder& a) {
  return is_set(a, "modules_to_save");
}
bool dora(const AdapterFolder& a) {
  return a.flag("use_dora") || any_name(a, "lora_magnitude_vector");
}
bool bias(const AdapterFolder& a) {
  return a.flag("lora_bias") || is_set(a, "bias");
}
bool rslora(const AdapterFolder& a) {
  return a.flag("use_rslora");
}
bool patterns(const AdapterFolder& a) {
  return is_set(a, "rank_pattern") || is_set(a, "alpha_pattern");
}
bool tokens(const AdapterFolder& a) {
  return is_set(a, "trainable_token_indices") || any_name(a, "trainable_tokens_delta");
}
bool embeddings(const AdapterFolder& a) {
  return any_name(a, "lora_embedding_A") || any_name(a, "lm_head.lora_A");
}
bool vision(const AdapterFolder& a) {
  return any_name(a, "visual.") || any_name(a, "vision_tower.") || any_name(a, "vision_model.") ||
         any_name(a, "multi_modal_projector.");
}
bool parameters(const AdapterFolder& a) {
  return is_set(a, "target_parameters");
}
bool residual(const AdapterFolder& a) {
  const nlohmann::json* config = a.config();
  if (config == nullptr || !config->is_object() || !config->contains("init_lora_weights") ||
      !config->at("init_lora_weights").is_string()) {
    return false;
  }
  const std::string init = config->at("init_lora_weights");
  return init.starts_with("pissa") || init.starts_with("corda") || init == "olora" ||
         init == "loftq";
}

struct Feature {
  std::string_view name;
  bool (*used)(const AdapterFolder& adapter);
  ServerFact ServerProfile::*fact;
};

constexpr auto kFeatures = std::to_array<Feature>({
    {"modules_to_save", saved_modules, &ServerProfile::modules_to_save},
    {"DoRA", dora, &ServerProfile::dora},
    {"biases", bias, &ServerProfile::lora_bias},
    {"trainable tokens", tokens, &ServerProfile::trainable_tokens},
    {"pairs on embeddings or the head", embeddings, &ServerProfile::embeddings},
    {"target_parameters", parameters, &ServerProfile::target_parameters},
    {"init_lora_weights", residual, &ServerProfile::residual_init},
});

void unsupported(const Context& context, Reporter& report, const Feature& feature) {
  if (!feature.used(*context.adapter)) {
    return;
  }
  if (context.server != nullptr) {
    const ServerFact& fact = context.server->*feature.fact;
    if (!fact.supported) {
      report.warning(
          {.subject = "adapter_config.json",
           .message = fmt::format("{} does not serve this adapter unmerged ({}): {}",
                                  context.server->name, feature.name, fact.says),
           .expected = "serve the merged model",
           .actual = fmt::format("{}; {} {}", fact.source, context.server->name, fact.version)});
    }
    return;
  }
  std::vector<std::string> refusing;
  for (const ServerProfile& profile : server_profiles()) {
    if (!(profile.*feature.fact).supported) {
      refusing.push_back(profile.name);
    }
  }
  if (!refusing.empty()) {
    report.note({.subject = "adapter_config.json",
                 .message = fmt::format("unmerged, the adapter would not be served by every server "
                                        "({})",
                                        feature.name),
                 .expected = {},
                 .actual = "not by " + listed(refusing)});
  }
}

void features(const Context& context, Reporter& report) {
  for (const Feature& feature : kFeatures) {
    unsupported(context, report, feature);
  }
}

void scale_flag(const Context& context, Reporter& report) {
  unsupported(context, report, {"rsLoRA", rslora, &ServerProfile::rslora});
}

void pattern_keys(const Context& context, Reporter& report) {
  unsupported(context, report, {"rank_pattern, alpha_pattern", patterns, &ServerProfile::patterns});
}

void vision_modules(const Context& context, Reporter& report) {
  unsupported(context, report, {"pairs on the vision part", vision, &ServerProfile::vision});
}

void rank(const Context& context, Reporter& report) {
  std::int64_t most = 0;
  for (const HeaderTensor& tensor : context.adapter->tensors) {
    const bool embedding = tensor.name.find(".lora_embedding_A") != std::string::npos;
    const bool fused = tensor.name.find(".experts.") != std::string::npos;
    if ((tensor.name.find(".lora_A.") != std::string::npos || embedding) && !fused &&
        tensor.shape.size() == 2) {
      most = std::max(most, tensor.shape[0]);
    }
  }
  const ServerProfile& server = context.server != nullptr ? *context.server : find_server("vllm");
  if (server.default_max_rank == 0 || most <= server.default_max_rank) {
    return;
  }
  std::int64_t wanted = 0;
  for (const std::int64_t allowed : server.allowed_ranks) {
    wanted = wanted == 0 && allowed >= most ? allowed : wanted;
  }
  Reporter::Details details = {
      .subject = "adapter_config.json: r",
      .message = fmt::format("unmerged, {} refuses it: LoRA rank {} is greater than max_lora_rank "
                             "{}.",
                             server.name, most, server.default_max_rank),
      .expected =
          fmt::format("at most {} by default ({})", server.default_max_rank, server.rank_source),
      .actual = std::to_string(most),
      .fix = wanted > 0 ? fmt::format("to serve the adapter: {} {}", server.rank_flag, wanted)
                        : "above every rank that it allows: serve the merged model"};
  if (context.server != nullptr) {
    report.warning(std::move(details));
  } else {
    report.note(std::move(details));
  }
}

void adapter_dtype(const Context& context, Reporter& report) {
  for (const HeaderTensor& tensor : context.adapter->tensors) {
    if (tensor.name.find("lora_A") != std::string::npos &&
        (tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16)) {
      report.note({.subject = "adapter_model.safetensors",
                   .message = "stored in 16 bits: PEFT widens it to FP32, servers compute in the "
                              "model's dtype; the difference is part of the noise floor of `check`",
                   .expected = {},
                   .actual = std::string(dtype_name(tensor.dtype))});
      return;
    }
  }
}

void double_bos(const Context& context, Reporter& report) {
  const nlohmann::json* config = context.merged.json("tokenizer_config.json");
  if (config == nullptr || !config->is_object()) {
    return;
  }
  const auto add = config->find("add_bos_token");
  const TokenizerFacts& facts = context.merged.tokenizer;
  const auto bos = facts.special.find("bos_token");
  if (add == config->end() || *add != true || bos == facts.special.end() || bos->second.empty()) {
    return;
  }
  for (const TemplatePlace& place : chat_templates(context.merged.scan)) {
    if (!place.text.starts_with(bos->second) && !place.text.starts_with("{{ bos_token }}") &&
        !place.text.starts_with("{{bos_token}}") && !place.text.starts_with("{{- bos_token }}") &&
        !place.text.starts_with("{{- bos_token -}}")) {
      continue;
    }
    Reporter::Details details = {
        .subject = place.file,
        .message =
            "the chat template begins with the BOS token and add_bos_token is true: "
            "llama.cpp and others send it twice",
        .expected = "BOS from one of the two",
        .actual = bos->second};
    if (context.server != nullptr && context.server->name == "llama.cpp") {
      report.warning(std::move(details));
    } else {
      report.note(std::move(details));
    }
    return;
  }
}

constexpr auto kServingRules = std::to_array<Rule>({
    {.id = "serving.rank",
     .catalogue = "F50",
     .severity = Severity::kWarning,
     .needs = Needs::kAdapter,
     .why = "Servers refuse ranks above their limit.",
     .fix = "raise the server's limit, or serve the merged model",
     .check = rank},
    {.id = "serving.features",
     .catalogue = "F51",
     .severity = Severity::kWarning,
     .needs = Needs::kAdapter,
     .why = "Servers implement plain pairs; what else the adapter holds they refuse or drop.",
     .fix = "serve the merged model",
     .check = features},
    {.id = "serving.rslora",
     .catalogue = "F20",
     .severity = Severity::kWarning,
     .needs = Needs::kAdapter,
     .why = "Formats that carry alpha alone divide by r instead of its root.",
     .fix = "serve the merged model, or give it alpha times the root of r",
     .check = scale_flag},
    {.id = "serving.patterns",
     .catalogue = "F21",
     .severity = Severity::kWarning,
     .needs = Needs::kAdapter,
     .why = "Servers that drop the patterns scale every module alike.",
     .fix = "serve the merged model",
     .check = pattern_keys},
    {.id = "serving.vision",
     .catalogue = "F52",
     .severity = Severity::kWarning,
     .needs = Needs::kAdapter,
     .why = "Servers wrap the language model's linear layers and skip the vision part.",
     .fix = "serve the merged model",
     .check = vision_modules},
    {.id = "serving.adapter-dtype",
     .catalogue = "F55",
     .severity = Severity::kNote,
     .needs = Needs::kAdapter,
     .why = "A 16-bit adapter is computed in other precisions by PEFT and by servers.",
     .fix = "none needed, or serve the merged model",
     .check = adapter_dtype},
    {.id = "serving.double-bos",
     .catalogue = "F58",
     .severity = Severity::kWarning,
     .needs = Needs::kMerged,
     .why = "A GGUF made of this model sends BOS twice, which the model never saw in training.",
     .fix = "set add_bos_token to false, or take BOS out of the template",
     .check = double_bos},
});

}  // namespace

std::span<const Rule> serving_rules() {
  return kServingRules;
}

}  // namespace mg::lint
