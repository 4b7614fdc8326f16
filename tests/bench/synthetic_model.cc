#include "tests/bench/synthetic_model.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "harness/io/safetensors_writer.h"
#include "kernels/core/convert.h"

namespace mg::test {
namespace {

using Json = nlohmann::ordered_json;

/// Uniform in [-1, 1), a few nanoseconds each (splitmix64).
class Uniform {
 public:
  explicit Uniform(std::uint64_t seed) : state_(seed) {}
  float operator()() {
    state_ += 0x9E3779B97F4A7C15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z ^= z >> 27;
    return static_cast<float>(z >> 40) * 0x1p-23F - 1.0F;
  }

 private:
  std::uint64_t state_;
};

struct Tensor {
  std::string name;
  Shape shape;
  float mean = 0;
  float deviation = 0;
};

/// One linear map of a layer.
struct Map {
  const char* name;
  std::int64_t outputs, inputs;
};

std::vector<Map> maps_of(const SyntheticShape& s) {
  const std::int64_t kv = s.hidden / s.heads * s.kv_heads;
  return {{"self_attn.q_proj", s.hidden, s.hidden},    {"self_attn.k_proj", kv, s.hidden},
          {"self_attn.v_proj", kv, s.hidden},          {"self_attn.o_proj", s.hidden, s.hidden},
          {"mlp.gate_proj", s.intermediate, s.hidden}, {"mlp.up_proj", s.intermediate, s.hidden},
          {"mlp.down_proj", s.hidden, s.intermediate}};
}

/// The deviation of a map whose outputs are as large as its inputs.
float unit_gain(std::int64_t inputs) {
  return 1.0F / std::sqrt(static_cast<float>(inputs));
}

void write_tensors(const std::filesystem::path& file, const std::vector<Tensor>& tensors,
                   std::uint64_t seed) {
  std::vector<TensorPlan> plan;
  for (const Tensor& tensor : tensors) {
    plan.push_back({.name = tensor.name, .dtype = DType::kF16, .shape = tensor.shape});
  }
  SafetensorsWriter writer(file, plan);
  Uniform uniform(seed);
  const float to_deviation = std::sqrt(3.0F);  // of uniform values in [-1, 1): 1 / sqrt 3
  for (const Tensor& tensor : tensors) {
    const auto n = static_cast<std::size_t>(element_count(tensor.shape).value_or(0));
    std::vector<float> values(n);
    for (float& value : values) {
      value = tensor.mean + to_deviation * tensor.deviation * uniform();
    }
    std::vector<std::byte> bytes(n * 2);
    narrow_from_float(DType::kF16, values.data(), static_cast<std::int64_t>(n), bytes.data());
    writer.write(bytes);
  }
  writer.finish();
}

void write_json(const std::filesystem::path& file, const Json& json) {
  std::ofstream(file) << json.dump(2) << '\n';
}

}  // namespace

void write_synthetic_base(const std::filesystem::path& folder, const SyntheticShape& s) {
  std::filesystem::create_directories(folder);
  write_json(folder / "config.json", Json{{"architectures", {"LlamaForCausalLM"}},
                                          {"attention_bias", false},
                                          {"bos_token_id", 1},
                                          {"eos_token_id", 2},
                                          {"hidden_act", "silu"},
                                          {"hidden_size", s.hidden},
                                          {"initializer_range", 0.02},
                                          {"intermediate_size", s.intermediate},
                                          {"max_position_embeddings", 8192},
                                          {"mlp_bias", false},
                                          {"model_type", "llama"},
                                          {"num_attention_heads", s.heads},
                                          {"num_hidden_layers", s.layers},
                                          {"num_key_value_heads", s.kv_heads},
                                          {"rms_norm_eps", 1e-5},
                                          {"rope_theta", 10000.0},
                                          {"tie_word_embeddings", true},
                                          {"torch_dtype", "float16"},
                                          {"vocab_size", s.vocabulary}});
  std::vector<Tensor> tensors{
      {"model.embed_tokens.weight", {s.vocabulary, s.hidden}, 0, 2 * unit_gain(s.hidden)},
      {"model.norm.weight", {s.hidden}, 1, 0.1F}};
  for (std::int64_t l = 0; l < s.layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    tensors.push_back({layer + "input_layernorm.weight", {s.hidden}, 1, 0.1F});
    tensors.push_back({layer + "post_attention_layernorm.weight", {s.hidden}, 1, 0.1F});
    for (const Map& map : maps_of(s)) {
      tensors.push_back(
          {layer + map.name + ".weight", {map.outputs, map.inputs}, 0, unit_gain(map.inputs)});
    }
  }
  write_tensors(folder / "model.safetensors", tensors, 1);
}

void write_synthetic_adapter(const std::filesystem::path& folder, const SyntheticShape& s) {
  std::filesystem::create_directories(folder);
  Json targets = Json::array();
  std::vector<Tensor> tensors;
  for (std::int64_t l = 0; l < s.layers; ++l) {
    for (const Map& map : maps_of(s)) {
      const std::string name =
          "base_model.model.model.layers." + std::to_string(l) + "." + map.name;
      tensors.push_back({name + ".lora_A.weight", {s.rank, map.inputs}, 0, unit_gain(map.inputs)});
      tensors.push_back({name + ".lora_B.weight", {map.outputs, s.rank}, 0, 0.02F});
    }
  }
  for (const Map& map : maps_of(s)) {
    const std::string name = map.name;
    targets.push_back(name.substr(name.find('.') + 1));
  }
  write_json(folder / "adapter_config.json", Json{{"peft_type", "LORA"},
                                                  {"task_type", "CAUSAL_LM"},
                                                  {"r", s.rank},
                                                  {"lora_alpha", 2 * s.rank},
                                                  {"lora_dropout", 0.0},
                                                  {"bias", "none"},
                                                  {"fan_in_fan_out", false},
                                                  {"use_dora", false},
                                                  {"use_rslora", false},
                                                  {"target_modules", targets}});
  write_tensors(folder / "adapter_model.safetensors", tensors, 2);
}

void write_synthetic_suite(const std::filesystem::path& file, std::int64_t prompts,
                           std::int64_t tokens, std::int64_t vocabulary) {
  std::ofstream out(file);
  Uniform uniform(3);
  for (std::int64_t p = 0; p < prompts; ++p) {
    Json ids = Json::array();
    for (std::int64_t t = 0; t < tokens; ++t) {
      // ids below 16 are special tokens more often than not
      const double share = 0.5 + 0.5 * static_cast<double>(uniform());
      ids.push_back(16 + static_cast<std::int64_t>(share * static_cast<double>(vocabulary - 16)));
    }
    out << Json{{"id", "random-" + std::to_string(p)}, {"input_ids", ids}}.dump() << '\n';
  }
}

}  // namespace mg::test
