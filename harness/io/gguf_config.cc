// Sources, read for behaviour: llama.cpp's conversion/*.py (what a converter writes) and
// src/models/*.cpp (what is computed from it); gguf 0.19 (constants.Keys).
#include "harness/io/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "kernels/core/error.h"

namespace mg {
namespace {

using ConfigJson = nlohmann::json;

constexpr auto kFamilies = std::to_array<GgufFamily>({
    {.architecture = "llama",
     .model_type = "llama",
     .causal_lm = "LlamaForCausalLM",
     .also_model_type = "mistral",
     .interleaved_rope = true},
    {.architecture = "qwen2", .model_type = "qwen2", .causal_lm = "Qwen2ForCausalLM"},
    {.architecture = "qwen3", .model_type = "qwen3", .causal_lm = "Qwen3ForCausalLM"},
    {.architecture = "gemma2",
     .model_type = "gemma2",
     .causal_lm = "Gemma2ForCausalLM",
     .norms_plus_one = true,
     .four_norms = true},
    {.architecture = "gemma3",
     .model_type = "gemma3_text",
     .causal_lm = "Gemma3ForCausalLM",
     .also_model_type = "gemma3",
     .norms_plus_one = true,
     .four_norms = true},
    {.architecture = "phi3",
     .model_type = "phi3",
     .causal_lm = "Phi3ForCausalLM",
     .packed_mlp = true},
});

constexpr auto kTokenIds = std::to_array<std::pair<const char*, const char*>>(
    {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
     {"eos_token_id", "tokenizer.ggml.eos_token_id"},
     {"pad_token_id", "tokenizer.ggml.padding_token_id"}});

class Metadata {
 public:
  Metadata(const GgufFile& file, std::string_view architecture)
      : file_(&file), prefix_(fmt::format("{}.", architecture)) {}

  const nlohmann::ordered_json* find(std::string_view name) {
    const std::string key = prefix_ + std::string(name);
    read_.insert(key);
    const auto& all = file_->metadata();
    const auto found = all.find(key);
    return found == all.end() ? nullptr : &*found;
  }

  std::optional<std::int64_t> integer(std::string_view name) {
    const auto* value = find(name);
    if (value == nullptr) {
      return std::nullopt;
    }
    // One number for every layer: some writers give them all.
    if (value->is_array() && !value->empty()) {
      for (const auto& each : *value) {
        if (each != value->front()) {
          fail(name, "one number for all layers", "different ones");
        }
      }
      value = &value->front();
    }
    if (!value->is_number_integer()) {
      fail(name, "an integer", value->dump());
    }
    return value->get<std::int64_t>();
  }

  std::int64_t required(std::string_view name) {
    const std::optional<std::int64_t> value = integer(name);
    if (!value) {
      fail(name, "an integer", "it is missing");
    }
    return *value;
  }

  /// Files keep FP32; the number that was meant is the shortest that reads back as it: 1e-05, not
  /// 9.999999747378752e-06.
  std::optional<double> number(std::string_view name) {
    const auto* value = find(name);
    if (value == nullptr) {
      return std::nullopt;
    }
    if (!value->is_number()) {
      fail(name, "a number", value->dump());
    }
    return std::stod(fmt::format("{}", value->get<float>()));
  }

  double required_number(std::string_view name) {
    const std::optional<double> value = number(name);
    if (!value) {
      fail(name, "a number", "it is missing");
    }
    return *value;
  }

  std::string text(std::string_view name) {
    const auto* value = find(name);
    if (value == nullptr) {
      return {};
    }
    if (!value->is_string()) {
      fail(name, "a string", value->dump());
    }
    return value->get<std::string>();
  }

  [[noreturn]] void fail(std::string_view name, std::string expected, std::string actual) const {
    throw Error({.code = "gguf.metadata",
                 .what = "the metadata does not describe a model that is known here",
                 .where = fmt::format("{}: key \"{}{}\"", file_->path().string(), prefix_, name),
                 .expected = std::move(expected),
                 .actual = std::move(actual),
                 .hint = "convert the checkpoint again with a current llama.cpp"});
  }

  void note_unread(ConfigJson& config) const {
    for (const auto& [key, value] : file_->metadata().items()) {
      if (key.starts_with(prefix_) && !read_.contains(key)) {
        config["gguf." + key] = value;
      }
    }
  }

