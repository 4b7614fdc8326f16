#include "tests/audit/remerge.h"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <random>
#include <regex>

namespace mg::test {
namespace {

nlohmann::json read_json(const std::filesystem::path& path) {
  return nlohmann::json::parse(std::ifstream(path));
}

std::string without(const std::string& text, const std::string& end) {
  return text.ends_with(end) ? text.substr(0, text.size() - end.size()) : text;
}

/// Rows of expert `e` of A [E*R, in], columns e, e+E, e+2E, ... of B [out, R*E]
/// (peft/tuners/lora/layer.py, ParamWrapper.get_delta_weight).
Pair cut_expert(const Tensor& a, const Tensor& b, std::int64_t expert, std::int64_t experts,
                std::int64_t first_row, std::int64_t rows) {
  const std::int64_t rank = a.shape[0] / experts;
  const std::int64_t in = a.shape[1];
  Pair pair;
  pair.a = Tensor(a.dtype, {rank, in});
  pair.b = Tensor(b.dtype, {rows, rank});
  for (std::int64_t k = 0; k < rank; ++k) {
    for (std::int64_t j = 0; j < in; ++j) {
      pair.a.set(k * in + j, a.get((expert * rank + k) * in + j));
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      pair.b.set(i * rank + k, b.get((first_row + i) * b.shape[1] + k * experts + expert));
    }
  }
  return pair;
}

}  // namespace

Remerge::Remerge(const std::string& name) : name_(name) {
  const std::filesystem::path folder = std::filesystem::path(MG_TEST_DATA) / "golden" / name;
  base = read_safetensors(folder / "base/model.safetensors");
  adapter = read_safetensors(folder / "adapter/adapter_model.safetensors");
  merged = read_safetensors(folder / "merged/model.safetensors");
  config = read_json(folder / "base/config.json");
  merged_config = read_json(folder / "merged/config.json");
  adapter_config = read_json(folder / "adapter/adapter_config.json");
}

std::string Remerge::adapter_key(const std::string& name) const {
  std::string key = name;
  if (name_ == "qwen2-vl") {  // older names in the base, newer ones in the adapter
    if (name.starts_with("model.")) {
      key = "model.language_model." + name.substr(6);
    } else if (name.starts_with("visual.")) {
      key = "model." + name;
    }
  }
  return "base_model.model." + key;
}

const Tensor* Remerge::find(const std::string& module, const std::string& part) const {
  const auto found = adapter.find(adapter_key(module) + part);
  return found == adapter.end() ? nullptr : &found->second;
}

DType Remerge::base_dtype() const {
  return base.begin()->second.dtype;
}

void Remerge::store_base_as(DType dtype) {
  for (auto& [name, tensor] : base) {
    tensor = tensor.as(dtype);
  }
  config.erase("torch_dtype");
  config["dtype"] = config_dtype(dtype);
}

void Remerge::scale_delta(double factor) {
  for (auto& [name, tensor] : adapter) {
    if (name.find(".lora_B.") == std::string::npos && !name.ends_with(".lora_embedding_B")) {
      continue;
    }
    tensor = tensor.as(DType::kF32);
    for (std::int64_t i = 0; i < tensor.size(); ++i) {
      tensor.set(i, tensor.get(i) * factor);
    }
  }
}

void Remerge::add_expert_pairs(std::int64_t rank) {
  std::mt19937_64 random(11);
  const std::int64_t experts =
      config.at(config.contains("num_experts") ? "num_experts" : "num_local_experts");
  const std::int64_t hidden = config.at("hidden_size");
  const std::int64_t inner = config.at("moe_intermediate_size");
  for (std::int64_t layer = 0; layer < config.at("num_hidden_layers").get<std::int64_t>();
       ++layer) {
    const std::string path = fmt::format("base_model.model.model.layers.{}.mlp.experts", layer);
    const auto add = [&](const std::string& module, std::int64_t in, std::int64_t out) {
      adapter[module + ".lora_A.weight"] =
          Tensor::normal(DType::kF32, {experts * rank, in}, 0.05, random);
      adapter[module + ".lora_B.weight"] =
          Tensor::normal(DType::kF32, {out, rank * experts}, 0.02, random);
    };
    add(path + ".base_layer", hidden, 2 * inner);
    add(path, inner, hidden);
  }
  adapter_config["target_parameters"] = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"};
  adapter_config["rank_pattern"] = {{"mlp.experts.gate_up_proj", rank},
                                    {"mlp.experts.down_proj", rank}};
}

void Remerge::add_lora_bias() {
  std::mt19937_64 random(12);
  for (const std::string& weight : targets()) {
    const std::string module = without(weight, ".weight");
    if (base.contains(module + ".bias")) {
      adapter[adapter_key(module) + ".lora_B.bias"] =
          Tensor::normal(DType::kF32, base.at(module + ".bias").shape, 0.02, random);
    } else {
      std::erase_if(adapter, [&](const auto& entry) {
        return entry.first.starts_with(adapter_key(module) + ".lora_");
      });
    }
  }
  adapter_config["lora_bias"] = true;
  adapter_config["target_modules"] = {"q_proj", "k_proj", "v_proj"};
}

double Remerge::scale_of(const std::string& module, std::int64_t rank) const {
  double alpha = adapter_config.at("lora_alpha");
  if (adapter_config.contains("alpha_pattern") && adapter_config["alpha_pattern"].is_object()) {
    for (const auto& [key, value] : adapter_config["alpha_pattern"].items()) {
      if (std::regex_match(module, std::regex("(.*\\.)?(" + key + ")"))) {
        alpha = value;
        break;
      }
    }
  }
  const auto r = static_cast<double>(rank);
  return adapter_config.value("use_rslora", false) ? alpha / std::sqrt(r) : alpha / r;
}

std::optional<Pair> Remerge::expert_pair(const std::string& weight) const {
  static const std::regex kExpert(R"((.*\.mlp\.experts)\.(\d+)\.(gate|up|down)_proj\.weight)");
  std::smatch match;
  if (!std::regex_match(weight, match, kExpert)) {
    return std::nullopt;
  }
  const bool down = match[3] == "down";
  const std::string module = match[1].str() + (down ? "" : ".base_layer");
  const Tensor* a = find(module, ".lora_A.weight");
  const Tensor* b = find(module, ".lora_B.weight");
  if (a == nullptr || b == nullptr) {
    return std::nullopt;
  }
  const std::int64_t rows = base.at(weight).shape[0];
  Pair pair =
      cut_expert(*a, *b, std::stoll(match[2]),
                 config.at(config.contains("num_experts") ? "num_experts" : "num_local_experts"),
                 match[3] == "up" ? rows : 0, rows);
  pair.scale = scale_of(match[1], pair.a.shape[0]);
  return pair;
}

std::optional<Pair> Remerge::pair_of(const std::string& weight) const {
  const std::string module = without(weight, ".weight");
  if (const Tensor* a = find(module, ".lora_A.weight")) {
    Pair pair{*a, *find(module, ".lora_B.weight"), scale_of(module, a->shape[0])};
    pair.transposed = name_ == "gpt2-conv1d";
    if (const Tensor* magnitude = find(module, ".lora_magnitude_vector")) {
      pair.magnitude = *magnitude;
    }
    return pair;
  }
  if (const Tensor* a = find(module, ".lora_embedding_A")) {
    Pair pair{*a, *find(module, ".lora_embedding_B"), scale_of(module, a->shape[0])};
    pair.transposed = true;
    return pair;
  }
  return expert_pair(weight);
}

std::vector<std::string> Remerge::targets() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : base) {
    if (pair_of(name)) {
      names.push_back(name);
    }
  }
  return names;
}

