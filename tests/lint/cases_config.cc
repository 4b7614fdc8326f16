// What config.json means.
#include "tests/lint/cases.h"

namespace mg::lint {
namespace {

void set(const World& world, const char* key, const nlohmann::json& value,
         const char* file = "merged/config.json") {
  world.edit(file, [&](nlohmann::json& config) { config[key] = value; });
}

/// Takes the adapter's pairs on the vision part away, which not every server would serve.
void drop_vision_pairs(const World& world) {
  world.edit_tensors(
      [](TensorFile& f) {
        std::erase_if(f.tensors, [](const auto& item) {
          return item.first.find("visual.") != std::string::npos;
        });
      },
      "adapter/adapter_model.safetensors");
}

void cast_all(const World& world, const std::string& file) {
  world.edit_tensors(
      [](TensorFile& f) {
        for (auto& [name, tensor] : f.tensors) {
          tensor.dtype = "F16";
        }
      },
      file);
}

}  // namespace

std::span<const Case> config_cases() {
  static const std::vector<Case> cases = {
      {"config.incomplete", "stub", "golden/qwen2",
       [](World& w) {
         w.edit("merged/config.json", [](nlohmann::json& c) { c.erase("num_attention_heads"); });
       },
       true},
      {"config.incomplete", "no-model-type", "golden/qwen2",
       [](World& w) {
         w.edit("merged/config.json", [](nlohmann::json& c) { c.erase("model_type"); });
       },
       true},
      {"config.incomplete", "text-for-a-number", "golden/qwen2",
       [](World& w) { set(w, "hidden_size", "64"); }, true},
      {"config.use-cache", "false", "golden/qwen2", [](World& w) { set(w, "use_cache", false); },
       true,
       [](World& w) {
         set(w, "use_cache", false);
         set(w, "use_cache", false, "base/config.json");
       }},
      {"config.float16-overflow", "gemma3", "golden/gemma3",
       [](World& w) {
         cast_all(w, "merged/model.safetensors");
         set(w, "dtype", "float16");
       }},
      {"config.unread-key", "same-in-both", "golden/qwen2",
       [](World& w) {
         set(w, "residual_blend", 0.5);
         set(w, "residual_blend", 0.5, "base/config.json");
       },
       false, [](World& w) { set(w, "residual_blend", nullptr); }},
      {"config.unread-key", "merged-only", "golden/qwen2",
       [](World& w) { set(w, "residual_blend", 0.5); }},
      {"config.rope-theta", "changed", "golden/qwen2",
       [](World& w) { set(w, "rope_theta", 10001.0); }, true},
      {"config.rope-theta", "dropped", "golden/llama3-rope",
       [](World& w) {
         w.edit("merged/config.json", [](nlohmann::json& c) { c.erase("rope_theta"); });
       },
       true},
      {"config.rope-theta", "unknown-architecture", "golden/qwen2",
       [](World& w) {
         make_unknown(w);
         set(w, "rope_theta", 10001.0);
       },
       true,
       [](World& w) {  // the other generation's spelling of the same angles
         const nlohmann::json config = load_json(w.path("merged/config.json"));
         w.edit("merged/config.json", [&](nlohmann::json& c) {
           c.erase("rope_theta");
           c.erase("rope_scaling");
           c["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", config["rope_theta"]}};
         });
       }},
      {"config.mrope", "sections-moved", "golden/qwen2-vl",
       [](World& w) {
         w.edit("merged/config.json", [](nlohmann::json& c) {
           auto& sections = c["rope_scaling"]["mrope_section"];
           std::swap(sections[0], sections[1]);
         });
       },
       true,
       [](World& w) {  // newer transformers write the type as "default"
         w.edit("merged/config.json",
                [](nlohmann::json& c) { c["rope_scaling"]["type"] = "default"; });
       }},
      {"config.rope-form", "new-form-only", "golden/qwen3", [](World&) {}, true,
       [](World& w) {
         for (const char* file : {"merged/config.json", "base/config.json"}) {
           set(w, "rope_theta", 1000000.0, file);
         }
       },
       "vllm"},
      {"config.mrope-type", "default", "golden/qwen2-vl",
       [](World& w) {
         drop_vision_pairs(w);
         w.edit("merged/config.json",
                [](nlohmann::json& c) { c["rope_scaling"]["type"] = "default"; });
       },
       true,
       [](World& w) {
         drop_vision_pairs(w);
         w.edit("merged/config.json",
                [](nlohmann::json& c) { c["rope_scaling"]["type"] = "mrope"; });
       },
       "vllm"},
      {"config.arithmetic-differs", "rope-scaling-dropped", "golden/llama3-rope",
       [](World& w) { set(w, "rope_scaling", nullptr); }, true},
      {"config.arithmetic-differs", "norm-eps", "golden/qwen2",
       [](World& w) { set(w, "rms_norm_eps", 1e-5); }, true},
      {"config.arithmetic-differs", "window", "golden/mistral-sliding",
       [](World& w) { set(w, "sliding_window", nullptr); }, true},
      {"config.arithmetic-differs", "unknown-architecture", "golden/qwen2",
       [](World& w) {
         make_unknown(w);
         set(w, "hidden_act", "gelu");
       },
       true},
      {"config.length", "stretched", "golden/qwen2",
       [](World& w) { set(w, "max_position_embeddings", 1 << 20); }, true},
  };
  return cases;
}

}  // namespace mg::lint