 private:
  const GgufFile* file_;
  std::string prefix_;
  std::set<std::string> read_;
};

// Every frequency divided by a number of its own is what transformers calls longrope.
ConfigJson frequency_factors(const GgufFile& file, const GgufTensor& tensor) {
  std::vector<float> factors(static_cast<std::size_t>(tensor.rows() * tensor.row_length()));
  file.rows(tensor, 0, tensor.rows(), factors.data());
  return std::vector<double>(factors.begin(), factors.end());
}

ConfigJson rope(const GgufFile& file, Metadata& metadata, std::int64_t context) {
  ConfigJson result = {{"rope_theta", metadata.number("rope.freq_base").value_or(10000.0)},
                       {"rope_type", "default"}};
  const std::string scaling = metadata.text("rope.scaling.type");
  const std::optional<double> factor = metadata.number("rope.scaling.factor");
  metadata.find("rope.scaling.original_context_length");  // read by YaRN alone
  metadata.find("rope.scaling.finetuned");
  if (const GgufTensor* freqs = file.find("rope_freqs.weight")) {  // Llama 3.1 and later
    if (!scaling.empty() && scaling != "none") {
      metadata.fail("rope.scaling.type", "none beside rope_freqs.weight", scaling);
    }
    const ConfigJson factors = frequency_factors(file, *freqs);
    result.update({{"rope_type", "longrope"},
                   {"short_factor", factors},
                   {"long_factor", factors},
                   {"factor", 1.0},
                   {"attention_factor", 1.0},
                   {"original_max_position_embeddings", context}});
    return result;
  }
  if (scaling == "linear") {
    result.update({{"rope_type", "linear"}, {"factor", factor.value_or(1.0)}});
  } else if (!scaling.empty() && scaling != "none") {
    metadata.fail("rope.scaling.type", "none or linear", scaling);
  }
  return result;
}

void gemma2(Metadata& metadata, ConfigJson& config) {
  config["hidden_activation"] = "gelu_pytorch_tanh";
  config["attn_logit_softcapping"] = metadata.number("attn_logit_softcapping").value_or(50.0);
  config["final_logit_softcapping"] = metadata.number("final_logit_softcapping").value_or(30.0);
  config["sliding_window"] = metadata.integer("attention.sliding_window").value_or(4096);
  // llama.cpp knows the 27B by its layers: it alone does not scale by the head size.
  const auto heads = config["num_attention_heads"].get<std::int64_t>();
  config["query_pre_attn_scalar"] = config["num_hidden_layers"] == 46
                                        ? config["hidden_size"].get<std::int64_t>() / heads
                                        : config["head_dim"].get<std::int64_t>();
}

void gemma3(Metadata& metadata, ConfigJson& config) {
  config["hidden_activation"] = "gelu_pytorch_tanh";
  const std::optional<double> cap = metadata.number("final_logit_softcapping");
  config["final_logit_softcapping"] = cap ? ConfigJson(*cap) : ConfigJson();
  const std::optional<std::int64_t> window = metadata.integer("attention.sliding_window");
  if (!window || *window <= 0) {
    metadata.fail("attention.sliding_window", "a positive number", "none");
  }
  config["sliding_window"] = *window;
  const auto layers = config["num_hidden_layers"].get<std::int64_t>();
  ConfigJson types = ConfigJson::array();
  for (std::int64_t l = 0; l < layers; ++l) {  // the pattern is llama.cpp's own, not in the file
    types.push_back((l + 1) % 6 == 0 ? "full_attention" : "sliding_attention");
  }
  config["layer_types"] = types;
  ConfigJson local = {{"rope_type", "default"},
                      {"rope_theta", metadata.number("rope.freq_base_swa").value_or(10000.0)}};
  config["rope_parameters"] = {{"full_attention", config["rope_parameters"]},
                               {"sliding_attention", local}};
  const auto heads = config["num_attention_heads"].get<std::int64_t>();
  config["query_pre_attn_scalar"] = layers == 62 ? config["hidden_size"].get<std::int64_t>() / heads
                                                 : config["head_dim"].get<std::int64_t>();
}

void phi3(const GgufFile& file, Metadata& metadata, ConfigJson& config) {
  config["hidden_act"] = "silu";
  if (file.find("rope_factors_long.weight") != nullptr) {
    metadata.fail("rope.scaling.type",
                  "no rope_factors_long and _short (LongRoPE is not read from GGUF)",
                  "they are there");
  }
  // llama.cpp leaves Phi-3's window out ("Phi SWA is currently disabled"), and so does its server.
  metadata.find("attention.sliding_window");
  config["sliding_window"] = nullptr;
}

void common(const GgufFile& file, Metadata& metadata, ConfigJson& config) {
  const std::int64_t hidden = metadata.required("embedding_length");
  const std::int64_t heads = metadata.required("attention.head_count");
  const std::int64_t context = metadata.required("context_length");
  if (heads <= 0 || hidden <= 0) {
    metadata.fail("attention.head_count", "positive numbers", "zero or less");
  }
  const std::int64_t head_dim = metadata.integer("attention.key_length").value_or(hidden / heads);
  if (metadata.integer("attention.value_length").value_or(head_dim) != head_dim) {
    metadata.fail("attention.value_length", "the same as attention.key_length", "another number");
  }
  if (metadata.integer("expert_count").value_or(0) != 0) {
    metadata.fail("expert_count", "0 (mixtures of experts are not read from GGUF)", "experts");
  }
  const GgufTensor* embedding = file.find("token_embd.weight");
  if (embedding == nullptr) {
    metadata.fail("vocab_size", "a tensor token_embd.weight", "there is none");
  }
  metadata.find("vocab_size");
  config.update(
      {{"hidden_size", hidden},
       {"num_attention_heads", heads},
       {"num_key_value_heads", metadata.integer("attention.head_count_kv").value_or(heads)},
       {"head_dim", head_dim},
       {"intermediate_size", metadata.required("feed_forward_length")},
       {"num_hidden_layers", metadata.required("block_count")},
       {"max_position_embeddings", context},
       {"vocab_size", embedding->rows()},
       {"rms_norm_eps", metadata.required_number("attention.layer_norm_rms_epsilon")},
       {"tie_word_embeddings", file.find("output.weight") == nullptr},
       {"rope_parameters", rope(file, metadata, context)}});
  const std::int64_t rotated = metadata.integer("rope.dimension_count").value_or(head_dim);
  if (rotated != head_dim) {
    config["rope_parameters"]["partial_rotary_factor"] =
        static_cast<double>(rotated) / static_cast<double>(head_dim);
  }
}

}  // namespace

std::string gguf_text(const GgufHeader& header, std::string_view key) {
  const auto found = header.metadata->find(key);
  return found != header.metadata->end() && found->is_string() ? found->get<std::string>()
                                                               : std::string();
}

bool gguf_holds(std::string_view architecture, std::string_view model_type) {
  return std::any_of(kFamilies.begin(), kFamilies.end(), [&](const GgufFamily& family) {
    return family.architecture == architecture &&
           (family.model_type == model_type || family.also_model_type == model_type);
  });
}

const GgufFamily& gguf_family(const GgufHeader& header, std::string_view file) {
  const std::string architecture = gguf_text(header, "general.architecture");
  std::string known;
  for (const GgufFamily& family : kFamilies) {
    if (family.architecture == architecture) {
      return family;
    }
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  }
  throw Error({.code = "gguf.architecture",
               .what = "models of this architecture are not read from GGUF",
               .where = fmt::format("{}: key \"general.architecture\"", file),
               .expected = known,
               .actual = architecture.empty() ? "none" : architecture,
               .hint = "compare the checkpoint's folder instead"});
}

ConfigJson gguf_config(const GgufFile& file) {
  const GgufFamily& family = gguf_family(file.header(), file.path().string());
  if (gguf_text(file.header(), "general.type") == "adapter") {
    throw Error({.code = "gguf.is-adapter",
                 .what = "this is an adapter, not a model",
                 .where = fmt::format("{}: key \"general.type\"", file.path().string()),
                 .expected = "a model",
                 .actual = "adapter",
                 .hint = "give it as --adapter"});
  }
  Metadata metadata(file, family.architecture);
  ConfigJson config = {{"model_type", family.model_type},
                       {"architectures", ConfigJson::array({family.causal_lm})}};
  common(file, metadata, config);
  if (family.architecture == "gemma2") {
    gemma2(metadata, config);
  } else if (family.architecture == "gemma3") {
    gemma3(metadata, config);
  } else if (family.architecture == "phi3") {
    phi3(file, metadata, config);
  } else {
    config["hidden_act"] = "silu";
  }
  if (family.architecture == "llama") {
    config["attention_bias"] = file.find("blk.0.attn_q.bias") != nullptr;
    config["mlp_bias"] = file.find("blk.0.ffn_up.bias") != nullptr;
  }
  for (const auto& [key, name] : kTokenIds) {
    const auto found = file.metadata().find(name);
    if (found != file.metadata().end()) {
      config[key] = *found;
    }
  }
  metadata.note_unread(config);
  return config;
}

}  // namespace mg
