#include "tests/audit/world.h"

#include <fmt/format.h>
#include <cmath>

namespace mg::test {
namespace {

constexpr std::int64_t kLayers = 3;
constexpr std::int64_t kHidden = 64;
constexpr std::int64_t kInner = 96;
constexpr std::int64_t kVocabulary = 128;

Shape shape_of_module(const std::string& module) {
  if (module == "k_proj" || module == "v_proj") {
    return {kHidden / 2, kHidden};
  }
  if (module == "gate_proj" || module == "up_proj") {
    return {kInner, kHidden};
  }
  return module == "down_proj" ? Shape{kHidden, kInner} : Shape{kHidden, kHidden};
}

std::string path_of_module(std::int64_t layer, const std::string& module) {
  const bool mlp = module == "gate_proj" || module == "up_proj" || module == "down_proj";
  return fmt::format("model.layers.{}.{}.{}", layer, mlp ? "mlp" : "self_attn", module);
}

std::string adapter_name(const std::string& weight, const std::string& part) {
  return "base_model.model." + weight.substr(0, weight.size() - std::string(".weight").size()) +
         part;
}

}  // namespace

World::World(const WorldOptions& world_options) : options(world_options) {
  std::mt19937_64 random(options.seed);
  config = {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"dtype", config_dtype(options.base)},
            {"hidden_size", kHidden},
            {"intermediate_size", kInner},
            {"num_hidden_layers", kLayers},
            {"num_attention_heads", 4},
            {"num_key_value_heads", 2},
            {"head_dim", 16},
            {"vocab_size", kVocabulary},
            {"rms_norm_eps", 1e-6},
            {"hidden_act", "silu"},
            {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 10000.0}}},
            {"max_position_embeddings", 128},
            {"tie_word_embeddings", options.tied}};
  merged_config = config;
  merged_config["dtype"] = config_dtype(options.merged);
  adapter_config = {{"peft_type", "LORA"},
                    {"base_model_name_or_path", "base"},
                    {"task_type", "CAUSAL_LM"},
                    {"r", options.rank},
                    {"lora_alpha", options.alpha},
                    {"use_rslora", options.rslora},
                    {"use_dora", options.dora},
                    {"bias", "none"},
                    {"target_modules", options.modules}};
  make_base(random);
  make_adapter(random);
  merge_all();
}

void World::make_base(std::mt19937_64& random) {
  base["model.embed_tokens.weight"] =
      Tensor::normal(options.base, {kVocabulary, kHidden}, 0.05, random);
  if (!options.tied) {
    base["lm_head.weight"] = Tensor::normal(options.base, {kVocabulary, kHidden}, 0.05, random);
  }
  const auto norm = [&](const std::string& name) {
    Tensor tensor = Tensor::normal(options.base, {kHidden}, 0.1, random);
    for (std::int64_t i = 0; i < tensor.size(); ++i) {
      tensor.set(i, 1.0 + tensor.get(i));
    }
    base[name] = std::move(tensor);
  };
  norm("model.norm.weight");
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    norm(fmt::format("model.layers.{}.input_layernorm.weight", layer));
    norm(fmt::format("model.layers.{}.post_attention_layernorm.weight", layer));
    for (const char* module :
         {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}) {
      base[path_of_module(layer, module) + ".weight"] =
          Tensor::normal(options.base, shape_of_module(module), 0.05, random);
    }
  }
}

void World::make_adapter(std::mt19937_64& random) {
  const double s = options.rslora ? options.alpha / std::sqrt(static_cast<double>(options.rank))
                                  : options.alpha / static_cast<double>(options.rank);
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    for (const std::string& module : options.modules) {
      const std::string path = path_of_module(layer, module);
      const Shape shape = shape_of_module(module);
      const double sigma_b =
          options.delta_ratio / (s * std::sqrt(static_cast<double>(options.rank)));
      const std::string weight = path + ".weight";
      adapter[adapter_name(weight, ".lora_A.weight")] =
          Tensor::normal(options.adapter, {options.rank, shape[1]}, 0.05, random);
      adapter[adapter_name(weight, ".lora_B.weight")] =
          Tensor::normal(options.adapter, {shape[0], options.rank}, sigma_b, random);
      if (!options.dora) {
        continue;
      }
      Tensor magnitude(options.adapter, {shape[0]});
      const Tensor& w = base.at(weight);
      for (std::int64_t i = 0; i < shape[0]; ++i) {
        double square = 0;
        for (std::int64_t j = 0; j < shape[1]; ++j) {
          square += std::pow(w.get(i * shape[1] + j), 2);
        }
        magnitude.set(i, std::sqrt(square) * (1.0 + options.delta_ratio * 0.1));
      }
      adapter[adapter_name(weight, ".lora_magnitude_vector")] = std::move(magnitude);
    }
  }
}

std::vector<std::string> World::targets() const {
  std::vector<std::string> names;
  for (std::int64_t layer = 0; layer < kLayers; ++layer) {
    for (const std::string& module : options.modules) {
      names.push_back(path_of_module(layer, module) + ".weight");
    }
  }
  return names;
}

const Tensor& World::a_of(const std::string& weight) const {
  return adapter.at(adapter_name(weight, ".lora_A.weight"));
}

const Tensor& World::b_of(const std::string& weight) const {
  return adapter.at(adapter_name(weight, ".lora_B.weight"));
}

Pair World::pair_of(const std::string& weight) const {
  const auto rank = static_cast<double>(a_of(weight).shape[0]);
  Pair pair{a_of(weight), b_of(weight),
            options.rslora ? options.alpha / std::sqrt(rank) : options.alpha / rank};
  const auto magnitude = adapter.find(adapter_name(weight, ".lora_magnitude_vector"));
  if (magnitude != adapter.end()) {
    pair.magnitude = magnitude->second;
  }
  return pair;
}

Tensor World::merge_target(const std::string& weight, double multiple,
                           const MergeSteps& steps) const {
  return merge_pair(base.at(weight), pair_of(weight), options.merged, steps, multiple);
}

Tensor World::merge_target(const std::string& weight, double multiple) const {
  return merge_target(weight, multiple, options.steps);
}

void World::merge_all(double multiple) {
  for (const auto& [name, tensor] : base) {
    Tensor loaded = options.steps.load ? tensor.as(*options.steps.load) : tensor;
    merged[name] = loaded.as(options.merged);
  }
  for (const std::string& weight : targets()) {
    merged[weight] = merge_target(weight, multiple);
  }
}

}  // namespace mg::test