void Remerge::merge(DType stored, const MergeSteps& steps, double multiple) {
  merged.clear();
  merged_config = config;
  merged_config.erase("torch_dtype");
  merged_config["dtype"] = config_dtype(stored);
  for (const auto& [name, tensor] : base) {
    const Tensor* bias = find(without(name, ".bias"), ".lora_B.bias");
    if (const std::optional<Pair> pair = pair_of(name)) {
      merged[name] = merge_pair(tensor, *pair, stored, steps, multiple);
    } else if (name.ends_with(".bias") && bias != nullptr) {
      const std::string module = without(name, ".bias");
      const Pair column{Tensor(DType::kF32, {1, 1}), *bias,
                        scale_of(module, find(module, ".lora_A.weight")->shape[0])};
      Tensor values(tensor.dtype, {tensor.size(), 1});
      values.bytes = tensor.bytes;
      Pair pair_of_bias = column;
      pair_of_bias.a.set(0, 1.0);
      pair_of_bias.b.shape = {tensor.size(), 1};
      merged[name] = merge_pair(values, pair_of_bias, stored, steps, multiple);
      merged[name].shape = tensor.shape;
    } else if (const Tensor* whole = find(name, "")) {
      merged[name] = whole->as(stored);
    } else {
      merged[name] = (steps.load ? tensor.as(*steps.load) : tensor).as(stored);
    }
  }
}

}  // namespace mg::test
